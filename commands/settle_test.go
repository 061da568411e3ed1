package commands

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
)

func TestAppendThatFailed(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	fails := 1
	w.mem.Fail = func(int) error {
		if fails--; fails >= 0 {
			return fmt.Errorf("%w: full", eventstore.ErrUnavailable)
		}
		return nil
	}
	_, err := ask(w.Handler, register("a"), once)
	require.ErrorIs(t, err, eventstore.ErrUnavailable)
	a, err := ask(w.Handler, register("a"), once)
	require.NoError(t, err)
	require.False(t, a.Replayed, "nothing was done the first time")
	require.Equal(t, 1, a.View.Confirmed)
	require.EqualValues(t, 1, a.Revision)
}

// All who share a write that failed are told, and nobody else.
func TestAppendThatFailedForMany(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	w.mem.Fail = func(n int) error {
		if n == 3 {
			return fmt.Errorf("%w: full", eventstore.ErrUnavailable)
		}
		return nil
	}
	for _, a := range w.together(register("a"), retitle("x"), register("a")) {
		require.ErrorIs(t, a.err, eventstore.ErrUnavailable)
	}
	s, _ := look(t, w.Handler)
	require.Zero(t, s.Confirmed)
	w.must(register("a"))
}

// keyless is a ring that has run out of keys.
type keyless struct{ Keys }

func (keyless) Take(context.Context) (int64, error) { return 0, errors.New("full") }

// Who can't be served holds up none of those who are decided with them.
func TestEachIsAnsweredForItself(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	w.must(register("a"))
	w.o.Keys = keyless{w.ring}
	answers := w.together(retitle("x"), register("b"), decline("a"), register("c"), retitle("y"))
	for i, refused := range []bool{false, true, false, true, false} {
		if refused {
			require.ErrorIs(t, answers[i].err, eventstore.ErrUnavailable)
		} else {
			require.NoError(t, answers[i].err)
		}
	}
	s, last := look(t, w.Handler)
	require.Equal(t, "y", s.Title)
	require.EqualValues(t, 1+1+3, last, "with the one that was held up")
}

// A cut connection is settled before anybody is answered.
func TestAppendOfUnknownOutcome(t *testing.T) {
	for name, took := range map[string]bool{"it took place": true, "it didn't": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
			cuts := 1
			cut := func(int) error {
				if cuts--; cuts >= 0 {
					return fmt.Errorf("%w: cut", eventstore.ErrUnknownOutcome)
				}
				return nil
			}
			if took {
				w.mem.FailAfter = cut
			} else {
				w.mem.Fail = cut
			}
			a := w.must(register("a"))
			require.Equal(t, 1, a.View.Confirmed)
			last, _, err := w.mem.ReadLast(t.Context(), "event-e")
			require.NoError(t, err)
			require.EqualValues(t, 1, last.Revision, "it is there once")
			require.Equal(t, last.Position, a.Position)
			require.Equal(t, 1, w.must(register("b")).View.Waiting)
		})
	}
}

// belated is a store whose appends answer nothing at first, and take place a bit later.
type belated struct {
	eventstore.Store
	appends int
	arrives func() // has the first append take place
}

func (b *belated) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if b.appends++; b.appends == 2 {
		b.arrives = func() { _, _ = b.Store.Append(ctx, stream, expected, records) }
		return eventstore.Start, fmt.Errorf("%w: cut", eventstore.ErrUnknownOutcome)
	}
	if b.appends == 3 {
		b.arrives() // after it was looked for in vain
	}
	return b.Store.Append(ctx, stream, expected, records)
}

// Not to find it doesn't mean that it won't come: it may be on its way.
func TestAppendOfUnknownOutcomeThatComesLate(t *testing.T) {
	w := newWorld(t)
	late := &belated{Store: w.mem}
	w.store.Store = late
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	require.Equal(t, 1, w.must(register("a")).View.Confirmed)
	require.Equal(t, 3, late.appends)
	last, _, err := w.mem.ReadLast(t.Context(), "event-e")
	require.NoError(t, err)
	require.EqualValues(t, 1, last.Revision)
}

// Where somebody else's record stands, ours did not happen and is decided again.
func TestAppendOfUnknownOutcomeAndAnotherWriter(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	w.must(ScheduleEvent{EventID: "e", Fields: fields(1)})
	cuts := 0
	w.mem.Fail = func(int) error {
		if cuts--; cuts == 0 {
			return fmt.Errorf("%w: cut", eventstore.ErrUnknownOutcome)
		}
		return nil
	}
	entered, open := w.store.block()
	first := begin(context.Background(), w.Handler, register("a"), alice)
	<-entered
	_, err := ask(w.another(w.mem), register("b"), alice)
	require.NoError(t, err)
	cuts = 1
	open()
	a := <-first
	require.NoError(t, a.err)
	require.Equal(t, seen{"Title", 1, 1, noon}, a.View)
	require.EqualValues(t, 2, a.Revision)
}

func TestUnsettledOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
		away := true
		w.mem.Fail = func(int) error {
			if away {
				return fmt.Errorf("%w: cut", eventstore.ErrUnknownOutcome)
			}
			return nil
		}
		_, err := ask(w.Handler, register("a"), once)
		require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
		away = false
		a, err := ask(w.Handler, register("a"), once)
		require.NoError(t, err)
		require.Equal(t, 1, a.View.Confirmed)
	})
}

