package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
)

// shelf keeps snapshots in memory.
type shelf struct {
	mu     sync.Mutex
	kept   map[string][]Snapshot // the newest last
	saved  chan struct{}         // where set, gets one for each snapshot
	hold   chan struct{}         // where set, Save waits for it
	loads  int
	broken error
}

func (s *shelf) Load(_ context.Context, stream string, version, revision int64, at time.Time) (Snapshot, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return Snapshot{}, false, s.broken
	}
	for _, one := range slices.Backward(s.kept[stream]) {
		if one.Version == version && one.Revision <= revision && !one.At.After(at) {
			s.loads++
			return one, true, nil
		}
	}
	return Snapshot{}, false, nil
}

func (s *shelf) Save(_ context.Context, stream string, one Snapshot) (written int, err error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[aggregates.PartID][]byte{}
	for _, before := range s.kept[stream] {
		for _, p := range before.Parts {
			there[p.ID] = p.Data
		}
	}
	one.Parts = slices.Clone(one.Parts)
	for i, p := range one.Parts {
		if p.Data == nil {
			if one.Parts[i].Data = there[p.ID]; there[p.ID] == nil {
				return 0, ErrPartsMissing
			}
		}
		written += len(p.Data)
	}
	if s.kept == nil {
		s.kept = map[string][]Snapshot{}
	}
	s.kept[stream] = append(s.kept[stream], one)
	if s.saved != nil {
		s.saved <- struct{}{}
	}
	return written, nil
}

func (s *shelf) Drop(_ context.Context, stream string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, stream)
	if s.saved != nil {
		s.saved <- struct{}{}
	}
	return nil
}

func (s *shelf) newest(stream string) (one Snapshot, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.kept[stream]); n > 0 {
		return s.kept[stream][n-1], true
	}
	return one, false
}

// keeping is a handler that knows nothing yet and makes a snapshot of every few facts.
func (w *world) keeping(store eventstore.Store, s *shelf) *Handler {
	h := NewHandler(Options{
		Store: store, Keys: w.ring, Now: w.clock.now, PhoneRegion: "DE", Snapshots: s, Logger: slog.New(slog.DiscardHandler),
		Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress, "sms": aggregates.PhoneNumber},
	})
	h.page = 5
	w.t.Cleanup(h.Close)
	return h
}

// all is all that an event shows of itself, contacts too.
func all(e *aggregates.Event, last int64) []any {
	said := []any{last, e.ID, e.Title, e.Times, e.Capacity, e.Status, e.Deleted, e.Created, e.Changed, e.Own, e.Moved, e.Reminders, e.Announcements,
		e.ParticipantCount(), e.ConfirmedCount(), e.WaitingCount()}
	for p := range e.Participants() {
		said = append(said, *p, e.Place(p))
	}
	return said
}

// Whatever is asked, whenever the process ends, and whatever becomes of the
// snapshots: the state is the one that the log folds to, now and at each revision,
// and a request repeated is answered as the first time.
func TestSnapshotsLeadWhereTheLogLeads(t *testing.T) {
	ring := keys.InMemory()
	defer func() { require.NoError(t, ring.Close()) }()
	rapid.Check(t, func(r *rapid.T) {
		mem := memstore.New()
		w := worldOver(t, &spy{Store: mem}, mem, ring)
		w.must(ScheduleEvent{EventID: "e", Fields: fields(2)})
		s := &shelf{}
		type asked struct {
			cmd    onEvent
			by     Caller
			answer Answer[seen]
		}
		var before []asked
		for round := range rapid.IntRange(1, 4).Draw(r, "processes") {
			h := w.keeping(w.store, s)
			for n := range rapid.IntRange(1, 15).Draw(r, "commands") {
				by := alice
				if rapid.Bool().Draw(r, "keyed") {
					by = keyed("alice", "POST", fmt.Sprint(round, " ", n), "{}")
				}
				cmd := someCommand(r)
				a, err := ask(h, cmd, by)
				var refusal *aggregates.Refusal
				require.True(r, err == nil || errors.As(err, &refusal), "%v", err)
				if err == nil && by.Key != nil {
					before = append(before, asked{cmd, by, a})
				}
				w.clock.move(time.Second)
			}
			if len(before) > 0 {
				one := rapid.SampledFrom(before).Draw(r, "again")
				a, err := ask(h, one.cmd, one.by)
				require.NoError(r, err)
				require.True(r, a.Replayed)
				require.Equal(r, one.answer.View, a.View)
				require.Equal(r, one.answer.Revision, a.Revision)
			}
			h.Close()
			if kept := s.kept["event-e"]; len(kept) > 0 {
				newest := &kept[len(kept)-1]
				switch rapid.IntRange(0, 5).Draw(r, "damage") {
				case 0:
					newest.Head = newest.Head[:len(newest.Head)-1]
				case 1:
					newest.Revision++ // which it isn't the snapshot of
				case 2:
					if len(newest.Parts) > 0 {
						part := &newest.Parts[rapid.IntRange(0, len(newest.Parts)-1).Draw(r, "part")]
						part.Data = slices.Clone(part.Data)
						part.Data[len(part.Data)/2] ^= 1
					}
				}
			}
			h = w.keeping(w.store, s)
			for _, u := range []Until{{}, {Revision: new(rapid.Int64Range(0, 20).Draw(r, "revision"))}, {Time: new(noon.Add(time.Duration(rapid.IntRange(0, 30).Draw(r, "second")) * time.Second))}} {
				whole, last, foldErr := fold[aggregates.Event, *aggregates.Event](context.Background(), w.Handler, "event-e", u, false)
				got, err := At[aggregates.Event](context.Background(), h, "event-e", u, all)
				require.Equal(r, foldErr, err)
				if err == nil {
					require.Equal(r, all(whole, last), got)
				}
			}
			whole, last, err := fold[aggregates.Event, *aggregates.Event](context.Background(), w.Handler, "event-e", Until{}, false)
			require.NoError(r, err)
			got, err := View[aggregates.Event](context.Background(), h, "event-e", all)
			require.NoError(r, err)
			require.Equal(r, all(whole, last), got)
			h.Close()
		}
	})
}

