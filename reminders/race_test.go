package reminders

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// changes are what can make a reminder to ann wrong.
var changes = map[string]func(*world) error{
	"move": func(w *world) error { return w.move(3 * time.Hour) },
	"decline": func(w *world) error {
		_, err := try(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Declined})
		return err
	},
	"opt out": func(w *world) error {
		_, err := try(w, commands.OptOut{EventID: eventID, ParticipantID: "ann"})
		return err
	},
	"remove": func(w *world) error {
		_, err := try(w, commands.RemoveParticipant{EventID: eventID, ParticipantID: "ann"})
		return err
	},
	"cancel": func(w *world) error {
		_, err := try(w, commands.CancelEvent{EventID: eventID})
		return err
	},
	"delete": func(w *world) error {
		_, err := try(w, commands.DeleteEvent{EventID: eventID})
		return err
	},
	"remove reminder": func(w *world) error {
		_, err := try(w, commands.RemoveReminder{EventID: eventID, ReminderID: "r"})
		return err
	},
}

// Nothing is sent for an old state once the change is acknowledged, also where
// the planner hasn't come to it.
func TestChangeBeforeSending(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(time.Hour - time.Nanosecond)
				require.NoError(t, change(w))
				at(time.Hour + time.Minute)
				require.Empty(t, w.email.deliveries())
				for _, n := range w.notifications() {
					require.Contains(t, []aggregates.NotificationStatus{aggregates.NotificationCancelled, aggregates.NotificationPending}, n.Status)
					require.Equal(t, name == "move" && n.ScheduledTime.After(noon.Add(time.Hour)), n.Status == aggregates.NotificationPending)
				}
			})
		})
	}
}

// A change during the hand-over is acknowledged once that is over.
func TestChangeDuringSending(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
					time.Sleep(700 * time.Millisecond)
					return accepted(n)
				}
				w.reminded()
				at(time.Hour + 100*time.Millisecond)
				require.NoError(t, change(w))
				require.Equal(t, time.Hour+700*time.Millisecond, time.Since(noon))
				at(time.Hour + time.Second)
				require.Equal(t, 1, w.statuses()[aggregates.NotificationSent])
				stats, err := w.r.Stats(t.Context())
				require.NoError(t, err)
				require.Zero(t, stats.Overtaken)
			})
		})
	}
}

func TestChangeWaitsASecondAtMost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(3 * time.Second)
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + 100*time.Millisecond)
		require.NoError(t, w.move(3*time.Hour))
		require.Equal(t, time.Hour+1100*time.Millisecond, time.Since(noon))
		at(time.Hour + 5*time.Second)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Overtaken)
		marked := false
		for _, entry := range w.log() {
			if f, ok := entry.Fact.(events.NotificationSent); ok {
				marked = f.Overtaken
			}
		}
		require.True(t, marked)
	})
}

// What failed while it was no longer wanted is cancelled, not tried again; and
// what was given back while it was wanted again is planned again.
func TestChangedWhileInFlight(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(10 * time.Second)
			return channels.Result{Outcome: channels.Later, Detail: "busy"}
		}
		w.reminded()
		at(time.Hour + time.Second)
		require.NoError(t, changes["decline"](w))
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		synctest.Wait()
		n := w.only()
		require.Equal(t, aggregates.NotificationCancelled, n.Status, "%+v", n)
		require.Equal(t, events.CancelledDeclined, n.CancelReason)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Timeout = 15 * time.Second }
	})
}

// held is a store that lets appends of some streams wait.
type held struct {
	eventstore.Store
	hold func(stream string, records []eventstore.NewRecord) <-chan struct{}
}

func (h held) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if wait := h.hold(stream, records); wait != nil {
		<-wait
	}
	return h.Store.Append(ctx, stream, expected, records)
}

// So it is on an event that was cancelled, whose later announcements go on.
func TestAcceptedAgainWhileAnAnnouncementIsBeingCancelled(t *testing.T) {
	var release chan struct{}
	var holding atomic.Bool
	inWorld(t, func(t *testing.T, w *world) {
		release = make(chan struct{})
		w.event(2*time.Hour, 0)
		w.register("ann")
		do(w, commands.CancelEvent{EventID: eventID})
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "x", SendAt: new(noon.Add(time.Hour))}})
		synctest.Wait()
		holding.Store(true)
		require.NoError(t, changes["decline"](w))
		at(time.Second)
		do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		at(2 * time.Second)
		holding.Store(false)
		close(release)
		at(time.Hour)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	}, holdsCancelling(&holding, &release))
}

// holdsCancelling is a world in which cancelling takes until release while holding.
func holdsCancelling(holding *atomic.Bool, release *chan struct{}) func(*world) {
	return func(w *world) {
		w.wrap = func(s eventstore.Store) eventstore.Store {
			return held{s, func(_ string, records []eventstore.NewRecord) <-chan struct{} {
				if holding.Load() && records[0].Type == "NotificationCancelled" {
					return *release
				}
				return nil
			}}
		}
	}
}

