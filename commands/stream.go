package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// job is a command, or a look at the state, that waits for its stream.
type job[S any] struct {
	ctx     context.Context
	cmd     Command[S]
	by      Caller
	request *events.Request
	see     func(S, time.Time)
	look    func(S, int64) // set in place of cmd

	// the answer, to be read once done is closed
	done     chan struct{}
	release  func() // of the stream's place in the cache
	err      error
	facts    []events.Fact
	revision int64
	position eventstore.Position
	replayed bool
	past     *note       // to be answered from the state as it was after this
	waitFor  []*Handover // before the caller is told
}

// stream decides the jobs of one stream, one after another. The fields behind
// served are owned by the goroutine that serves.
type stream[T any, S State[T]] struct {
	h    *Handler
	name string

	mu      sync.Mutex
	waiting []*job[S]
	served  bool

	state    S // nil: to be read
	last     int64
	position eventstore.Position
	latest   time.Time // of the last fact
	awaited  int64     // revision of a fact that may still come, as nobody knows what became of its append
	noted    notes
	cost     atomic.Int64 // of what the state was folded from

	behind     bool                 // the state lacks facts that could not be read
	lastID     uuid.UUID            // of the fact at last
	since      int64                // facts since a snapshot was made
	distrusted bool                 // snapshots of this stream led astray
	keeps      bool                 // there are snapshots
	saving     atomic.Bool          // one is being written
	kept       atomic.Pointer[kept] // the one that was made last
}

func (s *stream[T, S]) folded() int64 { return s.cost.Load() }

// enqueue has j wait for whoever serves the stream. A caller who waits for j whatever
// happens serves it where nobody does: that saves a goroutine and its stack.
func (s *stream[T, S]) enqueue(j *job[S]) {
	s.mu.Lock()
	s.waiting = append(s.waiting, j)
	free := !s.served
	if free {
		s.served = true
		s.h.serving.Add(1)
	}
	s.mu.Unlock()
	switch {
	case !free:
	case j.ctx.Done() != nil:
		go s.serve()
	default:
		s.answer()
		if s.more() {
			go s.serve()
		} else {
			s.h.serving.Done()
		}
	}
}

func (s *stream[T, S]) serve() {
	defer s.h.serving.Done()
	for {
		s.answer()
		if !s.more() {
			return
		}
	}
}

// more tells whether others have come meanwhile. Where none have, the stream is served no more.
func (s *stream[T, S]) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = len(s.waiting) > 0
	return s.served
}

// answer answers all that wait.
func (s *stream[T, S]) answer() {
	s.mu.Lock()
	jobs := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	looks, jobs := s.split(jobs)
	if len(looks) > 0 {
		s.show(looks)
	}
	for len(jobs) > 0 {
		jobs = jobs[s.decide(jobs):]
	}
}

// split parts those who only look from those who want a change.
func (s *stream[T, S]) split(jobs []*job[S]) (looks, changes []*job[S]) {
	for _, j := range jobs {
		if j.look != nil {
			looks = append(looks, j)
		} else {
			changes = append(changes, j)
		}
	}
	return looks, changes
}

// show answers looks at once: they need not wait for the write of changes that
// nobody has been told of yet.
func (s *stream[T, S]) show(looks []*job[S]) {
	ctx := s.h.limited()
	if err := s.catchUp(ctx); err != nil {
		answerAll(looks, outOfTime(ctx, err))
		return
	}
	for i, j := range looks {
		if j.err = j.ctx.Err(); j.err == nil {
			j.look(s.state, s.last)
		}
		if err := failed(s.state); err != nil {
			s.distrust(err)
			s.show(looks[i:])
			return
		}
		j.answered()
	}
}

// decide answers the first jobs with one write, and tells how many they were.
func (s *stream[T, S]) decide(jobs []*job[S]) int {
	ctx := s.h.limited()
	for {
		if err := s.catchUp(ctx); err != nil {
			return answerAll(jobs, outOfTime(ctx, err))
		}
		write := write{expected: s.last}
		n, err := s.fill(ctx, &write, jobs)
		if failed := failed(s.state); failed != nil {
			s.distrust(failed)
			continue
		} else if err != nil && n > 1 {
			s.drop()
			jobs = jobs[:n-1] // the last of the n alone is in the way
			continue
		} else if err != nil {
			s.drop()
			return answerAll(jobs[:n], outOfTime(ctx, err))
		}
		if len(write.records) > 0 {
			position, err := s.append(ctx, write)
			if errors.Is(err, eventstore.ErrWrongRevision) {
				s.drop()
				continue
			} else if errors.Is(err, eventstore.ErrTooLarge) && n > 1 {
				s.drop()
				jobs = jobs[:n/2]
				continue
			} else if err != nil {
				if errors.Is(err, eventstore.ErrUnknownOutcome) {
					s.awaited = write.expected + 1
				}
				s.drop()
				return answerAll(jobs[:n], outOfTime(ctx, err))
			}
			s.position, s.lastID = position, write.records[len(write.records)-1].ID
			s.keepSnapshot()
		}
		for _, j := range jobs[:n] {
			j.position = s.position
			j.waitFor = s.h.gate.supersede(s.name, j.facts)
			if j.past != nil {
				s.answerFromPast(j)
			} else {
				j.answered()
			}
		}
		return n
	}
}

