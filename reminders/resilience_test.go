package reminders

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// spoil puts a fact of a newer version behind a notification's stream.
func spoil(w *world, id string) {
	stream := commands.NotificationStream(id)
	last, _, err := w.store.ReadLast(context.Background(), stream)
	w.check(err)
	_, err = w.store.Append(context.Background(), stream, last.Revision, []eventstore.NewRecord{{
		ID: uuid.New(), Type: "NotificationEscalated", Data: []byte("{}"), Metadata: []byte(`{"actor":"x","occurred_at":"2000-01-01T12:00:01Z"}`),
	}})
	w.check(err)
}

// Streams that can't be read hold up neither the others on the channel nor the end.
func TestStreamsThatCantBeReadHoldUpNoOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(3*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 6 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Minute)
		w.stop()
		spoilt := 0
		for id, n := range w.notifications() {
			if n.ParticipantID != "p5" && spoilt < 2 {
				spoil(w, id)
				spoilt++
			}
		}
		w.start() // with a cold cache, as after going back to an older version
		at(2*time.Hour + 30*time.Minute)
		require.Len(t, w.email.deliveries(), 4)
		require.Zero(t, w.r.sender.inFlightNow())
		at(3*time.Hour + 2*time.Minute) // the two have expired: they hold up nothing either
	}, func(w *world) { w.tune = func(r []channels.Registration) { r[0].Workers = 2 } })
}

// torn is a store in which the streams of a prefix can't be read.
type torn struct {
	eventstore.Store
	prefix string
	is     *atomic.Bool
}

func (s torn) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if s.is.Load() && strings.HasPrefix(stream, s.prefix) {
		return nil, fmt.Errorf("%w: %s", eventstore.ErrCorrupt, stream)
	}
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// An event that can't be read isn't tried once a second: each try leaves two
// facts in the log.
func TestAnEventThatCantBeReadIsTriedRarely(t *testing.T) {
	var damaged atomic.Bool
	inWorld(t, func(t *testing.T, w *world) {
		w.event(3*time.Hour, 0)
		w.reminder("r", 60)
		w.register("p")
		at(time.Minute)
		w.stop()
		damaged.Store(true)
		w.start() // with a cold cache
		w.another("other", 3*time.Hour)
		at(time.Minute + time.Second)
		require.Len(t, w.notifications(), 2, "another event is planned all the same")
		at(2*time.Hour + 10*time.Minute + time.Second)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 1, aggregates.NotificationSent: 1}, w.statuses())
		for _, n := range w.notifications() {
			if n.EventID == eventID {
				require.InDelta(t, 11, n.Attempts, 1)
			}
		}
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Contains(t, stats.Planner.Error, "event "+eventID)
		damaged.Store(false)
		at(2*time.Hour + 13*time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 2}, w.statuses())
		stats, err = w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Empty(t, stats.Planner.Error)
	}, func(w *world) {
		w.wrap = func(s eventstore.Store) eventstore.Store { return torn{s, commands.EventStream(eventID), &damaged} }
	})
}

// A disk that doesn't answer for a while looks like damage. What was to be planned
// of a notification then is planned once it can be read, also after a restart and
// whether the event was planned as a whole; other notifications don't wait for it.
func TestANotificationThatCouldNotBeReadIsPlannedLater(t *testing.T) {
	for name, restarts := range map[string]bool{"going on": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			var damaged atomic.Bool
			torn := func(prefix string) func(w *world) {
				return func(w *world) {
					w.wrap = func(s eventstore.Store) eventstore.Store { return torn{s, prefix, &damaged} }
				}
			}
			inWorld(t, func(t *testing.T, w *world) {
				w.event(3*time.Hour, 0)
				w.reminder("r", 60)
				w.register("p")
				w.register("q")
				at(time.Minute)
				damaged.Store(true)
				w.register("one")       // planned by itself
				w.reminder("whole", 90) // planned for all
				at(2*time.Minute + 30*time.Second)
				require.Len(t, w.notifications(), 2)
				stats, err := w.r.Stats(t.Context())
				require.NoError(t, err)
				require.Contains(t, stats.Planner.Error, "event "+eventID)
				if restarts {
					w.stop()
					w.start()
				}
				damaged.Store(false)
				at(5 * time.Minute)
				require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 6}, w.statuses())
				stats, err = w.r.Stats(t.Context())
				require.NoError(t, err)
				require.Empty(t, stats.Planner.Error)
				require.Empty(t, stats.Planner.Planning)
				at(3 * time.Hour)
				require.Len(t, w.email.deliveries(), 6)
			}, torn("notification-"))
		})
	}
}

