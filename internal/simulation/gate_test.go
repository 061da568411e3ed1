package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
)

// turn is something that waits until the driver lets it go on: an append, news
// for the planner, or a provider's answer. Whatever leads to another log passes
// here, one turn at a time, which makes the order of goroutines that of a seed.
type turn struct {
	key     string // tells it from all others that wait
	process *process
	call    *call     // of a provider; nil: not one
	at      time.Time // by the bubble's clock; zero: the driver has not seen it
	ruled   ruling
	going   chan ruling
}

// ruling is how a turn goes on.
type ruling struct {
	fate   fate
	answer channels.Result
	panics bool
}

type fate int

const (
	goes      fate = iota
	refused        // nothing was written, and the caller hears so
	lostAfter      // written, and the caller doesn't hear
	lost           // not written, and the caller doesn't hear that either
	diesAfter      // written, and the process ends before anybody hears
	dead           // its process has ended
)

// gate is where turns wait.
type gate struct {
	mu      sync.Mutex
	waiting map[string]*turn
	arrived chan struct{}
}

func newGate() *gate { return &gate{waiting: map[string]*turn{}, arrived: make(chan struct{}, 1)} }

// wait enters a turn and waits for its ruling, or for ctx.
func (g *gate) wait(ctx context.Context, t *turn) (ruling, error) {
	t.going = make(chan ruling, 1)
	g.mu.Lock()
	if t.call == nil && t.process.dead {
		g.mu.Unlock()
		return ruling{fate: dead}, nil
	}
	for n, key := 2, t.key; g.waiting[t.key] != nil; n++ {
		t.key = fmt.Sprint(key, " again ", n)
	}
	g.waiting[t.key] = t
	g.mu.Unlock()
	select {
	case g.arrived <- struct{}{}:
	default:
	}
	select {
	case r := <-t.going:
		return r, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.waiting, t.key)
		return ruling{}, ctx.Err()
	}
}

// all gives the turns that wait, in the order of their keys.
func (g *gate) all() []*turn {
	select {
	case <-g.arrived:
	default:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*turn
	for _, key := range slices.Sorted(maps.Keys(g.waiting)) {
		all = append(all, g.waiting[key])
	}
	return all
}

// let makes a turn go on.
func (g *gate) let(t *turn, r ruling) {
	g.mu.Lock()
	delete(g.waiting, t.key)
	g.mu.Unlock()
	t.going <- r
}

// bury ends what a process waits for; providers that it has called don't hear of its end.
func (g *gate) bury(p *process) {
	g.mu.Lock()
	p.dead = true
	g.mu.Unlock()
	for _, t := range g.all() {
		if t.process == p && t.call == nil {
			g.let(t, ruling{fate: dead})
		}
	}
}

// gated is the log as one process sees it.
type gated struct {
	*memstore.Store
	gate    *gate
	process *process
}

func (g gated) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	r, err := g.gate.wait(ctx, &turn{key: fmt.Sprintf("append to %s at %d by %d", stream, expected, g.process.number), process: g.process})
	switch {
	case err != nil:
		return eventstore.Position{}, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
	case r.fate == dead:
		return eventstore.Position{}, eventstore.ErrClosed
	case r.fate == refused:
		return eventstore.Position{}, fmt.Errorf("%w: no room", eventstore.ErrUnavailable)
	case r.fate == lost:
		return eventstore.Position{}, fmt.Errorf("%w: no answer", eventstore.ErrUnknownOutcome)
	}
	p, err := g.Store.Append(ctx, stream, expected, records)
	switch {
	case r.fate == diesAfter:
		return eventstore.Position{}, eventstore.ErrClosed
	case r.fate == lostAfter && err == nil:
		return eventstore.Position{}, fmt.Errorf("%w: no answer", eventstore.ErrUnknownOutcome)
	}
	return p, err
}

// admit orders commands before they are in their streams' lines.
func (g gated) admit(cmd interface{ Stream() string }) {
	_, _ = g.gate.wait(context.Background(), &turn{key: fmt.Sprintf("%T to %s by %d", cmd, cmd.Stream(), g.process.number), process: g.process})
}

// heralded is a store whose news come when the driver lets them.
type heralded struct{ gated }

func (h heralded) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	s, err := h.Store.Subscribe(ctx, after)
	return &heraldedSubscription{s, h.gated}, err
}

type heraldedSubscription struct {
	eventstore.Subscription
	of gated
}

func (s *heraldedSubscription) Next(ctx context.Context) (eventstore.Batch, error) {
	b, err := s.Subscription.Next(ctx)
	if err != nil {
		return b, err
	}
	r, err := s.of.gate.wait(ctx, &turn{key: fmt.Sprintf("news for %d", s.of.process.number), process: s.of.process})
	if err == nil && r.fate == dead {
		err = eventstore.ErrClosed
	}
	return b, err
}

// call is a message that a provider was given.
type call struct {
	message channels.Message
	channel string
	at      time.Time // by the service's clock
	from    int64     // revision of the event that its callers know of
}

// provider is a channel whose answers the driver gives.
type provider struct {
	s    *sim
	name string
}

func (p provider) Check(m channels.Message) error {
	if m.To == "" {
		return errors.New("no address")
	}
	return nil
}

// Send hands over, and waits for the answer, also when ctx has ended: the worst
// that a provider does.
func (p provider) Send(ctx context.Context, m channels.Message) channels.Result {
	c := &call{message: m, channel: p.name, at: p.s.now()}
	p.s.oracle.called(c)
	r, _ := p.s.gate.wait(context.WithoutCancel(ctx), &turn{key: fmt.Sprintf("call %s attempt %d", m.ID, m.Attempt), call: c})
	if r.panics {
		panic("the provider's library fails")
	}
	return r.answer
}
