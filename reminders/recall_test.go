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

// A process dies between the call and its conclusion, and then the provider tells that
// it has the message: its text is shown as it was sent, unless it may have been another.
func TestAReceiptAfterACrash(t *testing.T) {
	for name, changed := range map[string]bool{"as it was": false, "changed meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				die := make(chan struct{})
				w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
					<-die
					return accepted(n)
				})
				w.reminded()
				at(time.Hour + time.Second)
				if changed {
					do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: "Recital"}}})
				}
				w.adopt(w.store.Reopen())
				close(die)
				w.r.ended.Store(true)
				w.stop()
				at(time.Hour + time.Minute)
				w.start()
				at(time.Hour + 2*time.Minute)
				require.Equal(t, aggregates.NotificationFailed, w.only().Status)
				do(w, receiptOf(w.only().ID, aggregates.ReceiptDelivered))
				at(time.Hour + 3*time.Minute)
				n := w.only()
				require.Equal(t, aggregates.NotificationDelivered, n.Status)
				require.Equal(t, noon.Add(time.Hour), n.SentTime)
				if changed {
					require.Empty(t, n.Message, "it may have been either")
				} else {
					require.Equal(t, `Hello ann, "Concert" starts in 1 hour`, n.Message)
				}
				require.Len(t, w.email.deliveries(), 1)
			}, emailBy(func(r *channels.Registration) { r.Timeout, r.HoldUnknown = time.Hour, true }))
		})
	}
}
