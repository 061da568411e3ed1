package suites

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
)

// The schema that docs/architecture.md gives for the log in SQLite, and the
// settings that it has there. It stays what it is when the log changes, so that
// tables of different times can be compared.
const sqliteSchema = `
		CREATE TABLE events (
			position    INTEGER PRIMARY KEY,
			stream_hash INTEGER NOT NULL,
			stream      TEXT NOT NULL,
			revision    INTEGER NOT NULL,
			appended    INTEGER NOT NULL,
			id          BLOB NOT NULL,
			type        TEXT NOT NULL,
			data        TEXT NOT NULL,
			metadata    TEXT NOT NULL,
			created     INTEGER NOT NULL,
			sum         INTEGER NOT NULL
		) STRICT;
		CREATE INDEX events_stream ON events (stream_hash, revision);`

var sqliteSettings = []string{"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 10000"}

func (a appending) sqlite(ctx context.Context) ([]measure.Figure, error) {
	return a.eachCase(ctx, a.sqliteLoop, func(ctx context.Context, dir string) error {
		s, err := openSQLite(dir)
		if err != nil {
			return err
		}
		const together = 1000
		for n := 0; n < a.full && err == nil; n += together {
			err = errors.Join(s.insert(min(together, a.full-n), func(i int) (string, int64) {
				if i%10 == 0 {
					s.stream = "event-" + uuid.NewString()
				}
				return s.stream, int64(i % 10)
			}), ctx.Err())
		}
		return errors.Join(err, s.conn.Close())
	})
}

// sqliteLoop is one loop that inserts half as many rows in a transaction as there are callers.
func (a appending) sqliteLoop(ctx context.Context, c appendCase, dir string) (answered load.Answered, err error) {
	s, err := openSQLite(dir)
	if err != nil {
		return answered, err
	}
	defer func() { err = errors.Join(err, s.conn.Close()) }()
	existing := make([]string, 16*c.callers)
	for i := range existing {
		existing[i] = "event-" + uuid.NewString()
	}
	rows, turn, written := max(1, c.callers/2), 0, 0
	began := time.Now()
	answered, err = load.During(ctx, 1, a.long, func(context.Context, int, int) error {
		written += rows
		return s.insert(rows, func(int) (string, int64) {
			if !c.existing {
				return "event-" + uuid.NewString(), 0
			}
			turn++
			return existing[turn%len(existing)], int64(turn / len(existing))
		})
	})
	// Each of the rows of a transaction was answered by it.
	each := make([]time.Duration, 0, written)
	for _, took := range answered.Took {
		for range rows {
			each = append(each, took)
		}
	}
	return load.Answered{Took: each, Elapsed: time.Since(began)}, err
}

// sqliteLog is a connection and the next position.
type sqliteLog struct {
	conn     *sqlite.Conn
	position int64
	stream   string
}

func openSQLite(dir string) (*sqliteLog, error) {
	conn, err := sqlite.OpenConn(filepath.Join(dir, "events.db"), sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return nil, fmt.Errorf("open SQLite: %w", err)
	}
	s := &sqliteLog{conn: conn}
	for _, setting := range sqliteSettings {
		err = errors.Join(err, sqlitex.ExecuteTransient(conn, "PRAGMA "+setting, nil))
	}
	var tables int64
	if err == nil {
		tables, err = sqlitex.ResultInt64(conn.Prep("SELECT count(*) FROM sqlite_schema"))
	}
	if err == nil && tables == 0 {
		err = sqlitex.ExecuteScript(conn, sqliteSchema, nil)
	}
	if err == nil {
		s.position, err = sqlitex.ResultInt64(conn.Prep("SELECT coalesce(max(position), 0) FROM events"))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open SQLite: %w", err), conn.Close())
	}
	return s, nil
}

// insert inserts so many facts in one transaction; next names the stream and
// revision of each.
func (s *sqliteLog) insert(rows int, next func(i int) (stream string, revision int64)) (err error) {
	end, err := sqlitex.ImmediateTransaction(s.conn)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer end(&err)
	insert := s.conn.Prep("INSERT INTO events VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, 0, 0)")
	for i := range rows {
		stream, revision := next(i)
		r := fact()
		s.position++
		h := fnv.New64a()
		h.Write([]byte(stream))
		insert.BindInt64(1, s.position)
		insert.BindInt64(2, int64(h.Sum64()))
		insert.BindText(3, stream)
		insert.BindInt64(4, revision)
		insert.BindBytes(5, r.ID[:])
		insert.BindText(6, r.Type)
		insert.BindText(7, string(r.Data))
		insert.BindText(8, string(r.Metadata))
		if _, err := insert.Step(); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		if err := insert.Reset(); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	return nil
}