// outOfTime tells a store that took too long from a caller's own context.
func outOfTime(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, eventstore.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
}

// answered lets the caller have j.
func (j *job[S]) answered() {
	j.release()
	close(j.done)
}

func answerAll[S any](jobs []*job[S], err error) int {
	for _, j := range jobs {
		j.err = err
		j.answered()
	}
	return len(jobs)
}

func (s *stream[T, S]) evolve(f events.Fact, revision int64, at time.Time, size int) {
	s.state.Evolve(f, aggregates.Stamp{Revision: revision, At: at})
	s.last, s.latest = revision, at
	s.cost.Add(1 + int64(size/unitBytes))
	s.since++
}

// replay answers a keyed request from the state as it was after the first time.
func (s *stream[T, S]) replay(j *job[S], before note) {
	if before.body != digestOf(j.request.Body) {
		j.err = aggregates.ErrKeyReused
		return
	}
	j.revision, j.replayed = before.revision, true
	if before.revision < s.last {
		j.past = &before
		return
	}
	j.see(s.state, before.at)
}

// answerFromPast answers from the state at an earlier revision, which takes
// time that no other waits for.
func (s *stream[T, S]) answerFromPast(j *job[S]) {
	s.h.serving.Add(1)
	go func() {
		defer s.h.serving.Done()
		_, j.err = At[T, S](j.ctx, s.h, s.name, Until{Revision: &j.past.revision}, func(state S, _ int64) struct{} {
			j.see(state, j.past.at)
			return struct{}{}
		})
		j.answered()
	}()
}

// catchUp makes the state that of the stream's end. Where it fails, the state is
// that of some revision before it, from which it goes on the next time: a long
// stream is read some time, however little is read at once.
func (s *stream[T, S]) catchUp(ctx context.Context) error {
	if s.state != nil && !s.behind && s.h.o.Store.Exclusive() && s.last >= s.awaited {
		return nil
	}
	s.behind = true
	page, err := s.begin(ctx)
	if err != nil {
		return err
	}
	err = s.h.readOn(ctx, s.name, page, func(r eventstore.Record, f events.Fact, m events.Metadata) error {
		s.position, s.lastID = r.Position, r.ID
		if r.Revision <= s.last { // it is in the snapshot
			return nil
		}
		s.evolve(f, r.Revision, m.OccurredAt, len(r.Data)+len(r.Metadata))
		if m.Request != nil {
			s.noted.add(*m.Request, r.Revision, m.OccurredAt)
		}
		return nil
	})
	if err == nil {
		s.behind = false
		s.keepSnapshot()
	}
	return err
}

// begin gives the first records that the state may lack, and a state where there is none.
func (s *stream[T, S]) begin(ctx context.Context) ([]eventstore.Record, error) {
	if s.state != nil {
		return s.h.o.Store.ReadStream(ctx, s.name, s.last+1, s.h.page)
	}
	s.state, s.last = S(new(T)), eventstore.NoStream
	s.position, s.latest, s.noted, s.since = eventstore.Start, time.Time{}, notes{}, 0
	s.cost.Store(0)
	page, r, ok, err := beginning[T, S](ctx, s.h, s.name, Until{}, !s.distrusted)
	if err != nil {
		s.state = nil
		return nil, err
	}
	if ok {
		s.state, s.last, s.latest, s.noted = r.state, r.last, r.latest, r.notes
		s.keeps = true
		s.cost.Store(r.cost)
	}
	return page, nil
}

// distrust has the state folded from the log alone.
func (s *stream[T, S]) distrust(err error) {
	s.h.o.Logger.Warn("a snapshot led astray: the stream is folded from its beginning", "stream", s.name, "error", err)
	s.distrusted = true
	s.drop()
}

// drop forgets the state: it holds facts that were not appended, or lacks some that were.
func (s *stream[T, S]) drop() {
	s.state = nil
	s.cost.Store(0)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
