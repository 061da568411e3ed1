package reminders

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

func TestStopAndStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n <= 4 {
				<-release
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 20 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		require.Len(t, w.email.deliveries(), 4)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			_, err := w.r.Stop(context.Background(), caller)
			assert.NoError(t, err)
		}()
		synctest.Wait()
		status, err := w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, ProcessorStatus{State: "stopped", CheckIntervalSeconds: 30, Due: 16, InFlight: 4}, status)
		select {
		case <-stopped:
			t.Fatal("stop did not wait for what is in flight")
		default:
		}
		close(release)
		<-stopped
		at(time.Hour + time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 4, aggregates.NotificationPending: 16}, w.statuses())

		w.register("late") // planning goes on
		synctest.Wait()
		require.Equal(t, 17, w.statuses()[aggregates.NotificationPending])

		w.restart()
		at(time.Hour + 2*time.Minute)
		require.Len(t, w.email.deliveries(), 4, "a stop survives a restart")
		w.interval(45)
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 21}, w.statuses())
		status, err = w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, ProcessorStatus{State: "running", CheckIntervalSeconds: 45}, status)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers, all[0].Timeout = 4, time.Hour }
	})
}

// A stop doesn't let those go that wait for the rate of their channel.
func TestStopWhileRateIsUsedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 20 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 4500*time.Millisecond)
		require.Len(t, w.email.deliveries(), 5, "one a second")
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		require.Equal(t, time.Hour+4500*time.Millisecond, time.Since(noon), "a stop waits only for what is in flight")
		at(time.Hour + time.Minute)
		require.Len(t, w.email.deliveries(), 5)

		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 15}, swept)
		require.GreaterOrEqual(t, time.Since(noon), time.Hour+time.Minute+13*time.Second, "send-due keeps to the rate too")
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].PerSecond = 1 }
	})
}

func TestSendDue(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if m.To == "p3@x.org" {
				return channels.Result{Outcome: channels.Rejected}
			}
			if m.To == "p4@x.org" {
				return channels.Result{Outcome: channels.Later, Detail: "later"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "Now"}})
		swept, err := w.r.SendDue(t.Context()) // what was asked for just before is sent too
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 16, Failed: 4}, swept)
		require.Equal(t, map[aggregates.NotificationStatus]int{
			aggregates.NotificationSent: 16, aggregates.NotificationPending: 2, aggregates.NotificationFailed: 2,
		}, w.statuses())
		swept, err = w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{}, swept, "the next attempts are not due yet")
		status, err := w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "stopped", status.State)
		at(time.Hour + time.Minute)
		require.Equal(t, 2, w.statuses()[aggregates.NotificationPending])
	})
}

func TestSendDueWhileRunning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Second)
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 500*time.Millisecond)
		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 6}, swept, "four were in flight")
		require.Len(t, w.email.deliveries(), 10)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 4 }
	})
}

// A paused channel holds up no send-due.
func TestSendDueOnPausedChannel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Broken})
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 3 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{StillDue: 2}, swept)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 1 }
	})
}
