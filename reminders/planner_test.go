package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/belltower/belltower/eventstore"
)

// slowly is a world whose log takes 10 ms for each change of a notification.
func slowly(w *world) {
	w.wrap = func(s eventstore.Store) eventstore.Store {
		return held{s, func(stream string, _ []eventstore.NewRecord) <-chan struct{} {
			if !strings.HasPrefix(stream, "notification-") {
				return nil
			}
			wait := make(chan struct{})
			time.AfterFunc(10*time.Millisecond, func() { close(wait) })
			return wait
		}}
	}
}

func (w *world) planning() []Planning {
	w.t.Helper()
	stats, err := w.r.Stats(context.Background())
	require.NoError(w.t, err)
	return stats.Planner.Planning
}

// A large event is planned in slices, which hold up nobody and show how far they are.
func TestPlannedInSlices(t *testing.T) {
	const many = 5000
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		for i := range many {
			w.register(fmt.Sprint("p", i))
		}
		synctest.Wait()
		w.reminder("r", 60)
		time.Sleep(300 * time.Millisecond)
		planning := w.planning()
		require.Len(t, planning, 1)
		require.Equal(t, eventID, planning[0].EventID)
		require.Equal(t, many, planning[0].Total)
		require.InDelta(t, 1900, planning[0].Done, 600)

		// Another event has its turn between two slices.
		started := time.Now()
		w.another("other", 3*time.Hour)
		require.NoError(t, w.r.planned(t.Context()))
		before := time.Since(started)
		require.Less(t, before, 700*time.Millisecond)

		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Empty(t, w.planning())
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: many + 1}, w.statuses())

		// A move does it again, and once more when it moves meanwhile.
		require.NoError(t, w.move(4*time.Hour))
		time.Sleep(400 * time.Millisecond)
		require.NoError(t, w.move(5*time.Hour))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, w.planning())
		due := 0
		for _, n := range w.notifications() {
			if n.EventID == eventID && n.Status == aggregates.NotificationPending {
				due++
				require.Equal(t, w.startsAt().Add(-time.Hour), n.ScheduledTime)
			}
		}
		require.Equal(t, many, due)
	}, slowly)
}

// While a slice of a large event takes as long as it likes, others are planned.
func TestSliceUnderWayHoldsUpNobody(t *testing.T) {
	var release chan struct{}
	stuck := func(w *world) {
		w.wrap = func(s eventstore.Store) eventstore.Store {
			return held{s, func(stream string, records []eventstore.NewRecord) <-chan struct{} {
				if strings.HasPrefix(stream, "notification-") && strings.Contains(string(records[0].Data), `"`+eventID+`"`) {
					return release
				}
				return nil
			}}
		}
	}
	inWorld(t, func(t *testing.T, w *world) {
		release = make(chan struct{})
		w.event(2*time.Hour, 0)
		for i := range 3 * sliceSize {
			w.register(fmt.Sprint("p", i))
		}
		synctest.Wait()
		w.reminder("r", 60) // its first slice is as one of a small event
		for range sliceSize {
			release <- struct{}{}
		}
		synctest.Wait()
		require.Len(t, w.planning(), 1)
		w.another("other", 3*time.Hour)
		synctest.Wait()
		open, err := w.r.table.openOf(t.Context(), "other", "other-p")
		require.NoError(t, err)
		require.Len(t, open, 1)
		require.Len(t, w.planning(), 1, "the large one isn't done")
		close(release)
		synctest.Wait()
		require.Empty(t, w.planning())
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 3*sliceSize + 1}, w.statuses())
	}, stuck)
}

// startsAt is when the event starts.
func (w *world) startsAt() time.Time {
	start, err := commands.View(context.Background(), w.handler, commands.EventStream(eventID), func(e *aggregates.Event, _ int64) time.Time { return e.StartTime })
	require.NoError(w.t, err)
	return start
}

// another schedules an event with one participant and one reminder.
func (w *world) another(id string, in time.Duration) {
	w.t.Helper()
	do(w, commands.ScheduleEvent{EventID: id, Fields: aggregates.EventFields{
		Title: id, Description: id, CreatorID: "c", StartTime: w.now().Add(in), EndTime: w.now().Add(in + time.Hour), TimeZone: "UTC",
	}})
	do(w, commands.RegisterParticipant{EventID: id, ParticipantID: id + "-p", Contact: contactOf(id)})
	do(w, commands.AddReminder{EventID: id, ReminderID: id + "-r"})
}

