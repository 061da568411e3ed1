// Package peers runs what else people use to have something done at its time,
// each as its own documentation advises, and in addition tuned where its authors
// say how.
package peers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
)

// Task is what a peer keeps of a reminder: as much as it takes to send one.
type Task struct {
	N       int    `json:"n"`
	Event   string `json:"event"`
	To      string `json:"to"`
	Message string `json:"message"`
}

func task(n int) Task {
	return Task{
		N: n, Event: "0197c2f0-4c1e-7b7e-9a53-3f1f6a5c2d10", To: fmt.Sprintf("ringer-%d@example.org", n),
		Message: fmt.Sprintf("Hello Ringer %d, \"Bell-ringing course\" starts in an hour", n),
	}
}

// Queue does tasks at their times; doing one is noting when it began.
type Queue interface {
	// Load keeps tasks for the given times. When it returns they are as durable as
	// the queue makes them.
	Load(ctx context.Context, due []time.Time) error
	// Wait returns when all tasks are done and the queue has recorded that: then
	// the time of it is returned.
	Wait(ctx context.Context) (time.Time, error)
	Close() error
}

// Open begins a queue on an empty state; begun is told of each task that begins.
type Open func(ctx context.Context, l *lab.Lab, begun *Begun) (Queue, error)

// Begun notes when each task was begun.
type Begun struct {
	mu    sync.Mutex
	first []time.Time
	again int
}

// NewBegun is for so many tasks.
func NewBegun(tasks int) *Begun { return &Begun{first: make([]time.Time, tasks)} }

// Note notes that the n-th task begins now. It may be called concurrently.
func (b *Begun) Note(n int) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first[n].IsZero() {
		b.first[n] = now
	} else {
		b.again++
	}
}

// Late tells how late each task was begun, below 0 where it was early. Each
// must have begun exactly once.
func (b *Begun) Late(due []time.Time) ([]time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	late := make([]time.Duration, len(due))
	for n, at := range b.first {
		if at.IsZero() {
			return nil, fmt.Errorf("task %d was never begun", n)
		}
		late[n] = at.Sub(due[n])
	}
	if b.again > 0 {
		return nil, fmt.Errorf("%d tasks were begun more than once", b.again)
	}
	return late, nil
}

// ErrNotLoaded says that a task was due before all were loaded.
var ErrNotLoaded = errors.New("the first was due before all were loaded")

// Outcome is what became of many tasks.
type Outcome struct {
	Late []time.Duration // of each, below 0 where it was early
	Took time.Duration   // from the first due time until all were recorded as done
}

// Run has a task done at each of the offsets from a moment that is at least
// lead ahead. Where loading takes longer than that, it begins anew with twice the time.
func Run(ctx context.Context, l *lab.Lab, open Open, offsets []time.Duration, lead time.Duration) (Outcome, error) {
	for ; ; lead *= 2 {
		o, err := run(ctx, l, open, offsets, lead)
		if !errors.Is(err, ErrNotLoaded) {
			return o, err
		}
		l.Progress("%v: again, with %v", err, 2*lead)
	}
}

func run(ctx context.Context, l *lab.Lab, open Open, offsets []time.Duration, lead time.Duration) (o Outcome, err error) {
	begun := NewBegun(len(offsets))
	q, err := open(ctx, l, begun)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	first := time.Now().Add(lead).Truncate(time.Second).Add(time.Second)
	due := make([]time.Time, len(offsets))
	for n, offset := range offsets {
		due[n] = first.Add(offset)
	}
	if err := q.Load(ctx, due); err != nil {
		return o, err
	}
	if time.Until(first) < lead/10 {
		return o, ErrNotLoaded
	}
	done, err := q.Wait(ctx)
	if err != nil {
		return o, err
	}
	o.Took = done.Sub(first)
	o.Late, err = begun.Late(due)
	return o, err
}
