package reminders

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

// heldUp is a channel before which an attempt is held up once, after its look.
type heldUp struct {
	*scripted
	meanwhile atomic.Pointer[func()]
}

func (c *heldUp) Check(m channels.Message) error {
	if meanwhile := c.meanwhile.Swap(nil); meanwhile != nil {
		(*meanwhile)()
	}
	return c.scripted.Check(m)
}

// What is held up between look and call is looked at again.
func TestLookThatHasBecomeOld(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*world)
		sent      []string
		status    aggregates.NotificationStatus
	}{
		"another title": {func(w *world) {
			do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: "Recital"}}})
		}, []string{"Recital"}, aggregates.NotificationSent},
		"cancelled": {func(w *world) { do(w, commands.CancelEvent{EventID: eventID}) }, nil, aggregates.NotificationCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			held := &heldUp{}
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(59 * time.Minute)
				meanwhile := func() {
					c.meanwhile(w)
					time.Sleep(maxLookAge + time.Millisecond)
				}
				held.meanwhile.Store(&meanwhile)
				at(time.Hour + time.Minute)
				require.Nil(t, held.meanwhile.Load())
				var sent []string
				for _, d := range w.email.deliveries() {
					sent = append(sent, d.Subject)
				}
				require.Equal(t, c.sent, sent)
				require.Equal(t, c.status, w.only().Status)
			}, func(w *world) {
				w.tune = func(all []channels.Registration) {
					held.scripted = w.email
					all[0].Channel = held
				}
			})
		})
	}
}
