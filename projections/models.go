package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
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
	// Target is where the rows are kept; the zero Target is read.db in the folder.
	Target sqldb.Target
}

// Models are the read models, in one database. All methods may be called concurrently.
type Models struct {
	options  Options
	log      *slog.Logger
	database *Database
	db       *sqldb.DB    // that is read from
	current  atomic.Int64 // the generation that queries are answered from
	hot      sync.Map     // query of a generation → *sql.Stmt, of single rows in SQLite
	hots     atomic.Int64 // how many there are in hot
	writer   *writer      // used by Follow alone
	known    Generation   // as Follow has last seen it

	pause    func(ctx context.Context, failures int) // between tries
	maxFacts int                                     // that are folded in one transaction
	took     atomic.Int64                            // time.Duration of the last transaction that folded
	mostRest time.Duration                           // see rest
	lookIdle time.Duration                           // between looks for another generation while there are no facts
	swapped  chan struct{}                           // Rebuild may have put another generation in the live one's place

	running   sync.Mutex // held by Follow
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error

	progress
	editions editions
}

// Open opens the read models in dir, or in the database of a server. Rows that
// can't be gone on with are built anew by Follow: those of another version,
// beside which another generation is begun, of a log that was put back to an
// earlier state, or in a file that can't be read. Until Status().CaughtUp,
// queries answer from what has been built so far, and readiness is refused.
func Open(ctx context.Context, dir string, o Options) (*Models, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	d, err := OpenDatabase(ctx, o.Target, dir, o.Logger)
	if err != nil {
		return nil, err
	}
	m := &Models{
		options: o, log: o.Logger, database: d, db: d.reading,
		pause: backoff, maxFacts: 4096, mostRest: mostRest, lookIdle: lookIdleFiles, swapped: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	if d.target.Shared() {
		m.lookIdle = lookEvery
	}
	if err := m.settle(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open read models: %w", err), d.Close())
	}
	return m, nil
}

// settle finds the generation to answer from, and whether it can be gone on with.
func (m *Models) settle(ctx context.Context) error {
	for {
		g, err := m.database.choose(ctx)
		if err != nil {
			return err
		}
		if m.writer, err = connect(ctx, m.database.writing, g.Number); err != nil {
			return err
		}
		reason, err := m.writer.unfit(ctx, m.options.Store)
		if err == nil && reason == "" {
			m.known = g
			m.current.Store(g.Number)
			m.begin(m.writer.checkpoint)
			if g.State != Live {
				m.log.InfoContext(ctx, "building the read models of this version beside those of another", "version", version, "generation", g.Number)
			}
			return nil
		}
		if err := errors.Join(err, m.writer.close()); err != nil {
			return err
		}
		m.log.WarnContext(ctx, "building the read models anew", "generation", g.Number, "reason", reason)
		if err := m.database.Drop(ctx, g.Number); err != nil && !errors.Is(err, ErrNoGeneration) {
			return err
		}
	}
}

// unfit tells why the rows can't be gone on with; empty: they can.
func (w *writer) unfit(ctx context.Context, store eventstore.Store) (reason string, err error) {
	var found int
	err = w.row("SELECT version FROM {checkpoint}").Scan(&found)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "there is no checkpoint", nil
	case sqldb.Damaged(err) || sqldb.NoTable(err):
		return "they can't be read: " + err.Error(), nil
	case err != nil:
		return "", err
	case found != version:
		return fmt.Sprintf("they have version %d, this is %d", found, version), nil
	}
	if err := w.load(); err != nil {
		return "", err
	}
	at := w.checkpoint.position
	if at == eventstore.Start {
		return "", nil
	}
	r, ok, err := store.RecordAt(ctx, at)
	switch {
	case err != nil:
		return "", fmt.Errorf("compare the checkpoint with the log: %w", err)
	case !ok:
		return fmt.Sprintf("the log has no fact at their checkpoint %v", at), nil
	case r.ID != w.checkpoint.id:
		return fmt.Sprintf("the log has another fact at their checkpoint %v", at), nil
	}
	return "", nil
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
		if m.writer != nil {
			errs = append(errs, m.writer.close())
		}
		errs = append(errs, m.database.Close())
		if err := errors.Join(errs...); err != nil {
			m.closeErr = fmt.Errorf("close read models: %w", err)
		}
	})
	return m.closeErr
}

// Database tells what the database calls itself, such as PostgreSQL 15.2.
func (m *Models) Database() string { return m.db.Version }

