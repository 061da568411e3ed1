package reminders

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
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

// elsewhere is a store of several instances, whose answer to the look after a claim
// stays unread for a while.
type elsewhere struct {
	eventstore.Store
	unread  func()
	claimed atomic.Bool
}

func (*elsewhere) Exclusive() bool { return false }

func (e *elsewhere) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	e.claimed.Store(records[0].Type == "SendingStarted")
	return e.Store.Append(ctx, stream, expected, records)
}

func (e *elsewhere) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	records, err := e.Store.ReadStream(ctx, stream, from, limit)
	if stream == commands.EventStream(eventID) && e.claimed.CompareAndSwap(true, false) {
		e.unread()
	}
	return records, err
}

// An instance that is suspended behind the store's answer knows only what was so before.
func TestLookWhoseAnswerWasReadLate(t *testing.T) {
	for name, c := range map[string]struct {
		late   time.Duration
		looks  int
		sent   int
		status aggregates.NotificationStatus
	}{
		"suspended":  {9 * time.Second, 1, 0, aggregates.NotificationCancelled},
		"a slow one": {maxReadTime, 1, 1, aggregates.NotificationSent},
	} {
		t.Run(name, func(t *testing.T) {
			suspended := &elsewhere{}
			inWorld(t, func(t *testing.T, w *world) {
				another := commands.NewHandler(commands.Options{Store: suspended.Store, Keys: w.ring, Now: w.now, PhoneRegion: "DE"})
				defer another.Close()
				looks := 0
				suspended.unread = func() {
					looks++
					_, err := commands.Do(t.Context(), another, commands.CancelEvent{EventID: eventID}, caller, nothing[*aggregates.Event])
					require.NoError(t, err)
					time.Sleep(c.late)
				}
				w.reminded()
				at(time.Hour + time.Minute)
				require.Equal(t, c.looks, looks)
				require.Len(t, w.email.deliveries(), c.sent)
				require.Equal(t, c.status, w.only().Status)
			}, func(w *world) {
				w.wrap = func(s eventstore.Store) eventstore.Store {
					suspended.Store = s
					return suspended
				}
			})
		})
	}
}
