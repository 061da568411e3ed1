package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Do decides cmd on the present state of its stream, appends the facts, and
// answers with what view sees right after them. view must not keep the state.
//
// Commands that wait for the same stream are decided one after another and
// appended as one write; each is answered for itself. A lost race is decided
// again on the newer state. A keyed request that was decided before is answered
// from the state as it was after it.
//
// A change that could supersede a notification being handed over to its
// provider is answered once that is over, after a second at the latest; so is
// whoever is told meanwhile that it was made already.
//
// Errors to match: *aggregates.Refusal, *aggregates.Invalid,
// events.ErrNewerFact, and those of package eventstore. After
// eventstore.ErrUnknownOutcome, or an end of ctx, the command may have been done.
func Do[T any, S State[T], V any](ctx context.Context, h *Handler, cmd Command[S], by Caller, view func(state S, now time.Time) V) (Answer[V], error) {
	var answer Answer[V]
	job := &job[S]{
		cmd: cmd, by: by, request: h.request(by),
		see: func(state S, now time.Time) { answer.View = view(state, now) },
	}
	if h.o.Admit != nil {
		h.o.Admit(cmd)
	}
	err := submit[T](ctx, h, cmd.Stream(), job)
	var refusal *aggregates.Refusal
	if err == nil || errors.As(err, &refusal) {
		settle(ctx, job.waitFor)
	}
	if err != nil {
		return Answer[V]{}, fmt.Errorf("%T on %s: %w", cmd, cmd.Stream(), err)
	}
	answer.Revision, answer.Position, answer.Replayed, answer.Appended = job.revision, job.position, job.replayed, len(job.facts)
	return answer, nil
}

// View shows the state of a stream as of its end; last is the revision of its
// last fact, eventstore.NoStream where it has none. view must not keep the state.
func View[T any, S State[T], V any](ctx context.Context, h *Handler, name string, view func(state S, last int64) V) (V, error) {
	var v V
	job := &job[S]{look: func(state S, last int64) { v = view(state, last) }}
	if err := submit[T](ctx, h, name, job); err != nil {
		var zero V
		return zero, fmt.Errorf("look at %s: %w", name, err)
	}
	return v, nil
}

// submit has j decided by the stream's server and waits for it. Once ctx has
// ended, j is out of the caller's hands: nothing of it may be read.
func submit[T any, S State[T]](ctx context.Context, h *Handler, name string, j *job[S]) error {
	s, release, err := hold[T, S](h, name)
	if err != nil {
		return err
	}
	j.ctx, j.done, j.release = ctx, make(chan struct{}), release
	s.enqueue(j)
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Entry is a fact as callers may see it.
type Entry struct {
	Record   eventstore.Record
	Fact     events.Fact
	Metadata events.Metadata
}

// Open decodes a record for callers.
func (h *Handler) Open(r eventstore.Record) (Entry, error) {
	f, m, err := h.decode(r)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Record: r, Fact: events.Public(f), Metadata: m}, nil
}

// History returns up to limit facts of a stream from revision from on.
func (h *Handler) History(ctx context.Context, name string, from int64, limit int) ([]Entry, error) {
	records, err := h.o.Store.ReadStream(ctx, name, from, limit)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", name, err)
	}
	entries := make([]Entry, len(records))
	for i, r := range records {
		if entries[i], err = h.Open(r); err != nil {
			return nil, fmt.Errorf("history of %s: %w", name, err)
		}
	}
	return entries, nil
}
