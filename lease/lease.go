// Package lease settles which of several instances on one store leads. The
// lease is the last record of a stream: whoever holds it appends the next within a
// few seconds, and whoever has watched it for longer without seeing that takes
// it over. Appends at an expected revision let one win. No clocks are
// compared: each instance measures durations of its own.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

// Stream is where the lease stands. Its last record alone is of use.
const Stream = "lease"

const (
	renewEvery = 3 * time.Second
	// term is for how long the holder leads after it began a renewal that succeeded.
	term = 6 * time.Second
	// watchFor is for how long another must have seen no renewal to take it over:
	// longer than term, as a renewal is seen after it began.
	watchFor = 7 * time.Second
	// lookEvery is how often others look. With watchFor it is well within the 10
	// seconds that taking over may take.
	lookEvery = 500 * time.Millisecond
	// callTimeout bounds one call of the store.
	callTimeout = 2 * time.Second
)

// Names of the records. They differ for people; what counts is State.Released.
const (
	typeTaken    = "LeaseTaken"
	typeRenewed  = "LeaseRenewed"
	typeReleased = "LeaseReleased"
)

// State is what a record of the lease says.
type State struct {
	Instance string `json:"instance"` // the holder's id
	Keys     string `json:"keys"`     // fingerprint of the keys that it seals with
	Scope    string `json:"scope"`    // what it plans for
	Planned  string `json:"planned"`  // the position up to which all is planned
	Released bool   `json:"released,omitempty"`
}

// Options is what a Lease needs of the world.
type Options struct {
	Store eventstore.Store
	Keys  string // fingerprint of this instance's keys
	// Scope names what is planned for. What an instance of another scope has
	// planned is not all that this one would.
	Scope  string
	Logger *slog.Logger
}

// Lease is one instance's part in it. Its methods may be called concurrently.
type Lease struct {
	o        Options
	instance string

	mu      sync.Mutex
	began   time.Time // of the last renewal that succeeded; zero: not held
	planned eventstore.Position
	changed chan struct{} // closed when Leads or Planned may differ
	leads   bool          // as was told last

	// owned by Run
	revision int64     // of the last record seen
	since    time.Time // when it was first seen
	released bool      // nobody holds it
	pending  *attempt  // whose outcome is unknown
	failing  bool      // the store didn't answer last time
}

// attempt is an append that may have succeeded.
type attempt struct {
	id    uuid.UUID
	began time.Time
}

// New returns a Lease that isn't held. Run does the work.
func New(o Options) *Lease {
	return &Lease{o: o, instance: uuid.NewString(), changed: make(chan struct{}), revision: eventstore.NoStream - 1}
}

// Last reads what the lease says now; ok is false where nobody ever held it.
func Last(ctx context.Context, store eventstore.Store) (s State, ok bool, err error) {
	r, ok, err := store.ReadLast(ctx, Stream)
	if err != nil || !ok {
		return s, false, err
	}
	if err := json.Unmarshal(r.Data, &s); err != nil {
		return s, false, fmt.Errorf("read the lease: %w", err)
	}
	return s, true, nil
}

// Leads tells whether this instance leads now.
func (l *Lease) Leads() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds(time.Now())
}

// holds tells whether the lease is held at now. A machine that slept has gone
// on by the clock on the wall alone. l.mu is held.
func (l *Lease) holds(now time.Time) bool {
	if l.began.IsZero() {
		return false
	}
	passed := max(now.Sub(l.began), now.Round(0).Sub(l.began.Round(0)))
	return passed < term
}

// Planned is the position up to which the leader has planned all.
func (l *Lease) Planned() eventstore.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.planned
}

// Tell notes up to where this instance, which leads, has planned all. Others
// hear of it with the next renewal.
func (l *Lease) Tell(p eventstore.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.planned.Before(p) {
		l.planned = p
		l.change()
	}
}

// Changed is closed when Leads or Planned change after the call.
func (l *Lease) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// change tells who waits. l.mu is held.
func (l *Lease) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Run takes part until ctx ends.
func (l *Lease) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := l.step(ctx)
		l.tell()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Release gives the lease up, after Run and once nothing is sent any more, so
