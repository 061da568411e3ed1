package embedded

import (
	"context"
	"fmt"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// end is the position of the last record that is on disk, and wakes those who wait for more.
type end struct {
	mu    sync.Mutex
	last  int64
	moved chan struct{} // closed when last moves on
}

func newEnd(last int64) *end { return &end{last: last, moved: make(chan struct{})} }

// get returns the position, and a channel that is closed once it is no longer that.
func (e *end) get() (last int64, moved <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last, e.moved
}

func (e *end) move(last int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = last
	close(e.moved)
	e.moved = make(chan struct{})
}

// batchBytes bounds the data of a batch, so that a slow subscriber to large
// records holds no more than that.
const batchBytes = 4 << 20

// subscription reads the log behind its position, whenever it is asked. Nothing
// is kept for it while it is not, so it may be as slow as it likes.
type subscription struct {
	log       *Log
	after     eventstore.Position // of the last record delivered, or the start
	told      bool                // whether a batch has been delivered
	closing   chan struct{}
	closeOnce sync.Once
}

// Subscribe implements eventstore.Store. A position behind the end is waited
// for. The context is of the call alone, not of the subscription.
func (l *Log) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	err := ctx.Err()
	if l.closed() {
		err = eventstore.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe after %v: %w", after, err)
	}
	return &subscription{log: l, after: after, closing: make(chan struct{})}, nil
}

// Next implements eventstore.Subscription.
func (s *subscription) Next(ctx context.Context) (eventstore.Batch, error) {
	b, err := s.next(ctx)
	if err != nil {
		return eventstore.Batch{}, fmt.Errorf("next after %v: %w", s.after, err)
	}
	s.after, s.told = b.Position, true
	return b, nil
}

func (s *subscription) next(ctx context.Context) (eventstore.Batch, error) {
	for {
		select {
		case <-s.closing:
			return eventstore.Batch{}, eventstore.ErrClosed
		case <-s.log.closing:
			return eventstore.Batch{}, eventstore.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return eventstore.Batch{}, err
		}
		last, moved := s.log.end.get()
		after := atOrBefore(s.after)
		if last > after {
			return s.read(ctx, after, last)
		}
		if !s.told {
			return eventstore.Batch{Position: s.after, CaughtUp: true}, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
		case <-s.closing:
		case <-s.log.closing:
		}
	}
}

// read returns the next batch, of which there is at least one record, since the
// log goes on to last.
func (s *subscription) read(ctx context.Context, after, last int64) (eventstore.Batch, error) {
	if records, all := s.log.tail.behind(after, eventstore.MaxBatch, batchBytes); len(records) > 0 {
		reached := after + int64(len(records))
		return eventstore.Batch{Records: records, Position: position(reached), CaughtUp: all && reached >= last}, nil
	}
	records, all, err := s.log.read(ctx, selectRecords+` WHERE position > ?1 ORDER BY position`,
		func(q *sqlite.Stmt) { q.BindInt64(1, after) }, eventstore.MaxBatch, batchBytes)
	if err != nil {
		return eventstore.Batch{}, err
	}
	for i, r := range records {
		if r.Position != position(after+1+int64(i)) {
			return eventstore.Batch{}, missing(s.log.path, after+1+int64(i))
		}
	}
	if end := after + int64(len(records)); all && end < last {
		return eventstore.Batch{}, missing(s.log.path, end+1)
	}
	return eventstore.Batch{Records: records, Position: records[len(records)-1].Position, CaughtUp: all}, nil
}

// Close implements eventstore.Subscription.
func (s *subscription) Close() error {
	s.closeOnce.Do(func() { close(s.closing) })
	return nil
}
