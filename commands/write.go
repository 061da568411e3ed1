package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
