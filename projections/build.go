package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/writeback"
)

// Builder folds the log into a generation beside the live one. It holds the
// generation's lease: nobody else folds into it. A rebuild is
//
//	b, err := database.Build(ctx)
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
	own      *sqldb.DB // that w writes to; nil: it is the Database's
	holder   string
	most     int          // how many facts are folded in one transaction, about
	folding  atomic.Bool  // a transaction is open
	renewed  atomic.Int64 // when the lease was, in nanoseconds
}

// builderPrefix begins the name of a Builder in its generation's lease.
const builderPrefix = "builder-"

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

// Build begins an empty generation. Where it is a file, whoever else writes to it
// may have to wait for a second or two.
func (d *Database) Build(ctx context.Context) (*Builder, error) { return d.build(ctx, false) }

// build begins an empty generation. With considerate, nobody who writes to the
// same file waits long; it then takes several times as long.
func (d *Database) build(ctx context.Context, considerate bool) (*Builder, error) {
	holder := builderPrefix + uuid.NewString()
	g, err := d.begin(ctx, holder, considerate)
	if err != nil {
		return nil, fmt.Errorf("begin a generation of the read models: %w", err)
	}
	return d.builder(ctx, g.Number, holder, considerate)
}

// ErrHeld says that somebody else folds into the generation.
var ErrHeld = errors.New("projections: another one folds into this generation")

// How many facts are folded in one transaction: the more, the more of them are
// about the same row and pages; but on a file others wait for its end.
const (
	mostBuilt            = 16 << 10
	mostBuiltConsiderate = 4 << 10
)

// buildOptions are of a connection that builds a generation: what a transaction
// writes to a file stays in memory, and the write-ahead log is moved rarely; and
// between two statements to a server some thousand facts are folded, for which a
// busy machine needs its time.
func buildOptions() sqldb.Options {
	return sqldb.Options{
		Connections: 1, Together: true, IdleTransaction: 30 * time.Second,
		Pragmas: []string{"journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-131072)", "wal_autocheckpoint(32000)"},
		VFS:     writeback.VFS(),
	}
}

func (d *Database) builder(ctx context.Context, number int64, holder string, considerate bool) (_ *Builder, err error) {
	b := &Builder{database: d, holder: holder, most: mostBuilt}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build generation %d of the read models: %w", number, err), b.disconnect())
		}
	}()
	db := d.writing
	if considerate {
		b.most = mostBuiltConsiderate
	} else {
		if b.own, err = sqldb.Open(ctx, d.target, buildOptions()); err != nil {
			return nil, err
		}
		db = b.own
	}
	if b.w, err = connect(ctx, db, number); err != nil {
		return nil, err
	}
	b.w.indexed = considerate
	var found int
	if err := b.w.row("SELECT version FROM {checkpoint}").Scan(&found); err != nil {
		return nil, err
	}
	if found != version {
		return nil, fmt.Errorf("its rows have version %d, this is %d", found, version)
	}
	held, err := b.w.acquire(holder)
	if err == nil && !held {
		err = ErrHeld
	}
	if err != nil {
		return nil, err
	}
	b.renewed.Store(time.Now().UnixNano())
	if !d.target.Shared() {
		b.w.within = b.renewWithin
	}
	if err := b.w.load(); err != nil {
		return nil, err
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
	decoded := make(chan batch, max(1, b.most/factsInBatch))
	var running sync.WaitGroup
	running.Go(func() { decode(ctx, sub, s.Keys, decoded, func(context.Context, []eventstore.Record) {}) })
	running.Go(func() { b.renewing(ctx, cancel) })
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		cancel(nil)
		err = errors.Join(err, sub.Close())
		running.Wait()
	}()
	for {
		got, more := gather(decoded, b.most)
		if !more {
			return errEnded
		}
		facts, reached := until(got.facts, s.Until)
		b.folding.Store(true)
		err := b.w.foldAll(facts, len(facts))
		b.folding.Store(false)
		if err != nil {
			return err
		}
		progress(b.Progress())
		switch {
		case reached, got.err == nil && (got.caughtUp || s.Until != eventstore.Start && !got.position.Before(s.Until)):
			return b.w.makeIndexes(ctx)
		case got.err != nil:
			return got.err
		}
	}
}

// factsInBatch is how many facts a subscription gives at once, at most.
const factsInBatch = 1024

// gather waits for so many facts, or for the end of the log: many facts about one
// row write it once.
func gather(decoded <-chan batch, most int) (b batch, more bool) {
	for len(b.facts) < most && !b.caughtUp && b.err == nil {
		then, more := <-decoded
		if !more {
			return b, len(b.facts) > 0
		}
		b.facts = append(b.facts, then.facts...)
		b.position, b.caughtUp, b.err = then.position, then.caughtUp, then.err
	}
	return b, true
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

// renewing keeps the lease until ctx ends. On a file a transaction that folds does
// that itself, and nobody else could write meanwhile.
func (b *Builder) renewing(ctx context.Context, end context.CancelCauseFunc) {
	for wait(ctx, renewEvery/2) {
		if b.sinceRenewed() < renewEvery || b.w.within != nil && b.folding.Load() {
			continue
		}
		switch held, err := b.database.renew(ctx, b.w.generation, b.holder, leaseNews{}); {
		case err == nil && !held:
			end(ErrHeld)
			return
		case err == nil:
			b.renewed.Store(time.Now().UnixNano())
		}
	}
}

func (b *Builder) sinceRenewed() time.Duration {
	return time.Duration(time.Now().UnixNano() - b.renewed.Load())
}

// renewWithin keeps the lease in a transaction that folds: SQLite forgets all
// pages that a connection has in memory when another one has written.
func (b *Builder) renewWithin() error {
	if b.sinceRenewed() < renewEvery/2 {
		return nil
	}
	n, err := b.w.exec("UPDATE generations SET held_until = "+b.w.db.Now()+" + ?, used_at = "+b.w.db.Now()+" WHERE generation = ? AND holder = ?",
		leaseTime.Microseconds(), b.w.generation, b.holder)
	if err == nil && n != 1 {
		err = ErrHeld
	}
	if err == nil {
		b.renewed.Store(time.Now().UnixNano())
	}
	return err
}

// Close gives the lease up; the generation stays.
func (b *Builder) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	return errors.Join(b.database.release(ctx, b.w.generation, b.holder), b.disconnect())
}

func (b *Builder) disconnect() (err error) {
	if b.w != nil {
		err = b.w.close()
	}
	if b.own != nil {
		err = errors.Join(err, b.own.Close())
	}
	return err
}