// After a restart the table may still show a claim that was concluded: on a
// channel that holds unknown outcomes, it is no unknown outcome.
func TestAClaimThatWasConcludedIsNotHeld(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(3*time.Hour, 0)
		w.reminder("r", 120)
		w.register("p")
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 1 {
				time.Sleep(3 * time.Second)
				return channels.Result{Outcome: channels.Later, Code: "busy"}
			}
			return accepted(n)
		})
		at(time.Hour + time.Second)
		w.stop() // what is in flight is concluded: it was not taken, and is tried again
		w.start()
		at(2 * time.Hour)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	}, func(w *world) { w.tune = func(r []channels.Registration) { r[0].HoldUnknown = true } })
}

// slowStore takes its time to sync.
type slowStore struct {
	eventstore.Store
	takes time.Duration
}

func (s slowStore) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	time.Sleep(s.takes)
	return s.Store.Append(ctx, stream, expected, records)
}

// A look doesn't wait for the writes of an event that changes all the time.
func TestALookAtABusyEventIsFresh(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(3*time.Hour, 0)
		w.reminder("r", 120)
		w.register("p")
		at(time.Hour - time.Second)
		stop := make(chan struct{})
		for g := range 8 {
			go func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						title := fmt.Sprint("t", g, i)
						_, _ = try(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: title}}})
					}
				}
			}()
		}
		at(time.Hour + 10*time.Second)
		close(stop)
		synctest.Wait()
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Equal(t, 1, n.Attempts)
	}, func(w *world) {
		w.wrap = func(s eventstore.Store) eventstore.Store { return slowStore{s, 120 * time.Millisecond} }
	})
}

// hangs is a store whose disk hangs over the first claim: nobody knows what
// becomes of it, and it is on disk once the disk comes back.
type hangs struct {
	eventstore.Store
	begun *atomic.Bool
	until time.Time
}

func (h hangs) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	left := time.Until(h.until)
	if left <= 0 || (!h.begun.Load() && records[0].Type != "SendingStarted") {
		return h.Store.Append(ctx, stream, expected, records)
	}
	if !h.begun.Swap(true) {
		time.AfterFunc(left-time.Millisecond, func() { _, _ = h.Store.Append(context.Background(), stream, expected, records) })
	}
	select {
	case <-time.After(left):
		return h.Store.Append(ctx, stream, expected, records)
	case <-ctx.Done():
		return eventstore.Start, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, ctx.Err())
	}
}

// A claim of ours that comes to be after we have given up on it is nobody's:
// it doesn't stay SENDING until the next start.
func TestAClaimThatComesMuchLaterIsGivenBack(t *testing.T) {
	for name, hold := range map[string]bool{"tried again": false, "held": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.event(3*time.Hour, 0)
				w.reminder("r", 120)
				w.register("p")
				at(time.Hour + 59*time.Second)
				require.Equal(t, aggregates.NotificationPending, w.only().Status)
				at(time.Hour + time.Minute)
				require.Equal(t, aggregates.NotificationSending, w.only().Status)
				at(time.Hour + 4*time.Minute)
				if hold {
					require.Equal(t, events.FailedOutcomeUnknown, w.only().LastError)
					return
				}
				require.Equal(t, aggregates.NotificationSent, w.only().Status)
				require.Len(t, w.email.deliveries(), 1)
			}, func(w *world) {
				w.tune = func(r []channels.Registration) { r[0].HoldUnknown = hold }
				w.wrap = func(s eventstore.Store) eventstore.Store {
					return hangs{s, &atomic.Bool{}, noon.Add(time.Hour + time.Minute)}
				}
			})
		})
	}
}

// counted is a store that counts the reads of streams of a prefix.
type counted struct {
	eventstore.Store
	prefix string
	reads  *atomic.Int64
}

func (s counted) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if strings.HasPrefix(stream, s.prefix) {
		s.reads.Add(1)
	}
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// One that has expired and can't be read is looked at rarely, and concluded once it
// can be; others that expire don't wait for it.
func TestWhatHasExpiredAndCantBeReadIsLookedAtRarely(t *testing.T) {
	var damaged atomic.Bool
	var reads atomic.Int64
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		w.reminded()
		at(time.Minute)
		prefix := commands.NotificationStream(w.only().ID)
		w.stop()
		w.wrap = func(s eventstore.Store) eventstore.Store {
			return counted{torn{s, prefix, &damaged}, prefix, &reads}
		}
		damaged.Store(true)
		w.start() // with a cold cache
		w.register("bob")
		at(2*time.Hour + 2*time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 1, aggregates.NotificationFailed: 1}, w.statuses())
		reads.Store(0)
		looks := w.looks.Load()
		at(3*time.Hour + 2*time.Minute)
		require.LessOrEqual(t, reads.Load(), int64(150))
		require.LessOrEqual(t, w.looks.Load()-looks, int64(30_000), "ten times a second would be more than 100,000")
		damaged.Store(false)
		at(3*time.Hour + 4*time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationFailed: 2}, w.statuses())
	})
}
