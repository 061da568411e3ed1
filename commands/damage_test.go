package commands

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/keys"
)

// A fact whose personal data its key doesn't open is damaged, whichever of the
// two it is: so that its stream holds up no other.
func TestAFactThatItsKeyDoesntOpen(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	w.must(register("a"))
	other := keys.InMemory()
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	w.ring = other
	h := w.another(w.store)
	_, err := ask(h, register("b"), alice)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorIs(t, err, keys.ErrUnknownKey)
	_, err = other.Take(t.Context())
	require.NoError(t, err)
	_, err = ask(h, register("b"), alice)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorIs(t, err, keys.ErrTampered)
}