// hanging is a store whose disk hangs: an append that it has begun is on disk
// when it comes back, long after its caller was told that nobody knows.
type hanging struct {
	*memstore.Store
	until time.Time
	begun bool
}

func (h *hanging) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	left := time.Until(h.until)
	if left <= 0 {
		return h.Store.Append(ctx, stream, expected, records)
	}
	if !h.begun {
		h.begun = true
		time.AfterFunc(left, func() { _, _ = h.Store.Append(context.Background(), stream, expected, records) })
	}
	select {
	case <-time.After(left):
		return h.Store.Append(ctx, stream, expected, records)
	case <-ctx.Done():
		return eventstore.Start, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, ctx.Err())
	}
}

// What may still come is looked for until it is known, also where nobody else
// writes: a state without it isn't the truth.
func TestUnsettledOutcomeThatComesMuchLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := &hanging{Store: w.mem}
		h := w.another(slow)
		_, err := ask(h, ScheduleEvent{EventID: "e", Fields: fields(0)}, alice)
		require.NoError(t, err)
		slow.until = time.Now().Add(time.Minute)
		_, err = ask(h, CancelEvent{EventID: "e"}, alice)
		require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
		_, last := look(t, h)
		require.Zero(t, last, "it isn't there yet")
		time.Sleep(time.Minute)
		_, last = look(t, h)
		require.EqualValues(t, 1, last, "it came")
		_, err = ask(h, register("a"), alice)
		require.ErrorIs(t, err, aggregates.ErrEventCancelled)
		a, err := ask(h, CancelEvent{EventID: "e"}, alice)
		require.NoError(t, err)
		require.Zero(t, a.Appended)
	})
}

func TestContextEndsWhileWaiting(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	entered, open := w.store.block()
	held := begin(context.Background(), w.Handler, retitle("Held"), alice)
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	gone := begin(ctx, w.Handler, register("a"), alice)
	stays := begin(context.Background(), w.Handler, register("b"), alice)
	cancel()
	require.ErrorIs(t, (<-gone).err, context.Canceled)
	open()
	require.NoError(t, (<-held).err)
	require.Equal(t, 1, (<-stays).View.Confirmed, "who had gone before the decision is not served")
	_, err := Do(ctx, w.Handler, register("c"), alice, show)
	require.ErrorIs(t, err, context.Canceled)
	s, _ := look(t, w.Handler)
	require.Equal(t, 1, s.Confirmed)
}

// Where others write, an answer that appends nothing is given from the newest state alone.
func TestSharedStore(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	other := w.another(w.store)
	behind := func(c onEvent, by Caller) {
		t.Helper()
		_, err := ask(other, c, by)
		require.NoError(t, err)
	}
	w.must(ScheduleEvent{EventID: "e", Fields: fields(2)})
	behind(register("a"), alice)
	require.Equal(t, 1, w.must(retitle("Title")).View.Confirmed, "a no-op")
	behind(register("b"), alice)
	_, err := ask(w.Handler, register("b"), alice)
	require.ErrorIs(t, err, aggregates.ErrDuplicateParticipant, "a refusal")
	behind(retitle("Second"), alice)
	_, err = ask(w.Handler, retitle("Other"), ifMatch(0))
	require.ErrorIs(t, err, aggregates.ErrPrecondition, "If-Match")
	behind(register("c"), once)
	a, err := ask(w.Handler, register("c"), once)
	require.NoError(t, err)
	require.True(t, a.Replayed, "a replay")
	s, last := look(t, w.Handler)
	require.Equal(t, seen{Title: "Second", Confirmed: 2, Waiting: 1}, s)
	require.EqualValues(t, 4, last, "a look")
}

// Two instances that write to one stream lose nobody and seat nobody twice.
func TestRacingInstances(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	handlers := []*Handler{w.Handler, w.another(w.store), w.another(w.store)}
	w.must(ScheduleEvent{EventID: "e", Fields: fields(20)})
	var answers []<-chan result
	for i := range 300 {
		answers = append(answers, begin(context.Background(), handlers[i%3], register(fmt.Sprint("p", i)), alice))
	}
	for _, answered := range answers {
		a := <-answered
		require.NoError(t, a.err)
		require.LessOrEqual(t, a.View.Confirmed, 20)
		require.EqualValues(t, a.Revision, a.View.Confirmed+a.View.Waiting)
	}
	s, last := look(t, w.Handler)
	require.Equal(t, seen{Title: "Title", Confirmed: 20, Waiting: 280}, s)
	require.EqualValues(t, 300, last)
}

// meddler appends a foreign record before each of our first appends, so that
// these come too late.
type meddler struct {
	*memstore.Store
	left int
}

func (m *meddler) Exclusive() bool { return false }

func (m *meddler) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if m.left--; m.left >= 0 {
		foreign := []eventstore.NewRecord{{ID: uuid.New(), Type: "RequestNoted", Data: []byte(`{}`), Metadata: []byte(`{}`)}}
		if _, err := m.Store.Append(ctx, stream, expected, foreign); err != nil {
			return eventstore.Start, err
		}
	}
	return m.Store.Append(ctx, stream, expected, records)
}

func TestLostRacesAreDecidedAgain(t *testing.T) {
	w := newWorld(t)
	w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
	h := w.another(&meddler{Store: w.mem, left: 5})
	a, err := ask(h, register("a"), once)
	require.NoError(t, err)
	require.EqualValues(t, 6, a.Revision)
	require.Equal(t, 1, a.View.Confirmed)
}
