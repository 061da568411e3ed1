package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// request is one append on its way.
type request struct {
	stream   string
	expected int64
	records  []eventstore.NewRecord
	bytes    int
	done     chan answer // holds one, so that the writer never waits for a caller

	state requestState // guarded by queue.mu
}

type answer struct {
	position int64
	err      error
}

type requestState int

const (
	waiting   requestState = iota
	taken                  // by the writer
	abandoned              // by its caller
)

// queue is what waits for the writer. It is as long as there are callers
// waiting, and needs no other bound.
type queue struct {
	wake chan struct{} // holds one: something waits, or the queue was closed

	mu       sync.Mutex
	requests []*request
	down     error // why nothing can be written now
	closed   bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// One transaction takes at most this much.
const (
	maxBatch      = 1024
	maxBatchBytes = 16 << 20
)

// put adds r, or says why it can't be written.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return eventstore.ErrClosed
	case q.down != nil:
		return q.down
	}
	q.requests = append(q.requests, r)
	q.signal()
	return nil
}

// abandon takes r out of the queue; false says that the writer has it already.
func (q *queue) abandon(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r.state == taken {
		return false
	}
	r.state = abandoned
	return true
}

// take returns what waits, in the order it came, up to the size of a
// transaction. Where nothing waits, closed tells whether something may come.
func (q *queue) take(batch []*request) (_ []*request, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for _, r := range q.requests {
		if len(batch) == maxBatch || (len(batch) > 0 && bytes+r.bytes > maxBatchBytes) {
			break
		}
		n++
		if r.state == abandoned {
			continue
		}
		r.state = taken
		bytes += r.bytes
		batch = append(batch, r)
	}
	q.requests = append(q.requests[:0], q.requests[n:]...)
	clear(q.requests[len(q.requests) : len(q.requests)+n])
	return batch, q.closed
}

// fail answers all that wait, and all that come until up is called, with err.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = err
	for _, r := range q.requests {
		if r.state == waiting {
			r.state = taken
			r.done <- answer{err: err}
		}
	}
	clear(q.requests)
	q.requests = q.requests[:0]
}

// up lets requests in again.
func (q *queue) up() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.down = nil
}

// close lets no more requests in.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Append implements eventstore.Store.
func (l *Log) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	began := time.Now()
	p, err := l.append(ctx, stream, expected, records)
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	if l.options.Appended != nil {
		l.options.Appended(time.Since(began))
	}
	return position(p), nil
}

func (l *Log) append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (int64, error) {
	size, err := eventstore.CheckAppend(stream, records)
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r := &request{stream: stream, expected: expected, records: records, bytes: size, done: make(chan answer, 1)}
	if err := l.queue.put(r); err != nil {
		return 0, err
	}
	select {
	case a := <-r.done:
		return a.position, a.err
	case <-ctx.Done():
		if l.queue.abandon(r) {
			return 0, ctx.Err()
		}
		select {
		case a := <-r.done: // both came together: then the outcome is known
			return a.position, a.err
		default:
			return 0, fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, ctx.Err())
		}
	}
}
