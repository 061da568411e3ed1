package commands

import (
	"container/list"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Keys is what commands need of package keys.
type Keys interface {
	events.Keys
	// Take gives the number of a key that nobody has and that is on disk.
	Take(ctx context.Context) (int64, error)
	// Digest tells equal data from other data without showing it.
	Digest(purpose string, data []byte) []byte
}

// Options is what a Handler needs of the world.
type Options struct {
	Store       eventstore.Store
	Keys        Keys
	Now         func() time.Time
	PhoneRegion string // as in aggregates.Now
	Channels    map[string]aggregates.AddressKind
	// FactID makes the id of the next fact of a stream, never the same twice;
	// random ones where nil.
	FactID func(stream string) uuid.UUID
	// Snapshots, where set, keeps states of long streams.
	Snapshots Snapshots
	Logger    *slog.Logger // of Snapshots; slog.Default() where nil
	// Admit, where set, is called before a command takes its place in its stream's
	// line: who simulates orders commands with it.
	Admit func(cmd interface{ Stream() string })
}

// The states that a Handler keeps are bounded by what they were folded from: a
// fact costs one for each unitBytes of it, and a stream slotCost more.
const (
	maxCost   = 400_000
	unitBytes = 512
	slotCost  = 4
)

// Handler decides commands: one at a time for each stream, many streams at once.
// Its methods may be called concurrently.
type Handler struct {
	o     Options
	gate  gate
	limit int64  // of the cache
	batch int    // facts that one write holds at most
	page  int    // records that are read at once
	saver *saver // nil: no snapshots are made

	mu      sync.Mutex
	closed  bool
	streams map[string]*list.Element // of *slot
	recent  *list.List               // most recently used first
	cost    int64                    // of all slots
	serving sync.WaitGroup           // jobs, and goroutines that serve streams

	limits limits
}

// slot is a stream's place in the cache.
type slot struct {
	name   string
	stream any // *stream[T, S]
	users  int // callers that hold it; it is kept while there are any
	cost   int64
}

// NewHandler returns a Handler; Close ends it.
func NewHandler(o Options) *Handler {
	if o.FactID == nil {
		o.FactID = func(string) uuid.UUID { return uuid.New() }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	h := &Handler{
		o: o, limit: maxCost, batch: maxWriteFacts, page: pageSize, gate: newGate(),
		streams: map[string]*list.Element{}, recent: list.New(),
	}
	if o.Snapshots != nil {
		h.saver = newSaver()
	}
	return h
}

// Close waits for commands under way; later ones are refused with eventstore.ErrClosed.
func (h *Handler) Close() {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	h.serving.Wait()
	h.limits.close()
	if h.saver != nil && !closed {
		h.saver.close()
	}
}

// now is the present time as decisions see it.
func (h *Handler) now() aggregates.Now {
	return aggregates.Now{
		Time:        h.o.Now().UTC().Truncate(time.Microsecond),
		Digest:      h.emailDigest,
		PhoneRegion: h.o.PhoneRegion,
		Channels:    h.o.Channels,
	}
}

func (h *Handler) emailDigest(canonical string) string {
	return shortDigest(h.o.Keys, "email", []byte(canonical))
}

func shortDigest(keys Keys, purpose string, data []byte) string {
	return base64.RawURLEncoding.EncodeToString(keys.Digest(purpose, data)[:16])
}

// idSpace is the name space of ids derived from idempotency keys.
var idSpace = uuid.MustParse("6ad62f5e-2f3c-4b55-9d4b-6f1f0a3f2f55")

// NewID makes the id of a new resource; what tells apart several of one
// request. For a keyed request it is derived from caller, route and key, so
// that the request repeated names the same resource.
func (h *Handler) NewID(by Caller, what string) string {
	if by.Key == nil {
		return uuid.NewString()
	}
	return uuid.NewSHA1(idSpace, []byte(what+"\x00"+h.requestKey(by))).String()
}

func (h *Handler) requestKey(by Caller) string {
	return shortDigest(h.o.Keys, "request-key", fmt.Appendf(nil, "%q %q %q", by.Actor, by.Key.Route, by.Key.Value))
}

// request is how by is remembered beside its facts.
func (h *Handler) request(by Caller) *events.Request {
	if by.Key == nil {
		return nil
	}
	return &events.Request{Key: h.requestKey(by), Body: shortDigest(h.o.Keys, "request-body", by.Key.Body)}
}

// hold returns the stream of that name for one job, and keeps it in the cache until release.
func hold[T any, S State[T]](h *Handler, name string) (*stream[T, S], func(), error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, eventstore.ErrClosed
	}
	element, ok := h.streams[name]
	if !ok {
		element = h.recent.PushFront(&slot{name: name, stream: &stream[T, S]{h: h, name: name, awaited: eventstore.NoStream}})
		h.streams[name] = element
	} else {
		h.recent.MoveToFront(element)
	}
	held := element.Value.(*slot)
	s, ok := held.stream.(*stream[T, S])
	if !ok {
		return nil, nil, fmt.Errorf("commands: stream %s is of another aggregate", name)
	}
	held.users++
	h.serving.Add(1) // here, so that Close waits for every job that it didn't refuse
	return s, func() { h.release(held, s) }, nil
}

func (h *Handler) release(held *slot, s interface{ folded() int64 }) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.serving.Done()
	held.users--
	cost := slotCost + s.folded()
	h.cost += cost - held.cost
	held.cost = cost
	for last := h.recent.Back(); last != nil && h.cost > h.limit; {
		oldest, before := last.Value.(*slot), last.Prev()
		if oldest.users == 0 {
			h.recent.Remove(last)
			delete(h.streams, oldest.name)
			h.cost -= oldest.cost
		}
		last = before
	}
}
