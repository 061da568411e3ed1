package reminders

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

func TestBrokenPausesItsChannelAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Broken, Code: "401"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			id := fmt.Sprint("p", i)
			do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: aggregates.ContactFields{
				UserID: id, Name: id, Email: id + "@x.org", Phone: "+4915112345678", Channels: []string{"email", "sms"},
			}})
		}
		at(time.Hour + 10*time.Second)
		require.Len(t, w.email.deliveries(), 1)
		require.Len(t, w.sms.deliveries(), 10)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "paused", stats.Channels[0].State)
		require.Equal(t, "ready", stats.Channels[1].State)
		at(time.Hour + 29*time.Second)
		require.Len(t, w.email.deliveries(), 1)
		at(time.Hour + 31*time.Second)
		require.Len(t, w.email.deliveries(), 11)
		require.Equal(t, 20, w.statuses()[aggregates.NotificationSent])
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 1 }
	})
}

func TestCircuitOpensAndCloses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		healthy := noon.Add(time.Hour + 3*time.Minute)
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if time.Now().Before(healthy) {
				return channels.Result{Outcome: channels.Later, Code: "503"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 100 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + time.Minute)
		require.Less(t, len(w.email.deliveries()), 20, "an open circuit spares the provider")
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "paused", stats.Channels[0].State)
		at(time.Hour + 10*time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 100}, w.statuses())
		stats, err = w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ready", stats.Channels[0].State)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 4 }
	})
}

// Once a try has shown that the provider works again, nobody waits any longer.
func TestRecoveredCircuitHoldsUpNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.setAnswer(always(channels.Result{Outcome: channels.Later, Code: "503"}))
		w.event(3*time.Hour, 0)
		w.reminder("early", 120)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		for _, n := range w.notifications() { // they are not to probe the circuit
			do(w, commands.CancelNotificationByHand{NotificationID: n.ID})
		}
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{
			Message: "x", SendAt: new(noon.Add(2 * time.Hour)),
		}})
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep(100 * time.Millisecond)
			return accepted(n)
		})
		before := len(w.email.deliveries())
		at(2 * time.Hour)
		require.Len(t, w.email.deliveries(), before+1, "one tries the provider")
		at(2*time.Hour + 200*time.Millisecond)
		require.Len(t, w.email.deliveries(), before+10)
	})
}
