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

// Until is where a fold ends: behind a revision, or behind the last fact that
// happened at a time or before.
type Until struct {
	Revision *int64
	Time     *time.Time
}

// before tells whether the fold ends before a fact.
func (u Until) before(revision int64, at time.Time) bool {
	return u.Revision != nil && revision > *u.Revision || u.Time != nil && at.After(*u.Time)
}

var (
	// ErrBeyondEnd says that a stream has no such revision yet.
	ErrBeyondEnd = errors.New("commands: revision beyond the stream's end")
	// ErrBeforeStart says that a stream had no facts then.
	ErrBeforeStart = errors.New("commands: before the stream's first fact")
)

// At shows a stream as it stood at a point in its past, where last is the
// revision of the last fact then. It reads beside what is decided meanwhile, and
// from the nearest snapshot on, so that view may be called twice. Errors to match are
// ErrBeyondEnd, ErrBeforeStart, and those of Do.
func At[T any, S State[T], V any](ctx context.Context, h *Handler, name string, until Until, view func(state S, last int64) V) (V, error) {
	for trust := true; ; trust = false {
		state, last, err := fold[T, S](ctx, h, name, until, trust)
		if err != nil {
			var zero V
			return zero, err
		}
		if v := view(state, last); failed(state) == nil {
			return v, nil
		}
	}
}

// errUntil ends a fold.
var errUntil = errors.New("until")

// fold gives the state of a stream up to a point, and the revision of the last
// fact that is in it; trust lets it begin with a snapshot.
func fold[T any, S State[T]](ctx context.Context, h *Handler, name string, until Until, trust bool) (S, int64, error) {
	state, last := S(new(T)), eventstore.NoStream
	page, r, ok, err := beginning[T, S](ctx, h, name, until, trust)
	if ok {
		state, last = r.state, r.last
	}
	if err == nil {
		err = h.readOn(ctx, name, page, func(r eventstore.Record, f events.Fact, m events.Metadata) error {
			if r.Revision <= last { // it is in the snapshot
				return nil
			}
			if until.before(r.Revision, m.OccurredAt) {
				return errUntil
			}
			state.Evolve(f, aggregates.Stamp{Revision: r.Revision, At: m.OccurredAt})
			last = r.Revision
			return nil
		})
	}
	switch {
	case err != nil && !errors.Is(err, errUntil):
		return nil, 0, fmt.Errorf("fold %s: %w", name, err)
	case last == eventstore.NoStream:
		return nil, 0, ErrBeforeStart
	case until.Revision != nil && last < *until.Revision:
		return nil, 0, ErrBeyondEnd
	}
	return state, last, nil
}

// pageSize is how many records are read at once. No shorter stream has a
// snapshot, and none is made for fewer facts.
const pageSize = 1000

// probeSize is how many records of a stream are read before it is looked for a snapshot
// of it: most streams are shorter.
const probeSize = 64

// beginning gives the first records of a stream; or a snapshot of it, where trust lets it
// begin with one, and the records that readOn is to go on with.
func beginning[T any, S State[T]](ctx context.Context, h *Handler, name string, until Until, trust bool) (page []eventstore.Record, r restored[S], ok bool, err error) {
	probe := min(probeSize, h.page)
	page, err = h.o.Store.ReadStream(ctx, name, 0, probe)
	if err != nil || len(page) < probe {
		return page, r, false, err
	}
	if trust {
		if r, ok = restore[T, S](ctx, h, name, until); ok {
			return r.page, r, true, nil
		}
	}
	if probe < h.page {
		var more []eventstore.Record
		more, err = h.o.Store.ReadStream(ctx, name, int64(probe), h.page-probe)
		page = append(page, more...)
	}
	return page, r, false, err
}

// readOn hands over the facts of a page, and of those behind it.
func (h *Handler) readOn(ctx context.Context, name string, page []eventstore.Record, each func(eventstore.Record, events.Fact, events.Metadata) error) error {
	for {
		for _, r := range page {
			f, m, err := h.decode(r)
			if err != nil {
				return err
			}
			if err := each(r, f, m); err != nil {
				return err
			}
		}
		if len(page) < h.page {
			return nil
		}
		var err error
		if page, err = h.o.Store.ReadStream(ctx, name, page[len(page)-1].Revision+1, h.page); err != nil {
			return err
		}
	}
}
