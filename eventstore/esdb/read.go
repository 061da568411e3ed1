package esdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/belltower/belltower/eventstore"
)

// ReadStream implements eventstore.Store.
func (s *Store) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	if limit <= 0 {
		return nil, nil
	}
	records, err := s.readStream(ctx, stream, client.Forwards, client.Revision(uint64(max(from, 0))), limit)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, asUnavailable(ctx, err))
	}
	return records, nil
}

// ReadLast implements eventstore.Store.
func (s *Store) ReadLast(ctx context.Context, stream string) (last eventstore.Record, ok bool, err error) {
	if err := s.check(ctx); err != nil {
		return last, false, fmt.Errorf("read the last of %s: %w", stream, err)
	}
	records, err := s.readStream(ctx, stream, client.Backwards, client.End{}, 1)
	if err != nil {
		return last, false, fmt.Errorf("read the last of %s: %w", stream, asUnavailable(ctx, err))
	}
	if len(records) == 0 {
		return last, false, nil
	}
	return records[0], true, nil
}

// RecordAt implements eventstore.Store.
func (s *Store) RecordAt(ctx context.Context, p eventstore.Position) (r eventstore.Record, ok bool, err error) {
	if err := s.check(ctx); err != nil {
		return r, false, fmt.Errorf("read the record at %v: %w", p, err)
	}
	if p == eventstore.Start || p.Commit < p.Prepare {
		return r, false, nil // no record is there, and the server may refuse to look
	}
	records, err := s.readAll(ctx, client.Forwards, client.Position{Commit: p.Commit, Prepare: p.Prepare}, 1)
	switch {
	case err != nil && refused(err):
		return r, false, nil // it is within a record, or behind the end
	case err != nil:
		return r, false, fmt.Errorf("read the record at %v: %w", p, asUnavailable(ctx, err))
	case len(records) == 0 || records[0].Position != p:
		return r, false, nil
	}
	return records[0], true, nil
}

func (s *Store) readStream(ctx context.Context, stream string, direction client.Direction, from client.StreamPosition, limit int) ([]eventstore.Record, error) {
	records, err := s.read(ctx, limit, func(ctx context.Context, c *client.Client) (*client.ReadStream, error) {
		return c.ReadStream(withLeader(ctx), stream, client.ReadStreamOptions{Direction: direction, From: from}, uint64(limit))
	})
	if isCode(err, client.ErrorCodeResourceNotFound) {
		return nil, nil
	}
	return records, err
}

func (s *Store) readAll(ctx context.Context, direction client.Direction, from client.AllPosition, limit int) ([]eventstore.Record, error) {
	return s.read(ctx, limit, func(ctx context.Context, c *client.Client) (*client.ReadStream, error) {
		return c.ReadAll(withLeader(ctx), client.ReadAllOptions{Direction: direction, From: from}, uint64(limit))
	})
}

// read reads all that open gives, again from the beginning where the connection is lost.
func (s *Store) read(ctx context.Context, limit int, open func(context.Context, *client.Client) (*client.ReadStream, error)) ([]eventstore.Record, error) {
	records, _, err := attempts(ctx, s, func(ctx context.Context, alive func(), c *client.Client) ([]eventstore.Record, error) {
		read, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		defer read.Close()
		got := make([]eventstore.Record, 0, min(limit, 64))
		for {
			e, err := read.Recv()
			if errors.Is(err, io.EOF) {
				return got, nil
			} else if err != nil {
				return nil, err
			}
			alive()
			r, err := recordOf(e.OriginalEvent())
			if err != nil {
				return nil, err
			}
			got = append(got, r)
		}
	})
	return records, err
}

// recordOf is an event of the server as a record.
func recordOf(e *client.RecordedEvent) (eventstore.Record, error) {
	if e.Position.Commit == math.MaxUint64 {
		return eventstore.Record{}, fmt.Errorf("%w: the server doesn't give the positions of events", eventstore.ErrUnavailable)
	}
	return eventstore.Record{
		ID: e.EventID, Stream: e.StreamID, Revision: int64(e.EventNumber),
		Position: eventstore.Position{Commit: e.Position.Commit, Prepare: e.Position.Prepare},
		Type:     e.EventType, Data: e.Data, Metadata: e.UserMetadata, Created: e.CreatedDate,
	}, nil
}
