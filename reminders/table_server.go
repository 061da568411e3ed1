package reminders

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/belltower/belltower/internal/sqldb"
)

const (
	// queryTimeout bounds what is read from a server, and changeTimeout a
	// transaction.
	queryTimeout  = 5 * time.Second
	changeTimeout = 10 * time.Second
	// startWait is how long opening waits for a server that doesn't answer.
	startWait = 10 * time.Second
	// standstill is how long a process that stands still in a transaction keeps others
	// from changing the table.
	standstill = 2 * time.Second
	// tries is how often a transaction is tried that another was in the way of.
	tries = 5
	// connections of an instance. Changes come one after another.
	connections = 4

	markEpoch = "epoch" // counts how often an instance began to lead
)

// prefix stands before the names of the tables on a server. Instances of another
// version have tables of their own, so that an upgrade that is taken back goes on
// where it was.
var prefix = fmt.Sprintf("planner%d_", tableVersion)

const serverSchema = `
CREATE TABLE {meta} (name KEY(20) NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE {open} (
	id KEY(255) NOT NULL PRIMARY KEY, event KEY(255) NOT NULL, participant KEY(255) NOT NULL, channel KEY(255) NOT NULL,
	due BIGINT NOT NULL, expires BIGINT NOT NULL, boot KEY(255) NOT NULL, claim_ms BIGINT NOT NULL,
	attempt BIGINT NOT NULL, in_doubt BIGINT NOT NULL, revision BIGINT NOT NULL
);
CREATE INDEX {open_due} ON {open} (boot, channel, due);
CREATE INDEX {open_expires} ON {open} (boot, expires);
CREATE INDEX {open_participant} ON {open} (event, participant);
CREATE TABLE {work} (
	event KEY(255) NOT NULL PRIMARY KEY, participant KEY(255) NOT NULL, notification KEY(255) NOT NULL, checked BIGINT NOT NULL,
	ordinal BIGINT NOT NULL, again BIGINT NOT NULL
)`

// server is a table that instances share. Only who leads changes it: each
// transaction begins by locking the places that the table keeps, and ends there
// where they are not as this instance left them. So whoever led before, and
// doesn't know yet that it leads no more, changes nothing; nor does one go on with
// a table that was put back to an earlier state under it.
type server struct {
	db    *sqldb.DB
	ended context.Context // of all calls
	end   context.CancelFunc

	mu   sync.Mutex // held while one transaction is under way
	left map[string]string
}

// openShared opens the table in a database of a server, or makes it there.
func openShared(ctx context.Context, target sqldb.Target) (*table, error) {
	db, err := sqldb.Open(ctx, target, sqldb.Options{Connections: connections, Wait: startWait, IdleTransaction: standstill})
	if err != nil {
		return nil, fmt.Errorf("open the planner's table: %w", err)
	}
	s := &server{db: db}
	s.ended, s.end = context.WithCancel(context.Background())
	if err := s.create(ctx); err != nil {
		_ = s.close() // the error that counts is the first
		return nil, fmt.Errorf("make the planner's table in %s: %w", target, err)
	}
	return newTable(s, db.Dialect, 256, 64, 16, 4, 1), nil
}

// create makes the tables that are not there yet. Other instances may do the same
// at the same time.
func (s *server) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var there string
	err := s.db.QueryRowContext(ctx, s.db.Bind(prefix, "SELECT value FROM {meta} WHERE name = ?"), markEpoch).Scan(&there)
	if err == nil {
		return nil
	}
	for _, statement := range s.db.DDL(prefix, serverSchema) {
		if _, err := s.db.ExecContext(ctx, statement); err != nil && !sqldb.Duplicate(err) {
			return err
		}
	}
	begin := "INSERT INTO {meta} (name, value) VALUES (?, ?)" + s.db.OnConflict("{meta}", []string{"name"})
	for name, value := range map[string]string{markEpoch: "0", markApplied: "", markPlanned: "", "channels": ""} {
		if _, err := s.db.ExecContext(ctx, s.db.Bind(prefix, begin), name, value); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) shared() bool { return true }

func (s *server) close() error {
	s.end()
	return s.db.Close()
}

func (s *server) query(ctx context.Context, query string, args []any, each func(columns)) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	return find(ctx, s.db.DB, s.db.Bind(prefix, query), args, each)
}

// lead takes the table over: whoever led before can't change it any more.
func (s *server) lead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(func(x *serverTransaction) error {
		epoch, err := strconv.ParseInt(x.places[markEpoch], 10, 64)
		if err != nil {
			return fmt.Errorf("read how often the table was taken over: %w", err)
		}
		return x.set(markEpoch, strconv.FormatInt(epoch+1, 10))
	})
}

func (s *server) transact(do func(transaction) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(func(x *serverTransaction) error {
		if !maps.Equal(x.places, s.left) {
			return errTaken
		}
		return do(x)
	})
}

// run runs do in a transaction, once more where another was in the way. s.mu is held.
func (s *server) run(do func(*serverTransaction) error) (err error) {
	ctx, cancel := context.WithTimeout(s.ended, changeTimeout)
	defer cancel()
	for range tries {
		if err = s.try(ctx, do); !sqldb.Conflict(err) || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *server) try(ctx context.Context, do func(*serverTransaction) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	x := &serverTransaction{ctx: ctx, s: s, tx: tx, places: map[string]string{}}
	// In the order of their names, so that two that come at once don't lock each
	// other out.
	err = x.query("SELECT name, value FROM {meta} WHERE name IN (?, ?, ?) ORDER BY name"+s.db.ForUpdate(), []any{markApplied, markEpoch, markPlanned},
		func(c columns) { x.places[c.text(0)] = c.text(1) })
	if err == nil {
		err = do(x)
	}
	if err != nil {
		_ = tx.Rollback() // the error that counts is the first
		return err
	}
	// Where nobody knows whether it was committed, the places tell the next time.
	if err := tx.Commit(); err != nil {
		return err
	}
	s.left = x.places
	return nil
}

// serverTransaction is a transaction under way.
type serverTransaction struct {
	ctx    context.Context // of this transaction alone
	s      *server
	tx     *sql.Tx
	places map[string]string // as they are within it
}

func (x *serverTransaction) exec(query string, args ...any) error {
	_, err := x.tx.ExecContext(x.ctx, x.s.db.Bind(prefix, query), args...)
	return err
}

func (x *serverTransaction) query(query string, args []any, each func(columns)) error {
	return find(x.ctx, x.tx, x.s.db.Bind(prefix, query), args, each)
}

func (x *serverTransaction) set(name, value string) error {
	if _, is := x.places[name]; is {
		x.places[name] = value
	}
	return x.exec("UPDATE {meta} SET value = ? WHERE name = ?", value, name)
}

// find hands over the rows of a query.
func find(ctx context.Context, on interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string, args []any, each func(columns),
) (err error) {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() {
		if closed := rows.Close(); err == nil {
			err = closed
		}
	}()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	found, to := make(values, len(names)), make([]any, len(names))
	for i := range found {
		to[i] = &found[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		each(found)
	}
	return rows.Err()
}

// values is a row as drivers give it: numbers and text, the latter as bytes too.
type values []any

func (v values) null(i int) bool { return v[i] == nil }

func (v values) text(i int) string {
	if b, ok := v[i].([]byte); ok {
		return string(b)
	}
	return v[i].(string)
}

func (v values) int(i int) int64 {
	if n, ok := v[i].(int64); ok {
		return n
	}
	n, err := strconv.ParseInt(v.text(i), 10, 64)
	if err != nil {
		panic(err) // the columns are numbers
	}
	return n
}
