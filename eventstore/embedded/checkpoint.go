package embedded

import (
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/internal/writeback"
)

const (
	// checkpointPages is how many pages of the WAL are waited for until they are moved
	// to the file. A sync of a WAL that is written over, and doesn't grow, costs less.
	checkpointPages = 2_000
	// restartPages is how few must be left for the writer to move them itself.
	restartPages = 500
	// lookPages is about how many pages are written between two looks at the WAL.
	lookPages = 200
	// checkpointRounds bounds the attempts to come down to restartPages.
	checkpointRounds = 4
	// restartPatience is how long the writer waits for readers to let go of the WAL.
	restartPatience = 50 * time.Millisecond
)

// checkpointer moves pages from the WAL to the file, on a connection of its
// own, while the writer goes on. Since the writer does go on, it never reaches
// the end, and the WAL could only grow: so, when little is left, the writer
// itself moves that between two transactions and begins the WAL anew.
type checkpointer struct {
	conn    *sqlite.Conn
	run     *sqlite.Stmt
	due     chan struct{} // holds one: the WAL is long
	restart chan struct{} // holds one: the rest is for the writer

	// Used by the writer alone:
	pending bool  // due was sent and restart has not come back
	since   int64 // length of the WAL after the last round
}

func openCheckpointer(path string) (*checkpointer, error) {
	conn, err := openConnAs(writeback.URI(path, writeback.VFS()), path, sqlite.OpenReadWrite|sqlite.OpenURI, "synchronous = FULL", "wal_autocheckpoint = 0")
	if err != nil {
		return nil, err
	}
	run, err := conn.Prepare(`PRAGMA wal_checkpoint(PASSIVE)`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, classify(err)), conn.Close())
	}
	return &checkpointer{
		conn: conn, run: run,
		due: make(chan struct{}, 1), restart: make(chan struct{}, 1),
	}, nil
}

// close comes after the goroutines have ended. Being the last connection, it
// also removes the WAL.
func (c *checkpointer) close() error { return c.conn.Close() }

// checkpoint is the goroutine that moves pages.
func (l *Log) checkpoint() {
	c := l.checkpoints
	for {
		select {
		case <-l.closing:
			return
		case <-c.due:
		}
		for range checkpointRounds {
			pages, moved, err := walPages(c.run)
			if err != nil {
				l.options.Logger.Error("checkpoint failed", "file", l.path, "error", err)
				break
			}
			if pages-moved <= restartPages {
				break
			}
		}
		c.restart <- struct{}{}
	}
}

// tendWAL is called by the writer between transactions.
func (l *Log) tendWAL(w *writer) {
	c := l.checkpoints
	select {
	case <-c.restart:
		c.pending = false
		c.since = l.restartWAL(w)
	default:
	}
	if c.pending || w.pages < lookPages {
		return
	}
	w.pages = 0
	pages, _, err := walPages(w.walSize)
	if err != nil || pages-c.since < checkpointPages {
		return // an error here shows itself in the next commit
	}
	c.pending = true
	c.due <- struct{}{}
}

// restartWAL moves what is left and begins the WAL anew, unless a reader still
// needs it: then the WAL stays, and the next round is due when it has grown by
// as much again. It returns the length of the WAL.
func (l *Log) restartWAL(w *writer) (pages int64) {
	w.conn.SetBusyTimeout(restartPatience)
	defer w.conn.SetBusyTimeout(busyTimeout)
	err := execute(w.restartWAL)
	if err == nil {
		pages, _, err = walPages(w.walSize)
	}
	if err != nil {
		l.options.Logger.Error("checkpoint failed", "file", l.path, "error", err)
	}
	l.stats.change(func(s *Stats) { s.Checkpoints++ })
	return pages
}

// walPages runs a checkpoint pragma and returns how many pages the WAL has and
// how many of these are in the file.
func walPages(stmt *sqlite.Stmt) (pages, moved int64, err error) {
	if _, err := stmt.Step(); err != nil {
		return 0, 0, err
	}
	pages, moved = stmt.ColumnInt64(1), stmt.ColumnInt64(2)
	return pages, moved, stmt.Reset()
}

// finish is the writer's last act.
func (l *Log) finish(w *writer) error {
	err := w.keepAll()
	if err == nil {
		err = sqlitex.ExecuteTransient(w.conn, `PRAGMA wal_checkpoint(TRUNCATE)`, nil)
	}
	return errors.Join(err, w.close())
}
