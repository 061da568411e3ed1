package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/belltower/belltower/eventstore"
)

// writer is the one connection that changes rows. It is used by one goroutine.
// What it does is short and must be whole, so it takes no context.
type writer struct {
	db         *sql.DB
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	checkpoint checkpoint
	tallies    map[tally]int // changes since the transaction began
}

func connect(ctx context.Context, path string) (*writer, error) {
	if err := keepPrivate(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db, err := sql.Open("sqlite", dsn(path,
		"journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-32768)", "wal_autocheckpoint(4000)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &writer{db: db, conn: conn, statements: map[string]*sql.Stmt{}, tallies: map[tally]int{}}, nil
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

func (w *writer) close() error {
	var errs []error
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// prepared gives the statement of query, prepared once.
func (w *writer) prepared(query string) (*sql.Stmt, error) {
	if s, ok := w.statements[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	w.statements[query] = s
	return s, nil
}

// exec returns how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	s, err := w.prepared(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row reads one row.
func (w *writer) row(query string, args ...any) scanner {
	s, err := w.prepared(query)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(context.Background(), args...)
}

// rows reads all rows through scan.
func (w *writer) rows(scan func(scanner) error, query string, args ...any) error {
	s, err := w.prepared(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

// failed is a row that could not be asked for.
type failed struct{ error }

func (f failed) Scan(...any) error { return f.error }

func each(rows *sql.Rows, scan func(scanner) error) error {
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// transact runs do in a transaction, with the tallies that it changes.
func (w *writer) transact(do func() error) (err error) {
	clear(w.tallies)
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err = do()
	if err == nil {
		err = w.flushTallies()
	}
	if err == nil {
		_, err = w.exec("COMMIT")
	}
	if err != nil {
		// A COMMIT that failed may have ended the transaction by itself.
		_, _ = w.exec("ROLLBACK")
	}
	return err
}

// load reads the checkpoint.
func (w *writer) load() error {
	var commit, prepare int64
	var id string
	var c checkpoint
	err := w.row("SELECT log_commit, log_prepare, fact_id, created, facts FROM checkpoint").
		Scan(&commit, &prepare, &id, &c.created, &c.facts)
	if err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	if c.id, err = uuid.Parse(id); err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	c.position = eventstore.Position{Commit: uint64(commit), Prepare: uint64(prepare)}
	w.checkpoint = c
	return nil
}

// errMoved says that something else folds into the same rows.
var errMoved = errors.New("projections: another writer has moved the checkpoint")

// fold applies facts, at least one, and moves the checkpoint in one transaction.
func (w *writer) fold(facts []fact) error {
	last := facts[len(facts)-1]
	next := checkpoint{
		position: last.Position, id: last.ID, created: last.Created.UnixMicro(),
		facts: w.checkpoint.facts + int64(len(facts)),
	}
	err := w.transact(func() error {
		for _, f := range facts {
			if err := w.apply(f); err != nil {
				return fmt.Errorf("apply %s at %v in %s: %w", f.Type, f.Position, f.Stream, err)
			}
		}
		n, err := w.exec("UPDATE checkpoint SET log_commit = ?, log_prepare = ?, fact_id = ?, created = ?, facts = ?"+
			" WHERE log_commit = ? AND log_prepare = ? AND fact_id = ?",
			int64(next.position.Commit), int64(next.position.Prepare), next.id.String(), next.created, next.facts,
			int64(w.checkpoint.position.Commit), int64(w.checkpoint.position.Prepare), w.checkpoint.id.String())
		if err == nil && n != 1 {
			err = errMoved
		}
		return err
	})
	if err == nil {
		w.checkpoint = next
	}
	return err
}
