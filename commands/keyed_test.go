package commands

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func keyed(actor, route, key, body string) Caller {
	return Caller{Actor: actor, Key: &Key{Route: route, Value: key, Body: []byte(body)}}
}

var once = keyed("alice", "POST /participants", "k", "{}")

// requireReplay says that a answers again what first answered.
func requireReplay(t *testing.T, first, a Answer[seen]) {
	t.Helper()
	require.True(t, a.Replayed)
	require.Zero(t, a.Appended)
	require.Equal(t, first.View, a.View)
	require.Equal(t, first.Revision, a.Revision)
	require.False(t, a.Position.Before(first.Position))
}

func TestKeyedRequestIsReplayed(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	first, err := ask(w.Handler, register("a"), once)
	require.NoError(t, err)
	require.False(t, first.Replayed)
	require.Equal(t, 1, first.Appended)
	require.Equal(t, seen{Title: "Title", Confirmed: 1, At: noon}, first.View)

	replayed := func(h *Handler) {
		t.Helper()
		before := w.store.appends()
		again, err := ask(h, register("a"), once)
		require.NoError(t, err)
		requireReplay(t, first, again)
		require.Equal(t, before, w.store.appends())
		_, err = ask(h, register("a"), keyed("alice", "POST /participants", "k", "{1}"))
		require.ErrorIs(t, err, aggregates.ErrKeyReused)
		require.Equal(t, before, w.store.appends())
	}
	replayed(w.Handler)

	w.clock.move(time.Hour)
	w.must(register("b"))
	w.must(retitle("Another"))
	replayed(w.Handler)
	replayed(w.another(w.store)) // after a restart

	w.clock.move(100 * time.Hour) // the event has taken place
	replayed(w.Handler)
	w.must(DeleteEvent{EventID: "e"})
	replayed(w.Handler)
	replayed(w.another(w.store))
}

func TestKeyedRequestWaitsForTheFirst(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	entered, open := w.store.block()
	first := begin(context.Background(), w.Handler, register("a"), once)
	<-entered
	again := begin(context.Background(), w.Handler, register("a"), once)
	select {
	case r := <-again:
		require.Fail(t, "answered before the first", "%v", r)
	default:
	}
	open()
	a, b := <-first, <-again
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	require.False(t, a.Replayed)
	requireReplay(t, a.Answer, b.Answer)
	require.Equal(t, 2, w.store.appends())
}

// Both are decided for one write: side by side the second is answered from the
// state at hand, and with another command between them from the log.
func TestKeyedRequestTwiceInOneWrite(t *testing.T) {
	for name, between := range map[string][]onEvent{"side by side": nil, "apart": {register("b"), register("c")}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
			entered, open := w.store.block()
			ctx := context.Background()
			held := begin(ctx, w.Handler, retitle("Held"), alice)
			<-entered
			first := begin(ctx, w.Handler, register("a"), once)
			var others []<-chan result
			for _, cmd := range between {
				others = append(others, begin(ctx, w.Handler, cmd, alice))
			}
			again := begin(ctx, w.Handler, register("a"), once)
			reused := begin(ctx, w.Handler, register("a"), keyed("alice", "POST /participants", "k", "other"))
			open()
			require.NoError(t, (<-held).err)
			a, b := <-first, <-again
			require.NoError(t, a.err)
			require.NoError(t, b.err)
			requireReplay(t, a.Answer, b.Answer)
			for _, o := range others {
				require.NoError(t, (<-o).err)
			}
			require.ErrorIs(t, (<-reused).err, aggregates.ErrKeyReused)
			require.Equal(t, 3, w.store.appends())
		})
	}
}

func TestKeyedRequestThatChangesNothingIsNoted(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	none, err := ask(w.Handler, retitle("Title"), alice)
	require.NoError(t, err)
	require.Equal(t, []any{0, int64(0), 1}, []any{none.Appended, none.Revision, w.store.appends()}, "unkeyed, nothing is written")

	first, err := ask(w.Handler, retitle("Title"), once)
	require.NoError(t, err)
	require.Zero(t, first.Appended)
	require.EqualValues(t, 1, first.Revision)
	history, err := w.History(context.Background(), "event-e", 1, 10)
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.Equal(t, events.RequestNoted{}, history[0].Fact)

	w.must(retitle("Another"))
	again, err := ask(w.Handler, retitle("Title"), once)
	require.NoError(t, err)
	requireReplay(t, first, again)
	_, last := look(t, w.Handler)
	require.EqualValues(t, 2, last)
}

func TestRefusalsAreNotKept(t *testing.T) {
	w := newWorld(t)
	_, err := ask(w.Handler, register("a"), once)
	require.ErrorIs(t, err, aggregates.ErrEventNotFound)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	a, err := ask(w.Handler, register("a"), once)
	require.NoError(t, err)
	require.False(t, a.Replayed)
}

func TestKeysBelongToCallerAndRoute(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	for name, by := range map[string]Caller{
		"a": once,
		"b": keyed("bob", "POST /participants", "k", "{}"),
		"c": keyed("alice", "POST /announcements", "k", "{}"),
		"d": keyed("alice", "POST /participants", "l", "{}"),
		"f": keyed("alice POST", "/participants", "k", "{}"),
	} {
		a, err := ask(w.Handler, register(name), by)
		require.NoError(t, err)
		require.False(t, a.Replayed, name)
	}
	s, _ := look(t, w.Handler)
	require.Equal(t, 5, s.Confirmed)
}

func TestNewID(t *testing.T) {
	w := newWorld(t)
	id := w.NewID(once, "participant")
	require.NoError(t, uuid.Validate(id))
	require.Equal(t, id, w.another(w.store).NewID(once, "participant"))
	require.Equal(t, id, w.NewID(keyed("alice", "POST /participants", "k", "other body"), "participant"))
	others := map[string]bool{id: true}
	for _, other := range []string{
		w.NewID(once, "announcement"), w.NewID(alice, "participant"), w.NewID(alice, "participant"),
		w.NewID(keyed("bob", "POST /participants", "k", "{}"), "participant"),
		w.NewID(keyed("alice", "POST /events", "k", "{}"), "participant"),
		w.NewID(keyed("alice", "POST /participants", "l", "{}"), "participant"),
	} {
		require.NoError(t, uuid.Validate(other))
		require.False(t, others[other])
		others[other] = true
	}
}
