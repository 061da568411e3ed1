package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/seal"
)

// ErrNotFound says that there is no such thing, or that its event was deleted.
var ErrNotFound = errors.New("projections: not found")

// ErrClosed says that the Models were closed.
var ErrClosed = errors.New("projections: closed")

// Options are what Models need of the world.
type Options struct {
	Store  eventstore.Store
	Keys   events.Keys
	Now    func() time.Time // time.Now when nil
	Logger *slog.Logger     // slog.Default() when nil
}

// Models are the read models, in one database. All methods may be called concurrently.
type Models struct {
	options Options
	log     *slog.Logger
	path    string
	writer  *writer // used by Follow alone
	readers *sql.DB
	hot     sync.Map // query → *sql.Stmt, of single rows

	pause    func(ctx context.Context, failures int) // between tries
	maxFacts int                                     // that are folded in one transaction

	running   sync.Mutex // held by Follow
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error

	progress
}

// Open opens the read models in dir. Rows that can't be gone on with are dropped
// and built anew by Follow: those of another version, of a log that was put
// back to an earlier state, or in a file that can't be read. Until
// Status().CaughtUp, queries answer from what has been built so far, and
// readiness is refused.
func Open(ctx context.Context, dir string, o Options) (*Models, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open read models: %w", err)
	}
	w, err := openWriter(ctx, dir, o.Store, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("open read models in %s: %w", dir, err)
	}
	readers, err := sql.Open("sqlite", dsn(filepath.Join(dir, fileName), "query_only(1)", "mmap_size(268435456)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open read models in %s: %w", dir, err), w.close())
	}
	connections := max(4, 2*runtime.GOMAXPROCS(0))
	readers.SetMaxOpenConns(connections)
	readers.SetMaxIdleConns(connections)
	m := &Models{
		options: o, log: o.Logger, path: filepath.Join(dir, fileName), writer: w, readers: readers,
		pause: backoff, maxFacts: 4096, closing: make(chan struct{}),
	}
	m.begin(w.checkpoint)
	return m, nil
}

// Close ends Follow and closes the database.
func (m *Models) Close() error {
	m.closeOnce.Do(func() {
		close(m.closing)
		m.running.Lock() // Follow has ended, and none will begin
		defer m.running.Unlock()
		var errs []error
		m.hot.Range(func(_, s any) bool {
			errs = append(errs, s.(*sql.Stmt).Close())
			return true
		})
		errs = append(errs, m.readers.Close(), m.writer.close())
		if errors.Join(errs...) == nil {
			seal.Put(m.path)
		}
		if err := errors.Join(errs...); err != nil {
			m.closeErr = fmt.Errorf("close read models: %w", err)
		}
	})
	return m.closeErr
}

// now is in microseconds, as times are stored.
func (m *Models) now() int64 { return m.options.Now().UnixMicro() }

// statement gives the statement of a query whose text is one of few, prepared once.
func (m *Models) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := m.hot.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := m.readers.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := m.hot.LoadOrStore(query, s); loaded {
		return first.(*sql.Stmt), s.Close()
	}
	return s, nil
}

// row reads one row. The query's text must be one of few.
func (m *Models) row(ctx context.Context, query string, args ...any) scanner {
	s, err := m.statement(ctx, query)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(ctx, args...)
}

// rowIn reads one row in tx.
func (m *Models) rowIn(ctx context.Context, tx *sql.Tx, query string, args ...any) scanner {
	return tx.QueryRowContext(ctx, query, args...)
}

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// rows reads all rows through scan.
func (m *Models) rows(ctx context.Context, q queryer, scan func(scanner) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// snapshot runs read on one state of the rows.
func (m *Models) snapshot(ctx context.Context, read func(*sql.Tx) error) error {
	tx, err := m.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	err = read(tx)
	if end := tx.Rollback(); err == nil && !errors.Is(end, sql.ErrTxDone) {
		err = end
	}
	return err
}

// eventThere returns ErrNotFound when there is no such event.
func (m *Models) eventThere(ctx context.Context, tx *sql.Tx, id string) error {
	var one int
	err := m.rowIn(ctx, tx, "SELECT 1 FROM events WHERE id = ?", id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("event %s: %w", id, ErrNotFound)
	}
	return err
}

// found says what was asked for, and that it isn't there when it isn't.
func found(err error, what, id string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		err = ErrNotFound
	}
	return fmt.Errorf("%s %s: %w", what, id, err)
}
