package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/keys"
)

// One write holds at most this much, but for a single decision that is larger.
const (
	maxWriteFacts = 256
	maxWriteBytes = 512 << 10
)

const (
	// appendTimeout bounds one append, and what is read before it.
	appendTimeout = 30 * time.Second
	// settleTimeout bounds what it takes to find out what became of an append.
	settleTimeout = 10 * time.Second
	settlePause   = 50 * time.Millisecond
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

func (s *stream[T, S]) enqueue(j *job[S]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, j)
	if !s.served {
		s.served = true
		s.h.serving.Add(1)
		go s.serve()
	}
}

func (s *stream[T, S]) serve() {
	defer s.h.serving.Done()
	for {
		s.mu.Lock()
		jobs := s.waiting
		s.waiting = nil
		s.served = len(jobs) > 0
		s.mu.Unlock()
		if len(jobs) == 0 {
			return
		}
		looks, jobs := s.split(jobs)
		if len(looks) > 0 {
			s.show(looks)
		}
		for len(jobs) > 0 {
			jobs = jobs[s.decide(jobs):]
		}
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
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
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
	ctx, cancel := context.WithTimeout(context.Background(), appendTimeout)
	defer cancel()
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

// write is what one append will hold.
type write struct {
	expected int64
	records  []eventstore.NewRecord
	bytes    int
}

// errWriteFirst says that a job needs what is still to be written, or has no room beside it.
var errWriteFirst = errors.New("write first")

// fill decides jobs on the state as it will be after the write, until the
// write is full; n is how many it decided, at least one. An error is of the last
// of them, and leaves the state with what isn't written.
func (s *stream[T, S]) fill(ctx context.Context, w *write, jobs []*job[S]) (n int, err error) {
	for n, j := range jobs {
		if n > 0 && (len(w.records) >= s.h.batch || w.bytes >= maxWriteBytes) {
			return n, nil
		}
		now := s.h.now()
		now.Time = later(now.Time, s.latest)
		j.facts, j.replayed, j.past = nil, false, nil
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if err := s.decideOne(ctx, w, j, now); errors.Is(err, errWriteFirst) {
			return n, nil
		} else if err != nil {
			return n + 1, err
		}
	}
	return len(jobs), nil
}

// decideOne decides one command. What a rule or a condition refuses goes into
// the job; an error means that the write can't go on.
func (s *stream[T, S]) decideOne(ctx context.Context, w *write, j *job[S], now aggregates.Now) error {
	if j.request != nil {
		if before, ok := s.noted.find(j.request.Key); ok {
			if before.revision > w.expected && before.revision < s.last {
				return errWriteFirst
			}
			s.replay(j, before)
			return nil
		}
	}
	if c, ok := j.cmd.(conditional[S]); ok && j.by.IfMatch != nil {
		if own, ok := c.OwnRevision(s.state); ok && !j.by.IfMatch.allows(own, s.last) {
			j.err = aggregates.ErrPrecondition
			return nil
		}
	}
	facts, err := j.cmd.Decide(s.state, now)
	if err != nil {
		j.err = err
		return nil
	}
	if len(w.records) > 0 && len(w.records)+len(facts) > s.h.batch {
		return errWriteFirst
	}
	if facts, err = s.h.giveKeys(ctx, facts); err != nil {
		return err
	}
	j.facts = facts
	if len(facts) == 0 && j.request != nil {
		facts = []events.Fact{events.RequestNoted{}}
	}
	if err := s.add(w, j, facts, now.Time); err != nil {
		return err
	}
	j.revision = s.last
	j.see(s.state, now.Time)
	return nil
}

// add puts facts into the write and folds them.
func (s *stream[T, S]) add(w *write, j *job[S], facts []events.Fact, at time.Time) error {
	if len(facts) == 0 {
		return nil
	}
	metadata, err := json.Marshal(events.Metadata{
		Actor: j.by.Actor, CorrelationID: j.by.CorrelationID, CausationID: j.by.CausationID,
		OccurredAt: at, Request: j.request,
	})
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	records, bytes := make([]eventstore.NewRecord, len(facts)), 0
	for i, f := range facts {
		id := s.h.o.FactID(s.name)
		data, err := events.Encode(s.h.o.Keys, id, f)
		if errors.Is(err, keys.ErrUnavailable) {
			return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
		} else if err != nil {
			return err
		}
		records[i] = eventstore.NewRecord{ID: id, Type: f.Name(), Data: data, Metadata: metadata}
		bytes += len(f.Name()) + len(data) + len(metadata)
	}
	if len(w.records) > 0 && w.bytes+bytes > maxWriteBytes {
		return errWriteFirst
	}
	w.records, w.bytes = append(w.records, records...), w.bytes+bytes
	for i, f := range facts {
		s.evolve(f, s.last+1, at, len(records[i].Data)+len(metadata))
	}
	if j.request != nil {
		s.noted.add(*j.request, s.last, at)
	}
	return nil
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

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
