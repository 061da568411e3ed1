// Package memstore is a log in memory, for fast tests of what stands on the
// port. It does what storetest asks of any store. Its positions have gaps, and
// commit and prepare differ, so that nobody comes to rely on the opposite.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// Store is an eventstore.Store in memory. Its fields are set before it is used.
type Store struct {
	// Now is the clock for Record.Created; time.Now when nil.
	Now func() time.Time

	// Fail, when set, is called before the nth append, counted from 1, repeated
	// and refused ones too. When it returns an error, nothing is appended and
	// the caller gets that error: wrap eventstore.ErrUnavailable to play a store
	// that is away, or return anything else to play a crash before the append.
	Fail func(n int) error

	// FailAfter, when set, is called after the nth append has taken place; n
	// counts as for Fail. When it returns an error, the records are there and the
	// caller gets that error all the same: wrap eventstore.ErrUnknownOutcome to
	// play a cut connection, or return anything else to play a crash after the
	// append. It is not called for a refused append.
	FailAfter func(n int) error

	log     *log
	closing chan struct{}

	mu     sync.Mutex // guards what follows, and the calls of Fail and FailAfter
	calls  int
	closed bool
}

var _ eventstore.Store = (*Store)(nil)

// log is what outlives a Store.
type log struct {
	mu      sync.Mutex
	records []eventstore.Record
	streams map[string][]entry
	moved   chan struct{} // closed when records grow
}

// entry is a record in its stream.
type entry struct {
	at       int // in log.records
	appended int // how many records were appended at once, in the first of these, or 0
}

// New returns an empty store.
func New() *Store {
	return over(&log{streams: map[string][]entry{}, moved: make(chan struct{})})
}

func over(l *log) *Store { return &Store{log: l, closing: make(chan struct{})} }

// Reopen closes s and returns a store with the same records, and without s's
// hooks: what a process finds that starts after s's process has ended.
func (s *Store) Reopen() *Store {
	_ = s.Close() // never fails
	reopened := over(s.log)
	reopened.Now = s.Now
	return reopened
}

// position of the record that is number i in the log.
func position(i int) eventstore.Position {
	n := uint64(i+1) * 10
	return eventstore.Position{Commit: n, Prepare: n - 3}
}

// behind returns the index of the first record that comes after p.
func (l *log) behind(p eventstore.Position) int {
	i, found := slices.BinarySearchFunc(l.records, p, func(r eventstore.Record, p eventstore.Position) int {
		return r.Position.Compare(p)
	})
	if found {
		i++
	}
	return i
}

// Exclusive is true: nobody else has the records.
func (s *Store) Exclusive() bool { return true }

// Close implements eventstore.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	return nil
}

// check returns the reason why a call can't be answered.
func (s *Store) check(ctx context.Context) error {
	select {
	case <-s.closing:
		return eventstore.ErrClosed
	default:
		return ctx.Err()
	}
}

// Append implements eventstore.Store.
func (s *Store) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	if _, err := eventstore.CheckAppend(stream, records); err != nil {
		return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.Fail != nil {
		if err := s.Fail(s.calls); err != nil {
			return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
		}
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	p, err := s.log.append(stream, expected, records, now().UTC().Truncate(time.Microsecond))
	if err == nil && s.FailAfter != nil {
		err = s.FailAfter(s.calls)
	}
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	return p, nil
}

func (l *log) append(stream string, expected int64, records []eventstore.NewRecord, created time.Time) (eventstore.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := l.streams[stream]
	if actual := int64(len(entries)) - 1; expected != actual {
		if p, ok := l.repetition(entries, expected, records); ok {
			return p, nil
		}
		return eventstore.Position{}, &eventstore.WrongRevisionError{Stream: stream, Expected: expected, Actual: actual}
	}
	for i, r := range records {
		e := entry{at: len(l.records)}
		if i == 0 {
			e.appended = len(records)
		}
		l.records = append(l.records, eventstore.Record{
			ID: r.ID, Stream: stream, Revision: int64(len(entries)), Position: position(e.at),
			Type: r.Type, Data: bytes.Clone(r.Data), Metadata: bytes.Clone(r.Metadata), Created: created,
		})
		entries = append(entries, e)
	}
	l.streams[stream] = entries
	close(l.moved)
	l.moved = make(chan struct{})
	return position(len(l.records) - 1), nil
}

// repetition returns the position of the last record of the append that
// records repeat, in full, behind the same revision.
func (l *log) repetition(entries []entry, expected int64, records []eventstore.NewRecord) (eventstore.Position, bool) {
	first := expected + 1
	if first < 0 || first+int64(len(records)) > int64(len(entries)) || entries[first].appended != len(records) {
		return eventstore.Position{}, false
	}
	repeated := entries[first : first+int64(len(records))]
	for i, e := range repeated {
		if l.records[e.at].ID != records[i].ID {
			return eventstore.Position{}, false
		}
	}
	return position(repeated[len(repeated)-1].at), true
}
