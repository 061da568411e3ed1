package memstore

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/belltower/belltower/eventstore"
)

// copied returns r with bytes of its own, as a store that reads a disk would.
func copied(r eventstore.Record) eventstore.Record {
	r.Data, r.Metadata = bytes.Clone(r.Data), bytes.Clone(r.Metadata)
	return r
}

// ReadStream implements eventstore.Store.
func (s *Store) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	entries := s.log.streams[stream]
	entries = entries[min(max(from, 0), int64(len(entries))):]
	entries = entries[:min(max(limit, 0), len(entries))]
	var records []eventstore.Record
	for _, e := range entries {
		records = append(records, copied(s.log.records[e.at]))
	}
	return records, nil
}

// ReadLast implements eventstore.Store.
func (s *Store) ReadLast(ctx context.Context, stream string) (eventstore.Record, bool, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Record{}, false, fmt.Errorf("read the last of %s: %w", stream, err)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	entries := s.log.streams[stream]
	if len(entries) == 0 {
		return eventstore.Record{}, false, nil
	}
	return copied(s.log.records[entries[len(entries)-1].at]), true, nil
}

// End implements eventstore.Store.
func (s *Store) End(ctx context.Context) (eventstore.Position, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Position{}, fmt.Errorf("read the end of the log: %w", err)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if len(s.log.records) == 0 {
		return eventstore.Start, nil
	}
	return position(len(s.log.records) - 1), nil
}

// RecordAt implements eventstore.Store.
func (s *Store) RecordAt(ctx context.Context, p eventstore.Position) (eventstore.Record, bool, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Record{}, false, fmt.Errorf("read the record at %v: %w", p, err)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if i := s.log.behind(p); i > 0 && s.log.records[i-1].Position == p {
		return copied(s.log.records[i-1]), true, nil
	}
	return eventstore.Record{}, false, nil
}

type subscription struct {
	store     *Store
	after     eventstore.Position
	told      bool
	closing   chan struct{}
	closeOnce sync.Once
}

// Subscribe implements eventstore.Store. The context is of the call alone.
func (s *Store) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("subscribe after %v: %w", after, err)
	}
	return &subscription{store: s, after: after, closing: make(chan struct{})}, nil
}

// Next implements eventstore.Subscription.
func (s *subscription) Next(ctx context.Context) (eventstore.Batch, error) {
	for {
		err := s.store.check(ctx)
		select {
		case <-s.closing:
			err = eventstore.ErrClosed
		default:
		}
		if err != nil {
			return eventstore.Batch{}, fmt.Errorf("next after %v: %w", s.after, err)
		}
		b, moved := s.read()
		if moved == nil {
			s.after, s.told = b.Position, true
			return b, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-s.closing:
		case <-s.store.closing:
		}
	}
}

// read returns the next batch or, where there is none, what to wait for.
func (s *subscription) read() (eventstore.Batch, <-chan struct{}) {
	l := s.store.log
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.records[l.behind(s.after):]
	if len(next) == 0 {
		if s.told {
			return eventstore.Batch{}, l.moved
		}
		return eventstore.Batch{Position: s.after, CaughtUp: true}, nil
	}
	b := eventstore.Batch{CaughtUp: len(next) <= eventstore.MaxBatch}
	for _, r := range next[:min(eventstore.MaxBatch, len(next))] {
		b.Records = append(b.Records, copied(r))
	}
	b.Position = b.Records[len(b.Records)-1].Position
	return b, nil
}

// Close implements eventstore.Subscription.
func (s *subscription) Close() error {
	s.closeOnce.Do(func() { close(s.closing) })
	return nil
}