// Who waits for what has been asked for isn't held up by what comes afterwards.
func TestSendDueUnderLoad(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(time.Hour)
		var ended atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; !ended.Load(); i++ {
				w.another(fmt.Sprint("x", i), 2*time.Hour)
				time.Sleep(5 * time.Millisecond)
			}
		}()
		time.Sleep(100 * time.Millisecond)
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "x"}})
		started := time.Now()
		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Zero(t, swept.StillDue)
		require.Less(t, time.Since(started), time.Second)
		require.GreaterOrEqual(t, len(w.email.deliveries()), 2)
		ended.Store(true)
		<-done
	}, slowly)
}

// Seats that one write could not give away are given away by the planner.
func TestPromotesWhatIsLeft(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 1)
		w.reminder("r", 60)
		for i := range 700 {
			w.register(fmt.Sprint("p", i))
		}
		do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: 650}}})
		synctest.Wait()
		require.Equal(t, 650, w.statuses()[aggregates.NotificationPending])
	})
}

// What was scheduled on an older state than the planner's next look is put right.
func TestSubscriptionFailsAndGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(30 * time.Minute)
		require.NoError(t, w.move(3*time.Hour))
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 1, aggregates.NotificationCancelled: 1}, w.statuses())
		at(5 * time.Hour)
		require.Equal(t, []time.Duration{150 * time.Minute}, w.email.times())
	})
}

// While the log takes nothing, the planner says so, and goes on afterwards.
func TestPlannerWithoutStore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		synctest.Wait()
		w.register("ann")
		w.fail.set(func(int) error { return fmt.Errorf("%w: full", eventstore.ErrUnavailable) })
		do0, err := try(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		require.ErrorIs(t, err, eventstore.ErrUnavailable)
		require.Zero(t, do0)
		time.Sleep(time.Minute)
		w.fail.Store(nil)
		w.register("bob")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 2}, w.statuses())
	})
}

// What the planner has read and not planned when its process ends is planned by
// the next one.
func TestKilledBeforeItHasPlanned(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		synctest.Wait()
		registered := false
		w.fail.set(func(int) error {
			if registered {
				return fmt.Errorf("%w: full", eventstore.ErrUnavailable)
			}
			registered = true
			return nil
		})
		w.register("ann")
		synctest.Wait()
		w.kill()
		require.Empty(t, w.notifications())
		w.start()
		synctest.Wait()
		require.Equal(t, aggregates.NotificationPending, w.only().Status)
	})
}

// What is wanted depends on the channels: when others are configured, all is
// planned anew.
func TestOtherChannelsArePlannedFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(3*time.Hour, 0)
		w.reminder("r", 60)
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: aggregates.ContactFields{
			UserID: "ann", Name: "ann", Email: "ann@x.org", Phone: "+4915112345678", Channels: []string{"email", "sms"},
		}})
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 2}, w.statuses())
		w.tune = func(all []channels.Registration) { all[1].Name = "text" }
		w.restart()
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 1, aggregates.NotificationCancelled: 1}, w.statuses())
		w.tune = func([]channels.Registration) {}
		w.restart()
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationPending: 2}, w.statuses())
		at(2 * time.Hour)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 2}, w.statuses())
	})
}

// The table may show facts behind its checkpoint. Where these are not in the log
// any more, as it was put back to an earlier state, the table is built anew.
func TestTableAheadOfALogThatWasPutBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		table, err := openTable(w.dir, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		lost := eventstore.Record{ID: uuid.New(), Position: eventstore.Position{Commit: 1e6, Prepare: 1e6}}
		require.NoError(t, table.change(func(c change) error {
			ghost := row{ID: "ghost", Event: eventID, Participant: "bob", Channel: "email", Due: w.now(), Expires: w.now().Add(time.Hour)}
			return errors.Join(c.setMark(markApplied, lost), c.keep([]row{ghost}, nil))
		}))
		require.NoError(t, table.close())
		w.start()
		at(2 * time.Hour)
		require.Contains(t, w.logged.String(), "another log")
		require.Len(t, w.email.deliveries(), 1)
		left, err := w.r.table.openOf(t.Context(), eventID, "bob")
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
