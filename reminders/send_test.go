package reminders

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

var caller = commands.Caller{Actor: "test"}

// interval sets the check interval.
func (w *world) interval(seconds int) {
	w.t.Helper()
	_, err := w.r.Start(context.Background(), caller, &seconds)
	require.NoError(w.t, err)
}

// reminded schedules an event in two hours with a reminder an hour before, and one participant.
func (w *world) reminded() {
	w.t.Helper()
	w.event(2*time.Hour, 0)
	w.reminder("r", 60)
	w.register("ann")
}

func TestOnTimeByTheClock(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.reminded()
		at(time.Hour - time.Microsecond)
		require.Empty(t, w.email.deliveries())
		at(time.Hour)
		require.Equal(t, []time.Duration{time.Hour}, w.email.times())
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Equal(t, noon.Add(time.Hour), n.SentTime)
		require.Equal(t, "ref-1", n.ProviderMessageID)
		require.Equal(t, "a***@x.org", n.To)
		require.Equal(t, `Hello ann, "Concert" starts in 1 hour`, n.Message)
		require.Equal(t, n.ID, w.email.deliveries()[0].ID)

		// An announcement is due at once.
		at(time.Hour + time.Minute)
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "Bring a hat"}})
		synctest.Wait()
		require.Equal(t, time.Hour+time.Minute, w.email.times()[1])
	})
}

func TestManyChannelsAtTheirTimes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.event(2*time.Hour, 0)
		for i := range 60 {
			w.reminder(fmt.Sprint("r", i), i)
		}
		w.register("ann")
		at(3 * time.Hour)
		var want []time.Duration
		for i := range 60 {
			want = append(want, time.Hour+time.Duration(i+1)*time.Minute)
		}
		require.Equal(t, want, w.email.times())
	})
}

func TestMissed(t *testing.T) {
	for name, stopped := range map[string]bool{"down": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				synctest.Wait()
				if stopped {
					_, err := w.r.Stop(t.Context(), caller)
					require.NoError(t, err)
				} else {
					w.stop()
				}
				at(2*time.Hour + time.Minute)
				require.Equal(t, aggregates.NotificationPending, w.only().Status)
				at(2*time.Hour + 2*time.Minute)
				if !stopped {
					w.start()
					synctest.Wait()
				}
				require.Empty(t, w.email.deliveries())
				require.Equal(t, events.FailedMissed, w.only().LastError)
			})
		})
	}
}

// What expired while the service was down and was cancelled before is not missed.
func TestNotMissedButCancelled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		fail := false
		w.fail.set(func(int) error {
			if fail {
				return fmt.Errorf("dead")
			}
			fail = true // after the cancelling
			return nil
		})
		do(w, commands.CancelEvent{EventID: eventID})
		w.kill()
		at(3 * time.Hour)
		w.start()
		synctest.Wait()
		n := w.only()
		require.Equal(t, aggregates.NotificationCancelled, n.Status)
		require.Equal(t, events.CancelledEventCancelled, n.CancelReason)
	})
}

func TestLateIsStillSent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		at(2*time.Hour + 30*time.Second)
		w.start()
		synctest.Wait()
		require.Equal(t, []time.Duration{2*time.Hour + 30*time.Second}, w.email.times())
		require.Contains(t, w.email.deliveries()[0].Text, "starts 1 minute ago")
	})
}

func TestWorkersAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Second)
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 600 {
			w.register(fmt.Sprint("p", i))
		}
		at(90 * time.Minute)
		require.Equal(t, 600, w.statuses()[aggregates.NotificationSent])
		require.Equal(t, defaultWorkers, w.email.top)
	})
}

func TestRendersWhatIsThen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		message := "{{ participant.name }}: {{ event.title }} at {{ event.local_start }} ({{ reminder.minutes_before }})"
		w.event(2*time.Hour, 0)
		sixty := 60
		do(w, commands.AddReminder{EventID: eventID, ReminderID: "r", Fields: aggregates.ReminderFields{MinutesBefore: &sixty, Message: &message}})
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: aggregates.ContactFields{
			UserID: "u", Name: "Ann", Email: "ann@x.org", TimeZone: "Asia/Tokyo",
		}})
		at(30 * time.Minute)
		do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: "Recital"}}})
		do(w, commands.ChangeContact{EventID: eventID, ParticipantID: "ann", Patch: aggregates.ContactPatch{
			Name: aggregates.Patch[string]{Given: true, Value: "Anna"}, Email: aggregates.Patch[string]{Given: true, Value: "anna@y.org"},
		}})
		at(time.Hour)
		given := w.email.deliveries()
		require.Len(t, given, 1)
		require.Equal(t, "Anna: Recital at Sat, 1 Jan 2000 23:00 JST (60)", given[0].Text)
		require.Equal(t, "anna@y.org", given[0].To)
		require.Equal(t, "Anna", given[0].Name)
		require.Equal(t, "Recital", given[0].Subject)
	})
}
