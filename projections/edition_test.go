package projections

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

func TestEditionChangesWithTheRows(t *testing.T) {
	w := newWorld(t)
	m := w.open(t.TempDir())
	defer func() { require.NoError(t, m.Close()) }()
	stop := w.follow(t, m)
	defer stop()
	w.event("a", meeting("a"))
	w.shown(m)
	before := edition(t, m)
	_, err := m.Event(bg, "a")
	require.NoError(t, err)
	require.Equal(t, before, edition(t, m))
	w.event("a", events.EventCancelled{EventID: "a"})
	w.shown(m)
	require.NotEqual(t, before, edition(t, m))

	one, another := m.editions.change(), m.editions.change()
	_, known := m.Edition()
	require.False(t, known, "while it changes")
	one()
	_, known = m.Edition()
	require.False(t, known, "while something else still changes")
	another()
	_, known = m.Edition()
	require.True(t, known)
}

// edition waits for the end of a change: a position is told just before it.
func edition(t *testing.T, m *Models) (e Edition) {
	require.Eventually(t, func() (known bool) {
		e, known = m.Edition()
		return known
	}, patience, time.Millisecond)
	return e
}

// Where others fold, nobody can tell that nothing has changed.
func TestNoEditionWhereRowsAreShared(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		_, known := m.Edition()
		require.Equal(t, !w.target.Shared(), known)
	})
}

// The end of the log is left alone for a while, but not where somebody waits.
func TestWhoWaitsEndsTheRest(t *testing.T) {
	w := newWorld(t)
	m := w.open(t.TempDir())
	defer func() { require.NoError(t, m.Close()) }()
	m.mostRest = time.Hour
	m.took.Store(int64(time.Hour))
	rested := make(chan struct{})
	go func() {
		defer close(rested)
		m.rest(bg, nil)
	}()
	ctx, cancel := context.WithCancel(bg)
	waited := make(chan error)
	go func() { waited <- m.WaitFor(ctx, eventstore.Position{Commit: 1, Prepare: 1}) }()
	<-rested
	cancel()
	require.ErrorIs(t, <-waited, context.Canceled)
	require.False(t, m.wanted())
}
