package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/eventstore"
)

const (
	// appendTimeout bounds one append, and what is read before it.
	appendTimeout = 30 * time.Second
	// settleTimeout bounds what it takes to find out what became of an append.
	settleTimeout = 10 * time.Second
	settlePause   = 50 * time.Millisecond
)

// append writes w. Where the outcome is unknown, it is settled before anything
// is decided again: by looking for the ids, which are made once for each
// decision, and, as the first try may still be on its way, by trying again with
// the same ids, which the store takes once.
func (s *stream[T, S]) append(ctx context.Context, w write) (eventstore.Position, error) {
	position, err := s.h.o.Store.Append(ctx, s.name, w.expected, w.records)
	if err == nil || !errors.Is(err, eventstore.ErrUnknownOutcome) {
		return position, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for unknown, pause := err, settlePause; ; pause *= 2 {
		if position, err := s.settled(ctx, w); !errors.Is(err, errNotThere) {
			return position, err
		}
		position, err = s.h.o.Store.Append(ctx, s.name, w.expected, w.records)
		if err == nil || errors.Is(err, eventstore.ErrWrongRevision) {
			return position, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return eventstore.Position{}, errors.Join(unknown, err)
		}
	}
}

// errNotThere says that nothing stands where an append was to write.
var errNotThere = errors.New("not there")

// settled looks for what w was to write. A store that can't be read says
// nothing about it: that is errNotThere too.
func (s *stream[T, S]) settled(ctx context.Context, w write) (eventstore.Position, error) {
	records, err := s.h.o.Store.ReadStream(ctx, s.name, w.expected+1, len(w.records))
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("%w: %w", errNotThere, err)
	}
	for i, r := range records {
		if r.ID != w.records[i].ID {
			return eventstore.Position{}, &eventstore.WrongRevisionError{Stream: s.name, Expected: w.expected, Actual: r.Revision}
		}
	}
	if len(records) < len(w.records) {
		return eventstore.Position{}, errNotThere
	}
	return records[len(records)-1].Position, nil
}
