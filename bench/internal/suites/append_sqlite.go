package suites

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	engine "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
)

// sqliteSchema is the table of eventstore/embedded, and sqliteSettings are those of
// the connection that writes it, which moves the write-ahead log itself here.
const sqliteSchema = `
		CREATE TABLE events (
			position INTEGER PRIMARY KEY,
			stream   TEXT NOT NULL,
			revision INTEGER NOT NULL,
			appended INTEGER NOT NULL,
			id       BLOB NOT NULL,
			type     TEXT NOT NULL,
			data     TEXT NOT NULL,
			metadata TEXT NOT NULL,
			created  INTEGER NOT NULL,
			sum      INTEGER NOT NULL
		) STRICT;`

var sqliteSettings = []string{"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 2000", "cache_size = -4096", "cache_spill = OFF"}

// syncDataOnly lets SQLite sync with fdatasync(2) in this process, as it does
// wherever a log has been opened: or the bare loop would sync in another way before the
// first log was measured than after it.
func syncDataOnly() {
	_, _ = engine.Fdatasync(true) // where there is nothing but fsync, the log has nothing else either
}

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
	insert := s.conn.Prep("INSERT INTO events VALUES (?, ?, ?, 1, ?, ?, ?, ?, 0, 0)")
	for i := range rows {
		stream, revision := next(i)
		r := fact()
		s.position++
		insert.BindInt64(1, s.position)
		insert.BindText(2, stream)
		insert.BindInt64(3, revision)
		insert.BindBytes(4, r.ID[:])
		insert.BindText(5, r.Type)
		insert.BindText(6, string(r.Data))
		insert.BindText(7, string(r.Metadata))
		if _, err := insert.Step(); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		if err := insert.Reset(); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	return nil
}
