package reminders

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

// A message says what it is about, as the event is when it is sent, and is
// dated the same on every attempt.
func TestWhatAMessageSays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Later}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		contact := contactOf("ann")
		contact.TimeZone = "Asia/Tokyo"
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: contact})
		w.register("bob")
		do(w, commands.OptOut{EventID: eventID, ParticipantID: "bob"})
		at(30 * time.Minute)
		do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Location: aggregates.Patch[string]{Given: true, Value: "Tower"}}})
		at(2 * time.Hour)
		sent := w.email.deliveries()
		require.Len(t, sent, 2, "two attempts, and nothing to bob")
		for _, m := range sent {
			require.Equal(t, "ann@x.org", m.To)
			require.Equal(t, noon.Add(time.Hour), m.Due)
			require.Equal(t, "https://x.org/"+eventID+"/ann", m.OptOut)
			require.Equal(t, "Asia/Tokyo", m.Event.Zone.String())
			m.Event.Zone = nil
			require.Equal(t, channels.Event{
				UID: eventID, Sequence: 5, Changed: noon.Add(30 * time.Minute), Title: "Concert", Description: "Loud", Location: "Tower",
				Start: noon.Add(2 * time.Hour), End: noon.Add(3 * time.Hour),
			}, m.Event)
		}
	})
}
