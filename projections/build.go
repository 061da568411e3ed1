package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// BuildProgress is how far a build of the rows has come.
type BuildProgress struct {
	Facts    int64               // that are in the rows
	Position eventstore.Position // up to here
	End      eventstore.Position // of the log, as far as it is to be read
}

// Part is how much of the log is in the rows, from 0 to 1.
func (p BuildProgress) Part() float64 {
	if p.End.Commit == 0 {
		return 1
	}
	return min(float64(p.Position.Commit)/float64(p.End.Commit), 1)
}

// Until is where a build ends: behind the fact at a position, or behind the last
// one that was appended at a time or before. The zero Until is the log's end.
type Until struct {
	Position eventstore.Position
	Time     time.Time
}

// takes tells whether a fact is to be built in. In the log's order none is behind
// the first that isn't.
func (u Until) takes(r eventstore.Record) bool {
	return (u.Position == eventstore.Start || !u.Position.Before(r.Position)) && (u.Time.IsZero() || !r.Created.After(u.Time))
}

// building folds the log into a generation that nobody else folds into.
type building struct {
	w        *writer
	o        Options
	progress func(BuildProgress)
}

// maxBuilt is how many facts are folded in one transaction: many, as nobody waits
// for the rows, and few enough that the live rows' next transaction soon has its turn.
const maxBuilt = 4096

// catchUp folds what the generation lacks, up to until, which is the log's end
// at the latest. Called again, it goes on.
func (b *building) catchUp(ctx context.Context, until Until) (err error) {
	end, err := b.o.Store.End(ctx)
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if until.Position != eventstore.Start && until.Position.Before(end) {
		end = until.Position
	}
	if !b.w.checkpoint.position.Before(end) {
		b.tell(end)
		return nil
	}
	sub, err := b.o.Store.Subscribe(ctx, b.w.checkpoint.position)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	decoded := make(chan batch, 4)
	var pump sync.WaitGroup
	pump.Go(func() { decode(ctx, sub, b.o.Keys, decoded) })
	defer func() {
		cancel()
		err = errors.Join(err, sub.Close())
		pump.Wait()
	}()
	for {
		next, ok := gather(decoded)
		if !ok {
			return context.Cause(ctx)
		}
		facts, ended := next.facts, false
		for i, f := range facts {
			if !until.takes(f.Record) {
				facts, ended = facts[:i], true
				break
			}
		}
		for len(facts) > 0 {
			n := min(len(facts), maxBuilt)
			if err := b.w.fold(facts[:n]); err != nil {
				return err
			}
			facts = facts[n:]
			b.tell(end)
		}
		switch {
		case ended:
			return nil
		case next.err != nil:
			return next.err
		case next.caughtUp, !next.position.Before(end):
			b.tell(next.position)
			return nil
		}
	}
}

func (b *building) tell(end eventstore.Position) {
	c := b.w.checkpoint
	b.progress(BuildProgress{Facts: c.facts, Position: c.position, End: end})
}

// gather waits for what was decoded, and takes with it what has come since.
func gather(decoded <-chan batch) (b batch, ok bool) {
	if b, ok = <-decoded; !ok {
		return b, false
	}
	for len(b.facts) < maxBuilt && b.err == nil {
		select {
		case then, more := <-decoded:
			if !more {
				return b, true
			}
			b.facts = append(b.facts, then.facts...)
			b.position, b.caughtUp, b.err = then.position, then.caughtUp, then.err
		default:
			return b, true
		}
	}
	return b, true
}
