package commands

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message whose handover ends during the wait was not overtaken, though the
// change goes on waiting for others and then gives up on them. They are waited
// for in no order, so several end.
func TestEndedDuringTheWaitIsNotOvertaken(t *testing.T) {
	inGate(t, func(t *testing.T, w *world, over *Handover) {
		var others []*Handover
		for range 8 {
			others = append(others, w.BeginHandover("e", "b"))
		}
		moved := begin(context.Background(), w.Handler, move(), alice)
		time.Sleep(100 * time.Millisecond)
		for _, o := range others {
			o.End()
		}
		require.NoError(t, (<-moved).err)
		require.True(t, over.Overtaken())
		for _, o := range others {
			require.False(t, o.Overtaken())
		}
	})
}

// A handover that began behind the change saw it when it looked.
func TestLaterHandoversAreNotWaitedFor(t *testing.T) {
	inGate(t, func(t *testing.T, w *world, over *Handover) {
		began := time.Now()
		moved := begin(context.Background(), w.Handler, move(), alice)
		time.Sleep(100 * time.Millisecond)
		later := w.BeginHandover("e", "a")
		defer later.End()
		over.End()
		require.NoError(t, (<-moved).err)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		require.False(t, later.Overtaken())
	})
}
