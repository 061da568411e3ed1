// Package embedded keeps the log in one folder: a SQLite database, events.db,
// which the sqlite3 shell opens and VACUUM INTO copies while it is in use. Beside
// it stands streams.db, the index of its streams, which is made from it.
//
// One goroutine writes. It takes what has come together since the last sync
// into one transaction, so that callers who append at the same time share a
// sync, and answers each of them after the transaction is on disk. Positions
// count from 1 in the order of the commits, without a gap. Readers have
// connections of their own and never wait for the writer.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/durable"
)

// Options are what a Log needs of the world. The zero Options will do.
type Options struct {
	// Now is the clock for Record.Created; time.Now when nil.
	Now func() time.Time
	// Logger hears of what no caller can be told: that the log stopped or went
	// on writing, and failed checkpoints. slog.Default() when nil.
	Logger *slog.Logger
	// Appended hears how long an append took until it was answered with success,
	// from many goroutines at once; nil: nobody does.
	Appended func(took time.Duration)
	// Synced hears how many records a sync brought to disk, and how long it took;
	// the writer waits for it. nil: nobody does.
	Synced func(records int, took time.Duration)

	// commit runs a COMMIT; tests put one here that fails before or after it.
	commit func(commit func() error) error
	// ends is maxEnds when 0; tests have fewer.
	ends int
}

// Log is an eventstore.Store in one folder. Only one process, and in it only
// one Log, has a folder open.
type Log struct {
	path    string // of events.db
	options Options
	lock    *flock.Flock
	readers *pool
	index   *index
	queue   *queue
	end     *end
	tail    tail
	seen    *seenEnds
	stats   stats

	checkpoints *checkpointer
	closing     chan struct{} // closed by Close
	background  sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

var _ eventstore.Store = (*Log)(nil)

// Open opens the log in dir and creates both when they don't exist. A folder
// in use is refused with eventstore.ErrLocked, a file that is no log or is
// visibly damaged with eventstore.ErrCorrupt.
func Open(ctx context.Context, dir string, o Options) (*Log, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.commit == nil {
		o.commit = func(commit func() error) error { return commit() }
	}
	if o.ends == 0 {
		o.ends = maxEnds
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("open log in %s: lock the folder: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("open log in %s: %w", dir, eventstore.ErrLocked)
	}
	l, err := open(dir, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log in %s: %w", dir, err), lock.Close())
	}
	l.lock = lock
	return l, nil
}

// open does what Open does once the folder is locked.
func open(dir string, o Options) (*Log, error) {
	syncDataOnly()
	path := filepath.Join(dir, "events.db")
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path)
	}
	if err != nil {
		return nil, err
	}
	if err := checkWAL(path); err != nil {
		return nil, err
	}
	w, err := openWriter(path)
	if err != nil {
		return nil, err
	}
	if err := w.check(path, o.Logger); err != nil {
		return nil, errors.Join(err, w.close())
	}
	x, err := openIndex(filepath.Join(dir, "streams.db"), w.conn, w.last, o.Logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), w.close())
	}
	seen := newSeenEnds()
	if err := w.use(path, x, seen); err != nil {
		return nil, errors.Join(err, x.close(), w.close())
	}
	checkpoints, err := openCheckpointer(path)
	if err != nil {
		return nil, errors.Join(err, x.close(), w.close())
	}

	l := &Log{
		path:        path,
		options:     o,
		readers:     newPool(path, x),
		index:       x,
		queue:       newQueue(),
		end:         newEnd(w.last),
		seen:        seen,
		checkpoints: checkpoints,
		closing:     make(chan struct{}),
	}
	l.background.Go(func() { l.write(w) })
	l.background.Go(l.checkpoint)
	l.background.Go(func() { x.move(l.closing) })
	return l, nil
}

// Exclusive is true: the folder is locked.
func (l *Log) Exclusive() bool { return true }

// Close writes what waits to be written, checkpoints, and lets go of the
// folder. Calls that come later, and subscriptions, get eventstore.ErrClosed;
// another Close waits for the first and returns what it returned.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.queue.close()
		close(l.closing)
		l.background.Wait()
		err := errors.Join(l.readers.close(), l.index.close(), l.checkpoints.close(), l.lock.Close())
		if err != nil {
			l.closeErr = fmt.Errorf("close log %s: %w", l.path, err)
		}
	})
	return l.closeErr
}

// closed tells whether Close was called.
func (l *Log) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}