// Declined and accepted again while the cancelling is on its way: both ends of
// the race lead to what is wanted.
func TestAcceptedAgainWhileBeingCancelled(t *testing.T) {
	for name, after := range map[string]time.Duration{"by the planner": 30 * time.Minute, "by the sender": time.Hour} {
		t.Run(name, func(t *testing.T) {
			var release chan struct{}
			var holding atomic.Bool
			inWorld(t, func(t *testing.T, w *world) {
				release = make(chan struct{})
				w.reminded()
				at(after - time.Nanosecond)
				holding.Store(true)
				require.NoError(t, changes["decline"](w))
				at(after + time.Second)
				do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
				at(after + 2*time.Second)
				holding.Store(false)
				close(release)
				at(3 * time.Hour)
				require.Equal(t, aggregates.NotificationSent, w.only().Status)
				require.Len(t, w.email.deliveries(), 1)
			}, holdsCancelling(&holding, &release))
		})
	}
}

func TestStoreAwayWhileConcluding(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var away atomic.Bool
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			away.Store(true)
			return accepted(n)
		}
		w.fail.set(func(int) error {
			if away.Load() {
				return fmt.Errorf("%w: full", eventstore.ErrUnavailable)
			}
			return nil
		})
		w.reminded()
		at(time.Hour + time.Minute)
		require.Equal(t, aggregates.NotificationSending, w.only().Status)
		away.Store(false)
		at(time.Hour + 2*time.Minute)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
		require.Len(t, w.email.deliveries(), 1)
	})
}

func TestStoreAwayWhileClaiming(t *testing.T) {
	for name, cause := range map[string]error{"unavailable": eventstore.ErrUnavailable, "unknown": eventstore.ErrUnknownOutcome, "other": errors.New("odd")} {
		for when, after := range map[string]bool{"before": false, "after": true} {
			if after && cause == eventstore.ErrUnavailable {
				continue // it says that nothing was appended
			}
			t.Run(name+" "+when, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.reminded()
					at(time.Hour - time.Second)
					fail := func(int) error {
						if time.Since(noon) < time.Hour+20*time.Second {
							return fmt.Errorf("%w: away", cause)
						}
						return nil
					}
					if after {
						w.failAfter.set(fail)
					} else {
						w.fail.set(fail)
					}
					at(time.Hour + time.Minute)
					require.Equal(t, aggregates.NotificationSent, w.only().Status)
					require.Len(t, w.email.deliveries(), 1)
				})
			})
		}
	}
}

func TestClockJumps(t *testing.T) {
	t.Run("forwards", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.interval(3600)
			w.reminded()
			at(10 * time.Minute)
			w.offset.Store(int64(50 * time.Minute))
			at(10*time.Minute + time.Second)
			require.Len(t, w.email.deliveries(), 1)
		})
	})
	t.Run("backwards", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.interval(3600)
			w.reminded()
			at(59 * time.Minute)
			w.offset.Store(int64(-30 * time.Minute))
			at(90*time.Minute - time.Second)
			require.Empty(t, w.email.deliveries(), "never early")
			at(90 * time.Minute)
			require.Len(t, w.email.deliveries(), 1)
		})
	})
	t.Run("backwards between claim and call", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.reminded()
			at(time.Hour - time.Nanosecond)
			w.failAfter.set(func(int) error {
				w.offset.Store(int64(-time.Minute))
				return nil
			})
			at(time.Hour + 30*time.Second)
			require.Empty(t, w.email.deliveries(), "never early")
			at(time.Hour + 3*time.Minute)
			require.Len(t, w.email.deliveries(), 1)
			require.False(t, w.only().SentTime.Before(w.only().ScheduledTime))
		})
	})
}

// What the sender keeps to itself is gone when all is done.
func TestNothingIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 300 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		require.NoError(t, w.move(3*time.Hour))
		at(3 * time.Hour)
		require.NoError(t, w.r.planned(t.Context()))
		w.r.sender.mu.Lock()
		defer w.r.sender.mu.Unlock()
		require.Empty(t, w.r.sender.skip)
		require.Empty(t, w.r.sender.busy)
		require.Empty(t, w.r.planner.whole)
	})
}

func TestPlannerSaysWhatIsWrong(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		_, err := w.store.Append(t.Context(), "event-x", eventstore.NoStream, []eventstore.NewRecord{{Type: "EventTeleported", Data: []byte(`{}`), Metadata: []byte(`{}`)}})
		require.NoError(t, err)
		at(30 * time.Minute)
		for range 20 {
			stats, err := w.r.Stats(t.Context())
			require.NoError(t, err)
			require.True(t, strings.Contains(stats.Planner.Error, "newer version"), "%q", stats.Planner.Error)
			require.Positive(t, stats.Planner.LagSeconds)
			time.Sleep(time.Second)
		}
		at(time.Hour)
		require.Len(t, w.email.deliveries(), 1, "what is planned is sent all the same")
	})
}
