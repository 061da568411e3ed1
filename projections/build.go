package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Builder folds the log into a generation beside the live one. It holds the
// generation's lease: nobody else folds into it. A rebuild is
//
//	b, err := database.Build(ctx)       // or Resume, of one that was interrupted
//	err = b.Fold(ctx, source, progress) // until it has caught up
//	err = database.Swap(ctx, b.Generation())
//	err = b.Close()
//
// after which the instances that follow the log go over to it within seconds,
// and the one before is dropped once nobody uses it. What isn't to become live is
// dropped by Drop after Close. Its methods are called by one goroutine.
type Builder struct {
	database *Database
	w        *writer
	holder   string
}

// Source is what a Builder folds.
type Source struct {
	Store eventstore.Store
	Keys  events.Keys
	// Until is the last position to fold; the zero Position: until the end of the
	// log is reached.
	Until eventstore.Position
}

// Progress tells how far a Builder is.
type Progress struct {
	Position eventstore.Position // up to here its rows show everything
	Created  time.Time           // of the last fact that was folded; zero before the first
	Facts    int64               // that its rows were built from
}

// Build begins an empty generation.
func (d *Database) Build(ctx context.Context) (*Builder, error) {
	holder := uuid.NewString()
	g, err := d.begin(ctx, holder)
	if err != nil {
		return nil, fmt.Errorf("begin a generation of the read models: %w", err)
	}
	return d.builder(ctx, g.Number, holder)
}

// Resume goes on with a generation of this version that was not finished.
func (d *Database) Resume(ctx context.Context, number int64) (*Builder, error) {
	return d.builder(ctx, number, uuid.NewString())
}

// ErrHeld says that somebody else folds into the generation.
var ErrHeld = errors.New("projections: another one folds into this generation")

func (d *Database) builder(ctx context.Context, number int64, holder string) (*Builder, error) {
	w, err := connect(ctx, d.writing, number)
	if err != nil {
		return nil, fmt.Errorf("build generation %d of the read models: %w", number, err)
	}
	b := &Builder{database: d, w: w, holder: holder}
	var found int
	if err = w.row("SELECT version FROM {checkpoint}").Scan(&found); err == nil && found != version {
		err = fmt.Errorf("its rows have version %d, this is %d", found, version)
	}
	var held bool
	if err == nil {
		held, err = w.acquire(holder)
	}
	if err == nil && !held {
		err = ErrHeld
	}
	if err == nil {
		err = w.load()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build generation %d of the read models: %w", number, err), w.close())
	}
	return b, nil
}

// Generation is the number of the generation that is built.
func (b *Builder) Generation() int64 { return b.w.generation }

// Progress tells how far it is.
func (b *Builder) Progress() Progress {
	p := Progress{Position: b.w.checkpoint.position, Facts: b.w.checkpoint.facts}
	if p.Facts > 0 {
		p.Created = timeOf(b.w.checkpoint.created)
	}
	return p
}

// Fold folds until the source's Until, or until the end of the log was reached,
// and tells progress after each transaction. What was folded stays when it fails
// or ctx ends; called again, it goes on from there.
func (b *Builder) Fold(ctx context.Context, s Source, progress func(Progress)) (err error) {
	sub, err := s.Store.Subscribe(ctx, b.w.checkpoint.position)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	decoded := make(chan batch, 4)
	var running sync.WaitGroup
	running.Go(func() { decode(ctx, sub, s.Keys, decoded) })
	running.Go(func() { b.renewing(ctx, cancel) })
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		cancel(nil)
		err = errors.Join(err, sub.Close())
		running.Wait()
	}()
	for got := range decoded {
		facts, reached := until(got.facts, s.Until)
		if err := b.w.foldAll(facts, 4096); err != nil {
			return err
		}
		progress(b.Progress())
		switch {
		case reached:
			return nil
		case got.err != nil:
			return got.err
		case got.caughtUp, s.Until != eventstore.Start && !got.position.Before(s.Until):
			return nil
		}
	}
	return errEnded
}

// until cuts off what is behind a position.
func until(facts []fact, p eventstore.Position) (_ []fact, reached bool) {
	if p == eventstore.Start {
		return facts, false
	}
	for i, f := range facts {
		if p.Before(f.Position) {
			return facts[:i], true
		}
	}
	return facts, false
}

// renewing keeps the lease until ctx ends.
func (b *Builder) renewing(ctx context.Context, end context.CancelCauseFunc) {
	for wait(ctx, renewEvery) {
		if held, err := b.database.renew(ctx, b.w.generation, b.holder, leaseNews{}); err == nil && !held {
			end(ErrHeld)
			return
		}
	}
}

// Sweep removes the rows of deleted events, so that nothing is left to be compared
// that queries don't show. Models do so by themselves, when nothing else is to be done.
func (b *Builder) Sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		if more, err := b.w.sweep(); err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// Close gives the lease up; the generation stays.
func (b *Builder) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	return errors.Join(b.database.release(ctx, b.w.generation, b.holder), b.w.close())
}
