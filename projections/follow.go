package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
)

// Follow folds the log into the rows until ctx ends or the Models are closed.
// What goes wrong is told by Status and tried again, later and later: a fact
// that can't be applied stops the rows before it until it can.
func (m *Models) Follow(ctx context.Context) error {
	if !m.running.TryLock() {
		select {
		case <-m.closing: // it may be Close that holds it
			return nil
		default:
			return errors.New("projections: followed already")
		}
	}
	defer m.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-m.closing:
			cancel()
		case <-ended:
		}
	}()
	for failures := 0; ; failures++ {
		select {
		case <-m.closing:
			return nil
		default:
		}
		progressed, err := m.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if progressed {
			failures = 0
		}
		if err == nil || errors.Is(err, errMoved) || errors.Is(err, errEnded) {
			wait(ctx, 10*time.Millisecond)
			continue // with another generation, or another instance folds
		}
		if m.stopped(err) {
			m.log.ErrorContext(ctx, "read models stand still", "position", m.Status().Position.String(), "error", err)
		}
		m.pause(ctx, failures)
	}
}

// backoff waits for up to half a minute.
func backoff(ctx context.Context, failures int) {
	wait := min(100*time.Millisecond<<min(failures, 10), 30*time.Second)
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow folds one subscription until it ends, or watches how another instance does.
func (m *Models) follow(ctx context.Context) (progressed bool, err error) {
	g, err := m.database.choose(ctx)
	if err != nil {
		return false, err
	}
	if err := m.take(ctx, g); err != nil {
		return false, err
	}
	// What became of a transaction that failed is in the database alone.
	if err := m.writer.load(); err != nil {
		if sqldb.NoTable(err) || errors.Is(err, sql.ErrNoRows) { // somebody has dropped it
			err = errors.Join(err, m.database.Drop(ctx, g.Number))
		}
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if m.database.target.Shared() {
		held, asked := m.writer.acquire(m.database.self)
		if asked != nil {
			return false, fmt.Errorf("ask for the lease: %w", asked)
		}
		if !held {
			return m.watch(ctx)
		}
		var renewing sync.WaitGroup
		renewing.Go(func() { m.renewing(ctx, g.Number, cancel) })
		defer func() {
			if errors.Is(context.Cause(ctx), errLost) {
				err = nil
			}
			cancel(nil)
			renewing.Wait()
			if m.isClosing() {
				released, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				err = errors.Join(err, m.database.release(released, g.Number, m.database.self))
				done()
			}
		}()
	}
	return m.project(ctx)
}

func (m *Models) isClosing() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// take makes the writer one of generation g, on a connection that works.
func (m *Models) take(ctx context.Context, g Generation) error {
	if m.writer != nil && m.writer.generation == g.Number && m.writer.load() == nil {
		m.known = g
		return nil
	}
	if m.writer != nil {
		_ = m.writer.close() // it may be broken
		m.writer = nil
	}
	w, err := connect(ctx, m.database.writing, g.Number)
	if err == nil {
		m.writer, m.known = w, g
	}
	return err
}

// wait returns false when ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// How often it is looked whether another generation is live. A file belongs to
// this service, as a rule, and is left in peace while there are no facts, and
// nothing to drop.
const (
	lookEvery     = time.Second
	lookIdleFiles = 10 * time.Minute
)

// project folds one subscription until it ends, or another generation is to be folded into.
func (m *Models) project(ctx context.Context) (progressed bool, err error) {
	w := m.writer
	sub, err := m.options.Store.Subscribe(ctx, w.checkpoint.position)
	if err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	decoded := make(chan batch, 4)
	var pump sync.WaitGroup
	pump.Go(func() { decode(ctx, sub, m.options.Keys, decoded, m.rest) })
	defer func() {
		cancel()
		err = errors.Join(err, sub.Close())
		pump.Wait()
	}()

	look := time.NewTicker(min(lookEvery, m.lookIdle)) // what was live before may be left
	defer look.Stop()
	looked := time.Now()
	sweeping := true
	for {
		b, what := m.next(decoded, look.C, sweeping)
		switch what {
		case nothing:
			more, err := w.sweep()
			if err != nil {
				return progressed, fmt.Errorf("sweep: %w", err)
			}
			sweeping = more
			continue
		case looking:
			looked = time.Time{}
		}
		if time.Since(looked) >= lookEvery {
			looked = time.Now()
			others, another, err := m.look(ctx)
			if another || err != nil {
				return true, err
			}
			if what == looking {
				look.Reset(m.lookAgain(others))
			}
		}
		if what == looking {
			continue
		}
		before, began := w.checkpoint.position, time.Now()
		changed := m.editions.change()
		err := w.foldAll(b.facts, m.maxFacts)
		if err == nil && b.err == nil && b.caughtUp {
			err = w.makeIndexes(ctx)
		}
		if err == nil && b.err == nil {
			m.reached(w.generation, b.position, w.checkpoint, b.caughtUp)
			changed()
			progressed, sweeping = true, true
			if len(b.facts) == 0 {
				err = m.database.saw(ctx, w.generation, b.position)
			}
			if err == nil && b.caughtUp && m.known.State != Live {
				err = m.becomeLive(ctx)
			}
			if err != nil {
				return progressed, err
			}
			m.took.Store(int64(time.Since(began)))
			continue
		}
		if before.Before(w.checkpoint.position) {
			m.reached(w.generation, w.checkpoint.position, w.checkpoint, false)
			progressed = true
		}
		changed()
		return progressed, errors.Join(err, b.err)
	}
}

// A transaction costs less for each fact the more facts there are in it, as rows
// of the same page share the writing of it. So the end of the log, once reached, is
// left alone for so many times as long as a transaction took, but for mostRest at
// most, and what came meanwhile is folded together. Facts of attempts that come
// thick gather for as long as that: those of one row are one change of it then.
// Nobody waits for that: who wants to see something ends the rest.
const (
	restFor  = 3
	mostRest = 150 * time.Millisecond
)

// rest returns when what comes behind records is to be folded.
func (m *Models) rest(ctx context.Context, behind []eventstore.Record) {
	pause := min(restFor*time.Duration(m.took.Load()), m.mostRest)
	if eventstore.Thick(behind, events.OfAttempt) {
		pause = m.mostRest
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !m.wanted() {
		select {
		case <-m.wants:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// turn is what is to be done next.
type turn int

const (
	folding turn = iota // what has come
	looking             // whether another generation is live
	nothing             // has come: there may be something to sweep
)

// next takes what has come, up to maxFacts at once.
func (m *Models) next(decoded <-chan batch, look <-chan time.Time, sweeping bool) (b batch, what turn) {
	var more bool
	select {
	case b, more = <-decoded:
	case <-look:
		return batch{}, looking
	case <-m.swapped:
		return batch{}, looking
	default:
		m.mu.Lock()
		idle := m.atEnd
		m.mu.Unlock()
		if sweeping && idle {
			return batch{}, nothing
		}
		select {
		case b, more = <-decoded:
		case <-look:
			return batch{}, looking
		case <-m.swapped:
			return batch{}, looking
		}
	}
	for more && len(b.facts) < m.maxFacts && b.err == nil {
		var then batch
		select {
		case then, more = <-decoded:
			if more {
				b.facts = append(b.facts, then.facts...)
				b.position, b.caughtUp, b.err = then.position, then.caughtUp, then.err
			}
		default:
			return b, folding
		}
	}
	if !more && b.err == nil {
		b.err = errEnded
	}
	return b, folding
}

// conflicts is how often a transaction is tried that others were in the way of.
const conflicts = 5

// foldAll folds facts, so many in one transaction. Where that fails, it goes as far as it can.
func (w *writer) foldAll(facts []fact, most int) error {
	for len(facts) > most {
		if err := w.foldAll(facts[:most], most); err != nil {
			return err
		}
		facts = facts[most:]
	}
	if len(facts) == 0 {
		return nil
	}
	var err error
	for range conflicts {
		if err = w.fold(facts); !sqldb.Conflict(err) {
			break
		}
	}
	if err == nil || len(facts) == 1 || sqldb.Unreachable(err) || errors.Is(err, errMoved) {
		return err
	}
	if err := w.load(); err != nil {
		return err
	}
	for i := range facts {
		if err := w.fold(facts[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}
