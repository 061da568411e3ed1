// Package snapshots keeps states of streams in a database: a file of its own in
// the data folder, or tables of a server's, which instances share. All of it
// can be dropped at any time: it is made anew from the log.
package snapshots

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/writeback"
)

// FileName is the name of the file in a data folder.
const FileName = "snapshots.db"

// Parts stand under the digest of what is in them, so that snapshots of a stream
// share those that didn't change.
const schema = `
CREATE TABLE {snapshots} (
	stream KEY(100) NOT NULL, revision BIGINT NOT NULL, version BIGINT NOT NULL, at BIGINT NOT NULL,
	head BYTES NOT NULL, parts TEXT NOT NULL, PRIMARY KEY (stream, revision)
);
CREATE TABLE {parts} (stream KEY(100) NOT NULL, id KEY(32) NOT NULL, data BYTES NOT NULL, PRIMARY KEY (stream, id));
`

// prefix stands before the names of the tables, and changes with the schema.
const prefix = "snapshots1_"

// Store keeps snapshots. Its methods may be called concurrently.
type Store struct {
	target sqldb.Target
	logger *slog.Logger

	mu sync.RWMutex // held to write while db is exchanged
	db *sqldb.DB
}

var _ commands.Snapshots = (*Store)(nil)

// Open opens the database, and makes the tables where they are missing. The zero
// Target, or SQLite without a path, is a file in dir; one that is damaged is made anew.
func Open(ctx context.Context, target sqldb.Target, dir string, logger *slog.Logger) (*Store, error) {
	if target == (sqldb.Target{}) {
		target = sqldb.File(filepath.Join(dir, FileName))
	}
	target = target.In(dir, FileName)
	s := &Store{target: target, logger: logger}
	db, err := s.open(ctx)
	if err != nil && sqldb.Damaged(err) && !target.Shared() {
		logger.Warn("the file of snapshots is damaged and is made anew", "path", target.Path(), "error", err)
		if err = s.remove(); err == nil {
			db, err = s.open(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	s.db = db
	return s, nil
}

func (s *Store) open(ctx context.Context) (*sqldb.DB, error) {
	if !s.target.Shared() { // SQLite gives the files beside it the same rights
		f, err := os.OpenFile(s.target.Path(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
			return nil, err
		}
	}
	// It can be made anew, so it needs no sync of its own.
	db, err := sqldb.Open(ctx, s.target, sqldb.Options{
		Pragmas: []string{"journal_mode(WAL)", "synchronous(NORMAL)", "secure_delete(1)"}, VFS: writeback.VFS(),
	})
	if err != nil {
		return nil, err
	}
	var n int
	err = db.QueryRowContext(ctx, db.Bind(prefix, "SELECT count(*) FROM {snapshots} WHERE stream = ''")).Scan(&n)
	if sqldb.NoTable(err) {
		err = nil
		for _, statement := range db.DDL(prefix, schema) {
			if _, err = db.ExecContext(ctx, statement); sqldb.Duplicate(err) { // another instance was faster
				err = nil
			} else if err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (s *Store) remove() error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(s.target.Path() + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

var errNoFile = errors.New("the file of snapshots was damaged and could not be made anew")

// with lends the database, and makes a file anew that shows itself to be damaged.
func (s *Store) with(ctx context.Context, do func(*sqldb.DB) error) error {
	s.mu.RLock()
	db := s.db
	if db == nil {
		s.mu.RUnlock()
		return errNoFile
	}
	err := do(db)
	s.mu.RUnlock()
	if err == nil || s.target.Shared() || !sqldb.Damaged(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != db {
		return err
	}
	s.logger.Warn("the file of snapshots is damaged and is made anew", "path", s.target.Path(), "error", err)
	made := errors.Join(db.Close(), s.remove())
	if s.db = nil; made == nil {
		s.db, made = s.open(ctx)
	}
	return errors.Join(err, made)
}

// Load gives the newest snapshot of a stream with this version that holds no
// fact behind a revision and none after a time.
func (s *Store) Load(ctx context.Context, stream string, version, revision int64, at time.Time) (found commands.Snapshot, ok bool, err error) {
	err = s.with(ctx, func(db *sqldb.DB) error {
		return db.Snapshot(ctx, func(tx *sql.Tx) error {
			var micros int64
			var parts string
			err := tx.QueryRowContext(ctx, db.Bind(prefix, "SELECT revision, at, head, parts FROM {snapshots} WHERE stream = ? AND version = ? AND revision <= ? AND at <= ? ORDER BY revision DESC LIMIT 1"),
				stream, version, revision, at.UnixMicro()).Scan(&found.Revision, &micros, &found.Head, &parts)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			} else if err != nil {
				return err
			}
			found.Version, found.At = version, time.UnixMicro(micros).UTC()
			found.Parts, err = load(ctx, db, tx, stream, parts)
			ok = err == nil
			return err
		})
	})
	if err != nil {
		return commands.Snapshot{}, false, fmt.Errorf("load a snapshot of %s: %w", stream, err)
	}
	return found, ok, nil
}

// together is how many parts are asked for at once.
const together = 128

func load(ctx context.Context, db *sqldb.DB, tx *sql.Tx, stream, names string) ([]aggregates.Part, error) {
	ids := strings.Fields(names)
	data := make(map[string][]byte, len(ids))
	for some := range slices.Chunk(ids, together) {
		args := []any{stream}
		for len(args) <= together { // always as many, so that the query's text is one
			args = append(args, some[min(len(args), len(some))-1])
		}
		rows, err := tx.QueryContext(ctx, db.Bind(prefix, "SELECT id, data FROM {parts} WHERE stream = ? AND id IN ("+strings.TrimSuffix(strings.Repeat("?, ", together), ", ")+")"), args...)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var id string
			var part []byte
			if err := rows.Scan(&id, &part); err != nil {
				return nil, errors.Join(err, rows.Close())
			}
			data[id] = part
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	parts := make([]aggregates.Part, len(ids))
	for i, id := range ids {
		raw, err := hex.DecodeString(id)
		if err != nil || len(raw) != len(parts[i].ID) {
			return nil, fmt.Errorf("%q names no part", id)
		}
		if data[id] == nil {
			return nil, commands.ErrPartsMissing
		}
		parts[i] = aggregates.Part{ID: aggregates.PartID(raw), Data: data[id]}
	}
	return parts, nil
}

// Save keeps a snapshot beside earlier ones of the stream, and forgets those that
// are not worth their room any more.
func (s *Store) Save(ctx context.Context, stream string, snapshot commands.Snapshot) (written int, err error) {
	err = s.with(ctx, func(db *sqldb.DB) error {
		return change(ctx, db, func(c *changing) error {
			written, err = c.save(ctx, stream, snapshot)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("keep a snapshot of %s: %w", stream, err)
	}
	return written, nil
}

// Drop forgets all snapshots of a stream.
func (s *Store) Drop(ctx context.Context, stream string) error {
	err := s.with(ctx, func(db *sqldb.DB) error {
		return change(ctx, db, func(c *changing) error {
			return errors.Join(c.exec(ctx, "DELETE FROM {snapshots} WHERE stream = ?", stream), c.exec(ctx, "DELETE FROM {parts} WHERE stream = ?", stream))
		})
	})
	if err != nil {
		return fmt.Errorf("drop the snapshots of %s: %w", stream, err)
	}
	return nil
}