// crowd is an event with so many participants, of which there is a snapshot.
func crowd(t *testing.T, n int) (*world, *shelf) {
	w := newWorld(t)
	s := &shelf{saved: make(chan struct{}, 100)}
	h := w.keeping(w.store, s)
	_, err := ask(h, ScheduleEvent{EventID: "e", Fields: fields(0)}, alice)
	require.NoError(t, err)
	for i := range n {
		_, err := ask(h, register(fmt.Sprint("p", i)), keyed("alice", "POST", fmt.Sprint(i), "{}"))
		require.NoError(t, err)
	}
	<-s.saved
	h.Close()
	return w, s
}

func TestColdStartReadsWhatIsBehindTheSnapshot(t *testing.T) {
	w, s := crowd(t, 30)
	one, ok := s.newest("event-e")
	require.True(t, ok)
	require.GreaterOrEqual(t, one.Revision, int64(4))
	h := w.keeping(w.store, s)
	w.store.mu.Lock()
	w.store.reads = 0
	w.store.mu.Unlock()
	a, err := ask(h, register("late"), alice)
	require.NoError(t, err)
	require.Equal(t, 31, a.View.Confirmed)
	require.Equal(t, 1, s.loads)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	require.LessOrEqual(t, w.store.reads, 2+int(31-one.Revision)/5+1)
}

// A shelf that is broken, or has what another log led to, is passed over.
func TestSnapshotsOfNoUse(t *testing.T) {
	for name, harm := range map[string]func(*shelf){
		"broken":           func(s *shelf) { s.broken = errors.New("broken") },
		"another version":  func(s *shelf) { harmAll(s, func(one *Snapshot) { one.Version++ }) },
		"ahead of the log": func(s *shelf) { harmAll(s, func(one *Snapshot) { one.Revision += 1000 }) },
		"another log": func(s *shelf) {
			harmAll(s, func(one *Snapshot) {
				m, notes, rest, err := readHead(one.Head)
				if err != nil {
					panic(err)
				}
				m.id = uuid.New()
				e := new(aggregates.Event)
				if err := e.Restore(rest, one.Parts[notes:], nil); err != nil {
					panic(err)
				}
				m.event = e.Freeze()
				one.Head = m.head(notes)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := crowd(t, 30)
			harm(s)
			h := w.keeping(w.store, s)
			a, err := ask(h, register("late"), alice)
			require.NoError(t, err)
			require.Equal(t, 31, a.View.Confirmed)
		})
	}
}

func harmAll(s *shelf, harm func(*Snapshot)) {
	for _, kept := range s.kept {
		for i := range kept {
			harm(&kept[i])
		}
	}
}

// contactless is a store that can't give single facts, as contacts are asked for.
type contactless struct{ eventstore.Store }

func (c contactless) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if limit == 1 {
		return nil, eventstore.ErrCorrupt
	}
	return c.Store.ReadStream(ctx, stream, from, limit)
}

