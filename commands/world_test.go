package commands

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
)

var (
	noon  = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)
	alice = Caller{Actor: "alice"}
)

// onEvent is a command to an event.
type onEvent = Command[*aggregates.Event]

// spy counts appends and can hold them up.
type spy struct {
	eventstore.Store
	shared bool // others write too

	mu      sync.Mutex
	records []int // of each append that was answered
	reads   int
	gate    *gateway
}

// gateway holds up appends until it is opened.
type gateway struct {
	entered, opened chan struct{}
	once            sync.Once
}

func (s *spy) Exclusive() bool { return !s.shared }

func (s *spy) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		gate.once.Do(func() { close(gate.entered) })
		<-gate.opened
	}
	p, err := s.Store.Append(ctx, stream, expected, records)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, len(records))
	return p, err
}

func (s *spy) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// appends is how many there were.
func (s *spy) appends() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// largest is how many records the largest append had, since forget.
func (s *spy) largest() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.records {
		most = max(most, n)
	}
	return most
}

func (s *spy) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = nil
}

// block holds up appends until open is called; entered is closed with the first.
func (s *spy) block() (entered <-chan struct{}, open func()) {
	g := &gateway{entered: make(chan struct{}), opened: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = g
	return g.entered, func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(g.opened)
	}
}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a handler over a store that is spied on.
type world struct {
	*Handler
	t     testing.TB
	store *spy
	mem   *memstore.Store // nil over another store
	ring  *keys.Ring
	clock *clock
}

func newWorld(t testing.TB) *world {
	ring := keys.InMemory()
	t.Cleanup(func() { require.NoError(t, ring.Close()) })
	mem := memstore.New()
	return worldOver(t, &spy{Store: mem}, mem, ring)
}

func worldOver(t testing.TB, store *spy, mem *memstore.Store, ring *keys.Ring) *world {
	w := &world{t: t, store: store, mem: mem, ring: ring, clock: &clock{t: noon}}
	w.Handler = w.another(store)
	return w
}

// another is a handler that knows nothing yet.
func (w *world) another(store eventstore.Store) *Handler {
	h := NewHandler(Options{
		Store: store, Keys: w.ring, Now: w.clock.now, PhoneRegion: "DE",
		Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress, "sms": aggregates.PhoneNumber},
	})
	w.t.Cleanup(h.Close)
	return h
}

// seen is what tests look at after a command.
type seen struct {
	Title              string
	Confirmed, Waiting int
	At                 time.Time
}

func show(e *aggregates.Event, now time.Time) seen {
	return seen{e.Title, e.ConfirmedCount(), e.WaitingCount(), now}
}

func ask(h *Handler, cmd onEvent, by Caller) (Answer[seen], error) {
	return Do(context.Background(), h, cmd, by, show)
}

func (w *world) must(cmd onEvent) Answer[seen] {
	w.t.Helper()
	a, err := ask(w.Handler, cmd, alice)
	require.NoError(w.t, err)
	return a
}

// look gives the event e and the revision of its last fact.
func look(t testing.TB, h *Handler) (s seen, last int64) {
	t.Helper()
	s, err := View(context.Background(), h, "event-e", func(e *aggregates.Event, revision int64) seen {
		last = revision
		return show(e, time.Time{})
	})
	require.NoError(t, err)
	return s, last
}

// queued is a context that tells when it is waited for: its command is in line then.
type queued struct {
	context.Context
	once  sync.Once
	waits func()
}

func (q *queued) Done() <-chan struct{} {
	q.once.Do(q.waits)
	return q.Context.Done()
}

type result struct {
	Answer[seen]
	err error
}

// begin has a command put in line, and gives what will be answered.
func begin(ctx context.Context, h *Handler, cmd onEvent, by Caller) <-chan result {
	answered, inLine := make(chan result, 1), make(chan struct{})
	go func() {
		a, err := Do(&queued{Context: ctx, waits: func() { close(inLine) }}, h, cmd, by, show)
		answered <- result{a, err}
	}()
	<-inLine
	return answered
}

// together has commands decided in one go, and gives their answers.
func (w *world) together(cmds ...onEvent) []result {
	w.t.Helper()
	entered, open := w.store.block()
	held := begin(context.Background(), w.Handler, retitle(fmt.Sprint("held ", w.store.appends())), alice)
	<-entered
	var waiting []<-chan result
	for _, cmd := range cmds {
		waiting = append(waiting, begin(context.Background(), w.Handler, cmd, alice))
	}
	open()
	require.NoError(w.t, (<-held).err)
	answers := make([]result, len(waiting))
	for i, answered := range waiting {
		answers[i] = <-answered
	}
	return answers
}

func fields(capacity int) aggregates.EventFields {
	f := aggregates.EventFields{
		Title: "Title", Description: "Text", CreatorID: "alice", StartTime: noon.Add(24 * time.Hour), EndTime: noon.Add(26 * time.Hour), TimeZone: "UTC",
	}
	if capacity > 0 {
		f.Capacity = &capacity
	}
	return f
}

func contact(name string) aggregates.ContactFields {
	return aggregates.ContactFields{UserID: "u-" + name, Name: name, Email: name + "@x.org"}
}

func register(name string) RegisterParticipant {
	return RegisterParticipant{EventID: "e", ParticipantID: name, Contact: contact(name)}
}

func retitle(title string) ChangeEvent {
	return ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: title}}}
}

// folded gives the event as At sees it.
func folded(ctx context.Context, h *Handler, name string, until Until) (e *aggregates.Event, last int64, err error) {
	e, err = At[aggregates.Event](ctx, h, name, until, func(state *aggregates.Event, revision int64) *aggregates.Event {
		last = revision
		return state
	})
	return e, last, err
}
