package commands

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

func registrations(n int) (cmds []onEvent) {
	for i := range n {
		cmds = append(cmds, register(fmt.Sprint("p", i)))
	}
	return cmds
}

func TestWaitingCommandsAreOneWrite(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	before := w.store.appends()
	end := eventstore.Start
	for i, a := range w.together(registrations(64)...) {
		require.NoError(t, a.err)
		require.Equal(t, i+1, a.View.Confirmed, "each sees the state behind its own facts")
		require.EqualValues(t, i+2, a.Revision)
		end = a.Position
	}
	require.Equal(t, before+2, w.store.appends())
	at, err := w.mem.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, at, end)
}

// small takes only few records at once.
type small struct{ eventstore.Store }

func (s small) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if len(records) > 4 {
		return eventstore.Start, eventstore.ErrTooLarge
	}
	return s.Store.Append(ctx, stream, expected, records)
}

func TestTooLargeIsHalved(t *testing.T) {
	w := newWorld(t)
	w.store.Store = small{w.store.Store}
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	for i, a := range w.together(registrations(41)...) {
		require.NoError(t, a.err)
		require.Equal(t, i, a.View.Waiting)
	}
	// What is too large by itself is refused, and nothing of it done.
	_, err := ask(w.Handler, ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: 9}}}, alice)
	require.ErrorIs(t, err, eventstore.ErrTooLarge)
	s, _ := look(t, w.Handler)
	require.Equal(t, []int{1, 40}, []int{s.Confirmed, s.Waiting})
}

func TestWritesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.Handler.batch = 10
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	for _, a := range w.together(registrations(35)...) {
		require.NoError(t, a.err)
	}
	require.Equal(t, 10, w.store.largest())
	// Decisions of several facts don't go past it either, but for one that is larger by itself.
	w.store.forget()
	seats := func(n int) onEvent {
		return ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: n}}}
	}
	for _, a := range w.together(seats(5), retitle("x"), seats(10)) {
		require.NoError(t, a.err)
	}
	require.Equal(t, 6, w.store.largest(), "six, and six that had no room beside them")
	w.must(seats(30))
	require.Equal(t, 21, w.store.largest())
}

func TestWritesAreBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	var cmds []onEvent
	for i := range 200 {
		text := fmt.Sprint(i, strings.Repeat("x", 5000))
		cmds = append(cmds, ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{Description: aggregates.Patch[string]{Given: true, Value: text}}})
	}
	for _, a := range w.together(cmds...) {
		require.NoError(t, a.err)
	}
	require.LessOrEqual(t, w.store.largest()*5000, maxWriteBytes)
	require.Greater(t, w.store.largest(), 50)
}

func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t)
	w.Handler.limit = 200
	of := func(event int, c RegisterParticipant) RegisterParticipant {
		c.EventID = fmt.Sprint("e", event)
		return c
	}
	for i := range 100 {
		w.must(ScheduleEvent{EventID: fmt.Sprint("e", i), Fields: fields(0)})
	}
	for round := range 3 {
		for i := range 100 {
			a := w.must(of(i, register(fmt.Sprint("p", round))))
			require.Equal(t, round+1, a.View.Confirmed)
			require.LessOrEqual(t, w.Handler.cost, int64(200))
		}
	}
	// Nor do streams stay that don't exist.
	for i := range 1000 {
		_, err := ask(w.Handler, of(1000+i, register("p")), alice)
		require.ErrorIs(t, err, aggregates.ErrEventNotFound)
	}
	require.LessOrEqual(t, len(w.Handler.streams), 200/slotCost)
	require.Equal(t, len(w.Handler.streams), w.Handler.recent.Len())
	before := w.store.reads
	w.must(of(1, register("hot")))
	w.must(of(1, register("hotter")))
	require.Equal(t, before+1, w.store.reads, "a warm stream is not read again")
}

func TestEvictionUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.Handler.limit = 20
	const streams, people = 8, 64
	for i := range streams {
		w.must(ScheduleEvent{EventID: fmt.Sprint("e", i), Fields: fields(3)})
	}
	var answers []<-chan result
	for i := range people * streams {
		c := register(fmt.Sprint("p", i/streams))
		c.EventID = fmt.Sprint("e", i%streams)
		answers = append(answers, begin(context.Background(), w.Handler, c, alice))
	}
	for _, answered := range answers {
		require.NoError(t, (<-answered).err)
	}
	for i := range streams {
		e, last, err := folded(t.Context(), w.Handler, fmt.Sprint("event-e", i), Until{})
		require.NoError(t, err)
		require.EqualValues(t, people, last)
		require.Equal(t, []int{3, people - 3}, []int{e.ConfirmedCount(), e.WaitingCount()})
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	w.clock.move(time.Hour)
	w.must(retitle("A"))
	w.clock.move(-2 * time.Hour)
	require.Equal(t, noon.Add(time.Hour), w.must(retitle("B")).View.At)
	_, err := ask(w.another(w.store), retitle("C"), alice)
	require.NoError(t, err)
	w.Handler = w.another(w.store)
	w.clock.move(3*time.Hour + 1500*time.Nanosecond)
	w.must(retitle("D"))
	history, err := w.History(t.Context(), "event-e", 0, 100)
	require.NoError(t, err)
	var at []time.Duration
	for _, entry := range history {
		at = append(at, entry.Metadata.OccurredAt.Sub(noon))
	}
	require.Equal(t, []time.Duration{0, time.Hour, time.Hour, time.Hour, 2*time.Hour + time.Microsecond}, at)
}

func TestNewerFact(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	_, err := w.mem.Append(t.Context(), "event-e", 0, []eventstore.NewRecord{{ID: uuid.New(), Type: "EventTeleported", Data: []byte("{}"), Metadata: []byte("{}")}})
	require.NoError(t, err)
	h := w.another(w.store)
	_, err = ask(h, retitle("x"), alice)
	require.ErrorIs(t, err, events.ErrNewerFact)
	_, err = View(t.Context(), h, "event-e", func(*aggregates.Event, int64) int { return 0 })
	require.ErrorIs(t, err, events.ErrNewerFact)
	_, err = ask(h, ScheduleEvent{EventID: "other", Fields: fields(0)}, alice)
	require.NoError(t, err, "other streams go on")
}

func TestAt(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	for i := range 5 {
		w.clock.move(time.Minute)
		w.must(register(fmt.Sprint("p", i)))
	}
	at := func(u Until) (int, int64, error) {
		e, last, err := folded(t.Context(), w.Handler, "event-e", u)
		if err != nil {
			return 0, last, err
		}
		return e.ParticipantCount(), last, nil
	}
	for revision := range int64(6) {
		n, last, err := at(Until{Revision: &revision})
		require.NoError(t, err)
		require.Equal(t, []int64{revision, revision}, []int64{int64(n), last})
	}
	beyond, exact, between, before := int64(6), noon.Add(2*time.Minute), noon.Add(150*time.Second), noon.Add(-time.Microsecond)
	_, _, err := at(Until{Revision: &beyond})
	require.ErrorIs(t, err, ErrBeyondEnd)
	for _, when := range []*time.Time{&exact, &between} {
		n, _, err := at(Until{Time: when})
		require.NoError(t, err)
		require.Equal(t, 2, n, "a time is inclusive")
	}
	_, _, err = at(Until{Time: &before})
	require.ErrorIs(t, err, ErrBeforeStart)
	_, _, err = folded(t.Context(), w.Handler, "event-none", Until{})
	require.ErrorIs(t, err, ErrBeforeStart)
}

func TestHistoryShowsWhatCallersMaySee(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	_, err := ask(w.Handler, register("a"), Caller{Actor: "bob", CorrelationID: "c", CausationID: "d"})
	require.NoError(t, err)
	history, err := w.History(t.Context(), "event-e", 1, 10)
	require.NoError(t, err)
	require.Len(t, history, 1)
	f := history[0].Fact.(events.ParticipantRegistered)
	require.Empty(t, f.EmailDigest)
	require.Zero(t, f.Personal.Key)
	require.Equal(t, "a@x.org", f.Personal.Email)
	require.Equal(t, events.Metadata{Actor: "bob", CorrelationID: "c", CausationID: "d", OccurredAt: noon}, history[0].Metadata)
	require.NotContains(t, string(history[0].Record.Data), "a@x.org")
}

func TestClose(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	var answers []<-chan result
	for i := range 64 {
		answers = append(answers, begin(context.Background(), w.Handler, register(fmt.Sprint("p", i)), alice))
	}
	w.Close()
	for _, answered := range answers {
		require.NoError(t, (<-answered).err, "who was let in is served")
	}
	_, err := ask(w.Handler, register("late"), alice)
	require.ErrorIs(t, err, eventstore.ErrClosed)
	s, _ := look(t, w.another(w.store))
	require.Equal(t, 64, s.Confirmed)
}

func TestStreamOfAnotherAggregate(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	_, err := View(t.Context(), w.Handler, "event-e", func(*aggregates.Notification, int64) int { return 0 })
	require.Error(t, err)
	w.must(retitle("x"))
}
