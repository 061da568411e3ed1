package projections

import (
	"context"
	"errors"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// errLost says that another instance has the lease, or may have.
var errLost = errors.New("projections: the lease was lost")

// renewing keeps the lease until ctx ends; without it, it ends what goes on.
func (m *Models) renewing(ctx context.Context, generation int64, end context.CancelCauseFunc) {
	renewed := time.Now()
	for {
		m.mu.Lock()
		news := leaseNews{caughtUp: m.status.CaughtUp}
		if m.status.Err != nil {
			news.failure = m.status.Err.Error()
		}
		m.mu.Unlock()
		switch held, err := m.database.renew(ctx, generation, m.database.self, news); {
		case err == nil && !held, err != nil && time.Since(renewed) > leaseTime:
			end(errLost)
			return
		case err == nil:
			renewed = time.Now()
		}
		if !wait(ctx, renewEvery) {
			return
		}
	}
}

// saw tells those who watch that nothing up to p has changed the rows.
func (d *Database) saw(ctx context.Context, generation int64, p eventstore.Position) error {
	if !d.target.Shared() {
		return nil
	}
	_, err := d.writing.ExecContext(ctx, d.writing.Bind("", "UPDATE generations SET seen_commit = ?, seen_prepare = ? WHERE generation = ?"),
		int64(p.Commit), int64(p.Prepare), generation)
	return err
}

// watch follows the checkpoint that another instance moves, until that one's
// lease runs out or another generation is live.
func (m *Models) watch(ctx context.Context) (progressed bool, err error) {
	w := m.writer
	looked, asked, touched := time.Now(), time.Now(), time.Time{}
	for {
		if time.Since(touched) > 10*time.Second {
			touched = time.Now()
			if err := m.database.touch(ctx, w.generation); err != nil {
				return progressed, err
			}
		}
		c, err := scanCheckpoint(w.row(selectCheckpoint))
		if err != nil {
			return progressed, err
		}
		progressed = true
		if err := m.watched(w, c); err != nil {
			return progressed, err
		}
		if time.Since(looked) > lookEvery {
			looked = time.Now()
			if _, another, err := m.look(ctx); another || err != nil {
				return true, err
			}
		}
		if time.Since(asked) > askEvery {
			asked = time.Now()
			var out int
			if err := w.row("SELECT count(*) FROM generations WHERE generation = ? AND held_until < "+w.db.Now(), w.generation).Scan(&out); err != nil || out > 0 {
				return true, err
			}
		}
		if !wait(ctx, 25*time.Millisecond) {
			return progressed, nil
		}
	}
}

// watched tells what the instance that projects has reached, and what it says of itself.
func (m *Models) watched(w *writer, c checkpoint) error {
	var caughtUp, commit, prepare int64
	var failure string
	err := w.row("SELECT caught_up, seen_commit, seen_prepare, failure FROM generations WHERE generation = ?", w.generation).
		Scan(&caughtUp, &commit, &prepare, &failure)
	if err != nil {
		return err
	}
	p := c.position
	if seen := (eventstore.Position{Commit: uint64(commit), Prepare: uint64(prepare)}); p.Before(seen) {
		p = seen
	}
	if failure != "" {
		m.stopped(errors.New(failure))
		return nil
	}
	m.reached(w.generation, p, c, caughtUp == 1)
	return nil
}
