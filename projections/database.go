package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/internal/seal"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/writeback"
)

// fileName is the SQLite database in the data folder.
const fileName = "read.db"

// Database is where read models are kept: generations of their tables, and one
// table that tells which of them is live. Its methods may be called concurrently.
type Database struct {
	target  sqldb.Target
	log     *slog.Logger
	writing *sqldb.DB
	reading *sqldb.DB
	self    string // who this is, in leases
	kept    bool   // the file is sealed when it is closed
}

// serverWait is how long a server that doesn't answer is waited for at the start.
const serverWait = 20 * time.Second

// idleTransaction ends the session of a process that has stopped within a
// transaction, so that another one can take over.
const idleTransaction = 2 * time.Second

// OpenDatabase opens the database that target names; a SQLite database without a
// path is read.db in dir. A file that can't be read, or that has changed since it
// was closed, is removed: its rows come from the log, and are built anew.
func OpenDatabase(ctx context.Context, target sqldb.Target, dir string, log *slog.Logger) (*Database, error) {
	if target.Kind() == "" {
		target = sqldb.File("")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open read models: %w", err)
	}
	d := &Database{target: target.In(dir, fileName), log: log, self: uuid.NewString()}
	if d.target.Shared() {
		err = d.connect(ctx)
	} else {
		err = d.openFile(ctx)
	}
	if err == nil {
		err = d.prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open read models: %w", err), d.Close())
	}
	return d, nil
}

// connect opens the connections.
func (d *Database) connect(ctx context.Context) (err error) {
	readers := max(4, 2*runtime.GOMAXPROCS(0))
	d.writing, err = sqldb.Open(ctx, d.target, sqldb.Options{
		Pragmas: []string{"journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-32768)", "wal_autocheckpoint(4000)"},
		VFS:     writeback.VFS(),
		Wait:    serverWait, IdleTransaction: idleTransaction, Together: true,
	})
	if err != nil {
		return err
	}
	d.reading, err = sqldb.Open(ctx, d.target, sqldb.Options{
		Connections: readers, Pragmas: []string{"query_only(1)", "mmap_size(268435456)"},
	})
	return err
}

// openFile opens the SQLite database, or begins another where it can't be gone on with.
func (d *Database) openFile(ctx context.Context) error {
	path := d.target.Path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	reason, err := d.unusable(ctx)
	if err != nil {
		return err
	}
	if reason != "" {
		d.log.WarnContext(ctx, "building the read models anew", "file", filepath.Base(path), "reason", reason)
		if err := errors.Join(d.disconnect(), removeFile(path)); err != nil {
			return err
		}
	}
	if d.writing == nil {
		if err := keepPrivate(path); err != nil {
			return err
		}
		if err := d.connect(ctx); err != nil {
			return err
		}
	}
	d.kept = true
	return nil
}

// unusable tells why the file can't be gone on with; empty: it can, and it is
// open, or there is none. A file that was not sealed may be of a machine that
// fell over: SQLite is asked to look at each of its pages.
func (d *Database) unusable(ctx context.Context) (reason string, err error) {
	path := d.target.Path()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	sealed, changed, err := seal.Break(path)
	if err != nil {
		return "", err
	}
	if changed {
		return "the file has changed since it was closed", nil
	}
	if err := keepPrivate(path); err != nil {
		return "", err
	}
	err = d.connect(ctx)
	var tables int
	if err == nil {
		err = d.writing.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'generations'").Scan(&tables)
	}
	if err == nil && tables == 0 {
		return "another version wrote it", nil
	}
	if err == nil && !sealed {
		err = d.writing.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&reason)
		if err == nil && reason != "ok" {
			return "the file is damaged: " + reason, nil
		}
	}
	if sqldb.Damaged(err) {
		return "the file can't be read: " + err.Error(), nil
	}
	return "", err
}

func removeFile(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keepPrivate makes the file, where it is missing, readable by its owner alone:
// names and addresses stand in it in clear. SQLite gives the files beside it the
// same rights.
func keepPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// Target is where the database is.
func (d *Database) Target() sqldb.Target { return d.target }

func (d *Database) disconnect() (err error) {
	for _, db := range []*sqldb.DB{d.reading, d.writing} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	d.reading, d.writing = nil, nil
	return err
}

// Close closes the database, which nobody may be using.
func (d *Database) Close() error {
	err := d.disconnect()
	if err == nil && d.kept {
		seal.Put(d.target.Path())
	}
	d.kept = false
	return err
}

// Unreadable tells whether err, of a query, says that the read models can't be
// read now: the server or the disk doesn't answer, which SQLite can't always tell
// from damage. The same query may succeed later, or once the rows were built anew.
func Unreadable(err error) bool {
	return sqldb.Unreachable(err) || sqldb.Damaged(err) || sqldb.Conflict(err)
}

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
