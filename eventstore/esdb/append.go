package esdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"

	"github.com/belltower/belltower/eventstore"
)

// Append implements eventstore.Store. A connection that is lost on the way is
// made anew and the append sent again, for a few seconds: with the same ids at
// the same revision the server takes it once.
func (s *Store) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	began := time.Now()
	p, err := s.append(ctx, stream, expected, records)
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	if s.o.Appended != nil {
		s.o.Appended(time.Since(began))
	}
	return p, nil
}

func (s *Store) append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Position{}, err
	}
	if _, err := eventstore.CheckAppend(stream, records); err != nil {
		return eventstore.Position{}, err
	}
	if expected < eventstore.NoStream {
		return eventstore.Position{}, s.wrongRevision(ctx, stream, expected)
	}
	events := make([]client.EventData, len(records))
	for i, r := range records {
		events[i] = client.EventData{EventID: r.ID, EventType: r.Type, ContentType: client.ContentTypeJson, Data: r.Data, Metadata: r.Metadata}
	}
	result, tried, err := attempts(ctx, s, func(ctx context.Context, _ func(), c *client.Client) (*client.WriteResult, error) {
		return c.AppendToStream(withLeader(ctx), stream, client.AppendToStreamOptions{ExpectedRevision: expectation(expected)}, events...)
	})
	last := expected + int64(len(records))
	switch {
	case err == nil && len(records) == 1 && result.CommitPosition != 0:
		p := eventstore.Position{Commit: result.CommitPosition, Prepare: result.PreparePosition}
		s.appended(stream, p)
		return p, nil
	case err == nil:
		// A repeated append is answered without a position; and of which of
		// several records the position is, isn't documented.
		return s.positionOf(ctx, stream, last, records[len(records)-1])
	case isCode(err, client.ErrorCodeWrongExpectedVersion):
		return eventstore.Position{}, s.wrongRevision(ctx, stream, expected)
	case !tried || refused(err):
		if grpcCode(err) == codes.InvalidArgument {
			return eventstore.Position{}, fmt.Errorf("%w: %w", eventstore.ErrTooLarge, err)
		}
		return eventstore.Position{}, asUnavailable(ctx, err)
	}
	return eventstore.Position{}, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, err)
}

// expectation is an expected revision as the client has it.
func expectation(expected int64) client.ExpectedRevision {
	if expected == eventstore.NoStream {
		return client.NoStream{}
	}
	return client.Revision(uint64(expected))
}

// positionOf finds the position of a record that was just appended.
func (s *Store) positionOf(ctx context.Context, stream string, revision int64, appended eventstore.NewRecord) (eventstore.Position, error) {
	found, err := s.readStream(ctx, stream, client.Forwards, client.Revision(uint64(revision)), 1)
	switch {
	case err != nil:
		return eventstore.Position{}, fmt.Errorf("%w: it was taken, and can't be read: %w", eventstore.ErrUnknownOutcome, err)
	case len(found) == 0 || found[0].ID != appended.ID:
		return eventstore.Position{}, fmt.Errorf("%w: it was taken, and isn't there", eventstore.ErrCorrupt)
	}
	s.appended(stream, found[0].Position)
	return found[0].Position, nil
}

// appended notes where a record now stands. The end of the log is that of our streams alone.
func (s *Store) appended(stream string, p eventstore.Position) {
	if s.ours(stream) {
		s.end.appended(p)
	}
}

// wrongRevision finds the revision that a stream really has: the client says
// it in words only.
func (s *Store) wrongRevision(ctx context.Context, stream string, expected int64) error {
	last, err := s.readStream(ctx, stream, client.Backwards, client.End{}, 1)
	if err != nil {
		return asUnavailable(ctx, err)
	}
	wrong := &eventstore.WrongRevisionError{Stream: stream, Expected: expected, Actual: eventstore.NoStream}
	if len(last) > 0 {
		wrong.Actual = last[0].Revision
	}
	return wrong
}

// asUnavailable is an error after which nothing was appended or read.
func asUnavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	for _, known := range []error{eventstore.ErrUnavailable, eventstore.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
}

// attempts does something until it succeeds, is refused, or patience is over.
// tried is false where it was never done, or only on a client that was closed before.
func attempts[T any](ctx context.Context, s *Store, do operation[T]) (value T, tried bool, err error) {
	deadline := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		l, lost := s.conn.acquire(ctx, deadline)
		if lost != nil {
			return value, tried, errors.Join(lost, err)
		}
		value, err = call(ctx, s.conn, l, do)
		if err == nil || refused(err) {
			return value, true, err
		}
		tried = tried || !isCode(err, client.ErrorCodeConnectionClosed)
		if s.life.Err() == nil && ctx.Err() == nil {
			if !connected(err) {
				s.conn.retire(l, err)
			}
			if !time.Now().Before(deadline) {
				return value, tried, err
			}
			select {
			case <-time.After(pause):
			case <-s.life.Done():
			case <-ctx.Done():
			}
		}
		if s.life.Err() != nil {
			return value, tried, errors.Join(eventstore.ErrClosed, err)
		}
		if ctx.Err() != nil {
			return value, tried, errors.Join(ctx.Err(), err)
		}
	}
}