// that another takes over at once. Where that fails, it does so a little later.
func (l *Lease) Release(ctx context.Context) {
	l.mu.Lock()
	held := l.holds(time.Now())
	l.mu.Unlock()
	if held {
		l.append(ctx, typeReleased, true)
	}
	l.lose()
	l.tell()
}

// step does what is to be done now and tells how long to wait for the next.
func (l *Lease) step(ctx context.Context) time.Duration {
	l.mu.Lock()
	began, held := l.began, l.holds(time.Now())
	l.mu.Unlock()
	if held && l.pending == nil {
		if wait := renewEvery - time.Since(began); wait > 0 {
			return min(wait, lookEvery)
		}
		l.append(ctx, typeRenewed, false)
		return lookEvery
	}
	if !l.look(ctx) {
		return lookEvery
	}
	l.mu.Lock()
	held = l.holds(time.Now())
	l.mu.Unlock()
	if !held && (l.released || time.Since(l.since) >= watchFor) {
		l.append(ctx, typeTaken, false)
	}
	return lookEvery
}

// look reads the last record; false says that it could not.
func (l *Lease) look(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, ok, err := l.o.Store.ReadLast(limited, Stream)
	if err != nil {
		l.heard(ctx, err)
		return false
	}
	l.heard(ctx, nil)
	if !ok {
		l.revision, l.released = eventstore.NoStream, true
		return true
	}
	if l.pending != nil {
		if r.ID == l.pending.id {
			l.hold(r.Revision, l.pending.began)
		}
		l.pending = nil
	}
	if r.Revision == l.revision {
		return true
	}
	var s State
	if err := json.Unmarshal(r.Data, &s); err != nil {
		l.o.Logger.Warn("the lease's last record can't be read", "revision", r.Revision, "error", err)
	}
	l.revision, l.since, l.released = r.Revision, time.Now(), s.Released
	l.learn(s)
	return true
}

// learn takes over up to where another has planned.
func (l *Lease) learn(s State) {
	p, err := eventstore.ParsePosition(s.Planned)
	if err != nil || s.Scope != l.o.Scope {
		p = eventstore.Start
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p != l.planned && (l.planned.Before(p) || s.Instance != l.instance) {
		l.planned = p
		l.change()
	}
}

// append appends the next record.
func (l *Lease) append(ctx context.Context, kind string, released bool) {
	l.mu.Lock()
	state := State{Instance: l.instance, Keys: l.o.Keys, Scope: l.o.Scope, Planned: l.planned.String(), Released: released}
	l.mu.Unlock()
	data, err := json.Marshal(state)
	if err != nil {
		panic(err) // it is all text
	}
	a := &attempt{id: uuid.New(), began: time.Now()}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = l.o.Store.Append(limited, Stream, l.revision, []eventstore.NewRecord{{ID: a.id, Type: kind, Data: data, Metadata: []byte("{}")}})
	switch {
	case err == nil && released:
		l.heard(ctx, nil)
	case err == nil:
		l.heard(ctx, nil)
		l.hold(l.revision+1, a.began)
	case errors.Is(err, eventstore.ErrWrongRevision):
		l.heard(ctx, nil)
		l.lose()
	default:
		l.pending = a
		l.heard(ctx, err)
	}
}

func (l *Lease) hold(revision int64, began time.Time) {
	l.revision, l.since, l.released, l.pending = revision, began, false, nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began = began
}

func (l *Lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began = time.Time{}
}

// tell tells when leading has begun or ended.
func (l *Lease) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	leads := l.holds(time.Now())
	if leads == l.leads {
		return
	}
	l.leads = leads
	l.change()
	if leads {
		l.o.Logger.Info("this instance leads: it plans and sends", "instance", l.instance)
	} else {
		l.o.Logger.Info("this instance no longer leads", "instance", l.instance)
	}
}

// heard notes whether the store answered, and says so when that changes.
func (l *Lease) heard(ctx context.Context, err error) {
	failing := err != nil
	if failing && !l.failing && ctx.Err() == nil {
		l.o.Logger.Warn("the lease can't be read or renewed, and is tried again", "error", err)
	}
	l.failing = failing
}
