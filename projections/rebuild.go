package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// BuildProgress is how far something that is built from the log has come.
type BuildProgress struct {
	Facts    int64               // that it was built from
	Position eventstore.Position // up to here
	End      eventstore.Position // of the log, as far as it is to be read
}

// Part is how much of the log that is, from 0 to 1.
func (p BuildProgress) Part() float64 {
	if p.End.Commit == 0 {
		return 1
	}
	return min(float64(p.Position.Commit)/float64(p.End.Commit), 1)
}

// Rebuild builds another generation from the beginning of the log, beside the
// live one, which goes on answering, and then puts it in its place in one
// transaction. Where it ends before that, nothing has changed, and the next call
// drops what it has left.
func (m *Models) Rebuild(ctx context.Context, progress func(BuildProgress)) error {
	// A file is in a folder that is this process's alone.
	file := !m.database.target.Shared()
	err := m.database.rebuild(ctx, m.source(eventstore.Start), file, file && m.followed(), progress)
	if err == nil && file && m.running.TryLock() { // nobody follows, who would do so later
		err = m.database.dropOld(ctx)
		m.running.Unlock()
	}
	select {
	case m.swapped <- struct{}{}: // whoever follows goes over at once
	default:
	}
	if err != nil {
		return fmt.Errorf("rebuild the read models: %w", err)
	}
	return nil
}

// followed tells whether Follow is running.
func (m *Models) followed() bool {
	free := m.running.TryLock()
	if free {
		m.running.Unlock()
	}
	return !free
}

func (m *Models) source(until eventstore.Position) Source {
	return Source{Store: m.options.Store, Keys: m.options.Keys, Until: until}
}

// rebuild builds a generation and makes it the live one. alone says that no other
// process builds one; considerate is as in build.
func (d *Database) rebuild(ctx context.Context, s Source, alone, considerate bool, progress func(BuildProgress)) error {
	if err := d.dropAbandoned(ctx, alone); err != nil {
		return err
	}
	b, err := d.build(ctx, considerate)
	if err != nil {
		return err
	}
	swapped, err := d.fillAndSwap(ctx, b, s, progress)
	// Whoever follows goes on folding into the one before until they go over to this one.
	err = errors.Join(err, b.Close())
	if !swapped {
		dropping, done := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
		defer done()
		_ = d.Drop(dropping, b.Generation()) // where it fails, the next rebuild does it
	}
	return err
}

// dropTime bounds how long a rebuild that has failed tries to leave nothing.
const dropTime = time.Minute

func (d *Database) fillAndSwap(ctx context.Context, b *Builder, s Source, progress func(BuildProgress)) (swapped bool, err error) {
	for {
		if err := b.fill(ctx, s, progress); err != nil {
			return false, err
		}
		if s.Until != eventstore.Start {
			break
		}
		// Nobody is to see less than before, unless the rows are of another log.
		live, err := d.livePosition(ctx)
		if err != nil {
			return false, err
		}
		end, err := s.Store.End(ctx)
		if err != nil {
			return false, err
		}
		if !b.Progress().Position.Before(live) || end.Before(live) {
			break
		}
	}
	if err := d.Swap(ctx, b.Generation()); err != nil {
		// Its outcome may be unknown.
		all, _, listErr := d.list(ctx)
		live, _ := liveOf(all)
		return listErr != nil || live.Number == b.Generation(), err
	}
	return true, nil
}

// fill folds what b lacks.
func (b *Builder) fill(ctx context.Context, s Source, progress func(BuildProgress)) error {
	end, err := s.Store.End(ctx)
	if err != nil {
		return fmt.Errorf("read the log's end: %w", err)
	}
	if s.Until != eventstore.Start && s.Until.Before(end) {
		end = s.Until
	}
	if end == eventstore.Start || !b.Progress().Position.Before(end) {
		return nil
	}
	return b.Fold(ctx, s, func(p Progress) { progress(BuildProgress{Facts: p.Facts, Position: p.Position, End: end}) })
}

// lease is who folds into a generation.
type lease struct {
	generation int64
	state      State
	holder     string
	held       bool // the lease has not run out
}

func (l lease) builders() bool { return strings.HasPrefix(l.holder, builderPrefix) }

func (d *Database) leases(ctx context.Context) (all []lease, err error) {
	rows, err := d.writing.QueryContext(ctx, d.writing.Bind("",
		"SELECT generation, state, holder, CASE WHEN held_until >= "+d.writing.Now()+" THEN 1 ELSE 0 END FROM generations WHERE generation > 0 ORDER BY generation"))
	if err != nil {
		return nil, err
	}
	err = each(rows, func(row scanner) error {
		var l lease
		var held int
		err := row.Scan(&l.generation, &l.state, &l.holder, &held)
		l.held = held == 1
		all = append(all, l)
		return err
	})
	return all, err
}

// dropAbandoned drops generations whose Builder has ended before they were live.
// One that has just been killed holds its lease for a moment.
func (d *Database) dropAbandoned(ctx context.Context, alone bool) error {
	for since := time.Now(); ; {
		leases, err := d.leases(ctx)
		if err != nil {
			return err
		}
		held := false
		for _, l := range leases {
			if !l.builders() || l.state != Making && l.state != Building {
				continue
			}
			if l.held && !alone {
				held = true
			} else if err := d.Drop(ctx, l.generation); err != nil && !errors.Is(err, ErrNoGeneration) {
				return err
			}
		}
		switch {
		case !held:
			return nil
		case time.Since(since) > leaseTime+time.Second:
			return errors.New("another process is building them now: try again when it has ended")
		case !wait(ctx, 100*time.Millisecond):
			return ctx.Err()
		}
	}
}

// dropOld drops what another generation has taken the place of, where nobody
// else can be using it.
func (d *Database) dropOld(ctx context.Context) error {
	leases, err := d.leases(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.state == Old {
			if err := d.Drop(ctx, l.generation); err != nil {
				return err
			}
		}
	}
	return nil
}

// livePosition is up to where the live rows are; Start where there are none.
func (d *Database) livePosition(ctx context.Context) (eventstore.Position, error) {
	all, err := d.Generations(ctx)
	if err != nil {
		return eventstore.Start, err
	}
	g, _ := liveOf(all)
	return g.Position, nil
}