// Where a contact isn't where the snapshot says, all is read from the log: by who looks, who
// changes something, and who looks at the past.
func TestSnapshotThatLeadsAstray(t *testing.T) {
	w, s := crowd(t, 30)
	change := ChangeContact{EventID: "e", ParticipantID: "p3", Patch: aggregates.ContactPatch{Name: aggregates.Patch[string]{Given: true, Value: "p3"}}}
	h := w.keeping(contactless{w.store}, s)
	a, err := ask(h, change, alice)
	require.NoError(t, err)
	require.Zero(t, a.Appended, "the name is the same")

	name := func(e *aggregates.Event, _ int64) string {
		p, _ := e.Participant("p3")
		return p.Contact.Name
	}
	h = w.keeping(contactless{w.store}, s)
	got, err := View[aggregates.Event](t.Context(), h, "event-e", name)
	require.NoError(t, err)
	require.Equal(t, "p3", got)
	got, err = At[aggregates.Event](t.Context(), h, "event-e", Until{}, name)
	require.NoError(t, err)
	require.Equal(t, "p3", got)
}

// Nothing of a deleted event is kept.
func TestSnapshotsOfADeletedEventGo(t *testing.T) {
	w, s := crowd(t, 30)
	h := w.keeping(w.store, s)
	_, err := ask(h, DeleteEvent{EventID: "e"}, alice)
	require.NoError(t, err)
	for {
		<-s.saved
		if _, kept := s.newest("event-e"); !kept {
			break
		}
	}
}

// Writing a snapshot holds up nobody, and they aren't made more often than it pays.
func TestSnapshotsHoldUpNobody(t *testing.T) {
	w := newWorld(t)
	s := &shelf{saved: make(chan struct{}, 100), hold: make(chan struct{})}
	h := w.keeping(w.store, s)
	_, err := ask(h, ScheduleEvent{EventID: "e", Fields: fields(0)}, alice)
	require.NoError(t, err)
	for i := range 50 {
		_, err := ask(h, register(fmt.Sprint("p", i)), alice)
		require.NoError(t, err)
	}
	close(s.hold)
	<-s.saved
	require.True(t, (*kept)(nil).due(5, 5))
	require.False(t, (*kept)(nil).due(4, 5))
	require.False(t, (&kept{bytes: 10 * snapshotBytes}).due(9, 5))
	require.True(t, (&kept{bytes: 10 * snapshotBytes}).due(10, 5))
	h.Close()
	require.Less(t, len(s.kept["event-e"]), 11)
}

// stalled is a store that reads no stream from its beginning until it is let.
type stalled struct {
	eventstore.Store
	asked, open chan struct{}
	once        sync.Once
}

func (s *stalled) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if from == 0 && s.asked != nil {
		s.once.Do(func() { close(s.asked) })
		<-s.open
	}
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// Who repeats a request waits for the past to be read, and nobody else does.
func TestRepeatedRequestHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	store := &stalled{Store: w.store}
	h := w.another(store)
	_, err := ask(h, ScheduleEvent{EventID: "e", Fields: fields(0)}, alice)
	require.NoError(t, err)
	first, err := ask(h, register("a"), once)
	require.NoError(t, err)
	_, err = ask(h, register("b"), alice)
	require.NoError(t, err)
	store.asked, store.open = make(chan struct{}), make(chan struct{})
	again := begin(t.Context(), h, register("a"), once)
	<-store.asked
	_, err = ask(h, register("c"), alice)
	require.NoError(t, err)
	close(store.open)
	answer := <-again
	require.NoError(t, answer.err)
	requireReplay(t, first, answer.Answer)
}

// slow is a store that can read a few pages, and then can't for once.
type slow struct {
	eventstore.Store
	pages int
	began int // how often a stream was read from its beginning
}

func (s *slow) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if from == 0 {
		s.began++
	}
	if s.pages--; s.pages == 0 {
		s.pages = 3
		return nil, eventstore.ErrUnavailable
	}
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// A stream that can't be read in one go is read in several.
func TestLongStreamIsReadBitByBit(t *testing.T) {
	w, _ := crowd(t, 60)
	store := &slow{Store: w.store, pages: 3}
	h := w.another(store)
	h.page = 5
	failures := 0
	for {
		a, err := ask(h, register("late"), alice)
		if err == nil {
			require.Equal(t, 61, a.View.Confirmed)
			break
		}
		require.ErrorIs(t, err, eventstore.ErrUnavailable)
		failures++
		require.Less(t, failures, 20)
	}
	require.Positive(t, failures)
	require.Equal(t, 1, store.began)
}
