package commands

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
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

// away is keys on a server that doesn't answer.
type away struct{ *keys.Ring }

func (away) Open(int64, []byte, []byte) ([]byte, bool, error) { return nil, false, keys.ErrUnavailable }
func (away) Seal(int64, []byte, []byte) ([]byte, error)       { return nil, keys.ErrUnavailable }

// Keys that can't be read now are no damage: the same may succeed later.
func TestKeysAway(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(2)})
	o := Options{Store: w.store, Keys: away{w.ring}, Now: w.clock.now, PhoneRegion: "DE", Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress}}
	for _, next := range []string{"a", "c"} { // first what is written can't be sealed, then what is read can't be opened
		h := NewHandler(o)
		_, err := ask(h, register("b"), alice)
		require.ErrorIs(t, err, eventstore.ErrUnavailable)
		require.NotErrorIs(t, err, eventstore.ErrCorrupt)
		h.Close()
		w.must(register(next))
	}
}
