package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
)

// builderPrefix begins the name of who builds a generation in the lease of it.
const builderPrefix = "replay-"

// Rebuild builds another generation from the beginning of the log, beside the
// live one, which goes on answering, and then puts it in its place in one
// transaction. Where it ends before that, nothing has changed, and the next call
// drops what it has left.
func (m *Models) Rebuild(ctx context.Context, progress func(BuildProgress)) error {
	err := m.database.rebuild(ctx, m.options, Until{}, progress)
	if err == nil && !m.database.target.Shared() && m.running.TryLock() { // nobody follows, who would do so later
		err = m.database.dropOld(ctx)
		m.running.Unlock()
	}
	if err != nil {
		return fmt.Errorf("rebuild the read models: %w", err)
	}
	return nil
}

// rebuild builds a generation and makes it the live one.
func (d *Database) rebuild(ctx context.Context, o Options, until Until, progress func(BuildProgress)) error {
	if err := d.dropAbandoned(ctx); err != nil {
		return err
	}
	return d.build(ctx, o, progress, func(ctx context.Context, b *building) error {
		if err := b.catchUp(ctx, until); err != nil {
			return err
		}
		if until != (Until{}) {
			return d.Swap(ctx, b.w.generation)
		}
		// Nobody is to see less than before: what was folded into the live one
		// since the log's end was read is folded here too.
		for {
			live, err := d.livePosition(ctx)
			if err != nil {
				return err
			}
			if !b.w.checkpoint.position.Before(live) {
				break
			}
			if err := b.catchUp(ctx, Until{}); err != nil {
				return err
			}
		}
		if err := d.Swap(ctx, b.w.generation); err != nil {
			return err
		}
		return d.handOver(ctx, b)
	})
}

// build begins a generation and holds its lease while do fills it. A generation
// that isn't live in the end is dropped.
func (d *Database) build(ctx context.Context, o Options, progress func(BuildProgress), do func(context.Context, *building) error) (err error) {
	holder := builderPrefix + uuid.NewString()
	g, err := d.begin(ctx, holder)
	if err != nil {
		return err
	}
	w, err := connect(ctx, d.writing, g.Number)
	if err != nil {
		return errors.Join(err, d.dropUnlessLive(g.Number))
	}
	leased, end := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		d.keepLease(leased, end, g.Number, holder)
	}()
	err = w.load()
	if err == nil {
		err = do(leased, &building{w: w, o: o, progress: progress})
	}
	if cause := context.Cause(leased); err != nil && cause != nil && ctx.Err() == nil {
		err = cause
	}
	end(nil)
	<-renewed
	err = errors.Join(err, w.close())
	// Whoever projects takes it over at once.
	if released := d.release(context.WithoutCancel(ctx), g.Number, holder); err == nil {
		err = released
	}
	if err != nil {
		return errors.Join(err, d.dropUnlessLive(g.Number))
	}
	return nil
}

var errLeaseLost = errors.New("another process took what was being built for abandoned: this one was held up for too long")

// keepLease renews a lease until ctx ends, or ends ctx where another one has it.
func (d *Database) keepLease(ctx context.Context, end context.CancelCauseFunc, generation int64, holder string) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		// A database that doesn't answer now fails what is folded, if it lasts.
		if held, err := d.renew(ctx, generation, holder, leaseNews{}); err == nil && !held {
			end(errLeaseLost)
			return
		}
	}
}

// dropTime bounds how long tables are dropped after what they were for has failed.
const dropTime = time.Minute

// dropUnlessLive drops a generation that was begun in vain.
func (d *Database) dropUnlessLive(number int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTime)
	defer cancel()
	all, _, err := d.list(ctx)
	if err != nil {
		return nil //nolint:nilerr // the next rebuild drops it
	}
	for _, g := range all {
		if g.Number == number && (g.State == Making || g.State == Building) {
			_ = d.Drop(ctx, number) // likewise
		}
	}
	return nil
}

// dropAbandoned drops generations that were being built by a process that has ended.
func (d *Database) dropAbandoned(ctx context.Context) error {
	builds, err := d.builds(ctx)
	if err != nil {
		return err
	}
	for _, b := range builds {
		switch {
		case b.state != Making && b.state != Building, !strings.HasPrefix(b.holder, builderPrefix):
		case b.held:
			return errors.New("another process is building them now: try again when it has ended")
		default:
			if err := d.Drop(ctx, b.number); err != nil {
				return err
			}
		}
	}
	return nil
}

// build is who builds or projects into a generation.
type build struct {
	number int64
	state  State
	holder string
	held   bool // the lease has not run out
}

func (d *Database) builds(ctx context.Context) (all []build, err error) {
	rows, err := d.writing.QueryContext(ctx, d.writing.Bind("",
		"SELECT generation, state, holder, CASE WHEN held_until >= "+d.writing.Now()+" THEN 1 ELSE 0 END FROM {generations} WHERE generation > 0 ORDER BY generation"))
	if err != nil {
		return nil, err
	}
	err = each(rows, func(row scanner) error {
		var b build
		var held int
		err := row.Scan(&b.number, &b.state, &b.holder, &held)
		b.held = held == 1
		all = append(all, b)
		return err
	})
	return all, err
}

// livePosition is up to where the rows are that are answered from.
func (d *Database) livePosition(ctx context.Context) (eventstore.Position, error) {
	all, err := d.Generations(ctx)
	if err != nil {
		return eventstore.Start, err
	}
	g, _ := liveOf(all)
	return g.Position, nil
}

// noticeTime is how long whoever projects and answers elsewhere needs to notice
// that there is another live generation.
const noticeTime = 3 * time.Second

// handOver goes on folding into the generation that has just become the live one
// for as long as others need to notice, so that it doesn't stand still meanwhile.
func (d *Database) handOver(ctx context.Context, b *building) error {
	if !d.target.Shared() {
		return nil
	}
	until, cancel := context.WithTimeout(ctx, noticeTime)
	defer cancel()
	for until.Err() == nil {
		err := b.catchUp(until, Until{})
		switch {
		case errors.Is(err, errMoved), until.Err() != nil && ctx.Err() == nil:
			return nil // another one has taken over; or the time is over
		case err != nil:
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-until.Done():
		}
	}
	return ctx.Err()
}