// now is in microseconds, as times are stored.
func (m *Models) now() int64 { return m.options.Now().UnixMicro() }

// moved tells whether err says that the generation that was asked has been
// dropped, and another one is asked from now on.
func (m *Models) moved(ctx context.Context, from int64, err error) bool {
	if !sqldb.NoTable(err) {
		return false
	}
	all, _, err := m.database.list(ctx)
	if err != nil {
		return false
	}
	g, ok := ours(all)
	if !ok || g.State == Making || g.Number == from {
		return false
	}
	defer m.editions.change()()
	return m.current.CompareAndSwap(from, g.Number) || m.current.Load() != from
}

// asked is a row that is asked for when it is scanned.
type asked struct {
	m     *Models
	ctx   context.Context
	query string
	args  []any
}

// row reads one row. The query's text must be one of few.
func (m *Models) row(ctx context.Context, query string, args ...any) scanner {
	return asked{m, ctx, query, args}
}

func (a asked) Scan(dest ...any) error {
	from := a.m.current.Load()
	err := a.m.rowOf(a.ctx, from, a.query, a.args).Scan(dest...)
	if a.m.moved(a.ctx, from, err) {
		err = a.m.rowOf(a.ctx, a.m.current.Load(), a.query, a.args).Scan(dest...)
	}
	return err
}

func (m *Models) rowOf(ctx context.Context, generation int64, query string, args []any) scanner {
	text := m.db.Bind(prefixOf(generation), query)
	if m.db.Kind() != sqldb.SQLite {
		return m.db.QueryRowContext(ctx, text, args...)
	}
	s, err := m.statement(ctx, text)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(ctx, args...)
}

// statement gives the statement of a query whose text is one of few, prepared
// once: on SQLite that is most of what a single row costs.
func (m *Models) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if s, ok := m.hot.Load(text); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := m.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if first, loaded := m.hot.LoadOrStore(text, s); loaded {
		return first.(*sql.Stmt), s.Close()
	}
	m.hots.Add(1)
	return s, nil
}

// rows reads all rows through scan.
func (m *Models) rows(ctx context.Context, scan func(scanner) error, query string, args ...any) error {
	from := m.current.Load()
	err := m.rowsOf(ctx, from, scan, query, args)
	if m.moved(ctx, from, err) {
		err = m.rowsOf(ctx, m.current.Load(), scan, query, args)
	}
	return err
}

// maxHot is how many statements are kept prepared, about: what filters there are
// in a query makes another text of it.
const maxHot = 128

func (m *Models) rowsOf(ctx context.Context, generation int64, scan func(scanner) error, query string, args []any) error {
	if m.db.Kind() == sqldb.SQLite {
		text := m.db.Bind(prefixOf(generation), query)
		_, known := m.hot.Load(text)
		if known || m.hots.Load() < maxHot {
			s, err := m.statement(ctx, text)
			if err != nil {
				return err
			}
			rows, err := s.QueryContext(ctx, args...)
			if err != nil {
				return err
			}
			return each(rows, scan)
		}
	}
	return snapshot{m.db, m.db, generation}.rows(ctx, scan, query, args...)
}

// snapshot is one state of the rows of a generation.
type snapshot struct {
	db         *sqldb.DB
	q          queryer
	generation int64
}

// snapshot runs read on one state of the rows. It may run twice.
func (m *Models) snapshot(ctx context.Context, read func(snapshot) error) error {
	from := m.current.Load()
	err := m.db.Snapshot(ctx, func(tx *sql.Tx) error { return read(snapshot{m.db, tx, from}) })
	if m.moved(ctx, from, err) {
		err = m.db.Snapshot(ctx, func(tx *sql.Tx) error { return read(snapshot{m.db, tx, m.current.Load()}) })
	}
	return err
}

func (s snapshot) row(ctx context.Context, query string, args ...any) scanner {
	return s.q.QueryRowContext(ctx, s.db.Bind(prefixOf(s.generation), query), args...)
}

func (s snapshot) rows(ctx context.Context, scan func(scanner) error, query string, args ...any) error {
	rows, err := s.q.QueryContext(ctx, s.db.Bind(prefixOf(s.generation), query), args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// eventThere returns ErrNotFound when there is no such event.
func (s snapshot) eventThere(ctx context.Context, id string) error {
	var one int
	err := s.row(ctx, "SELECT 1 FROM {events} WHERE id = ?", id).Scan(&one)
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
