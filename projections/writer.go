package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
)

// checkpoint is the last fact that the rows show.
type checkpoint struct {
	position eventstore.Position
	id       uuid.UUID
	created  int64 // microseconds
	facts    int64 // folded since the rows were begun
}

// writer is the one connection that changes the rows of a generation. It is used
// by one goroutine. What it does is short and must be whole, so it takes no context.
type writer struct {
	db         *sqldb.DB
	generation int64
	prefix     string
	conn       *sql.Conn
	statements map[string]*sql.Stmt // on SQLite, where preparing is what costs; nil: a server
	execs      fileExecs            // there too
	args       []any                // for room
	indexed    bool                 // it is known that no index is missing
	checkpoint checkpoint
	queued     []sqldb.Statement // for a server, that are sent together
	bytes      int               // of text in them, about
	affected   int64             // rows, by the last one
	asked      time.Time         // when the database was, last
	within     func() error      // is done at the end of each transaction that folds; nil: nothing

	// What has changed since the transaction began.
	events        table[eventRow, *eventRow]
	participants  table[participantRow, *participantRow]
	notifications table[notificationRow, *notificationRow]
	suppressions  table[suppressionRow, *suppressionRow]
	attempts      map[string]attemptRows // by notification
	tags          set
	gone          set
	belonged      set
	reminders     set
	words         set
	tallies       map[tally]int
}

// prefixOf stands before the names of a generation's tables.
func prefixOf(generation int64) string { return fmt.Sprintf("g%d_", generation) }

// connect takes a connection for the rows of a generation.
func connect(ctx context.Context, db *sqldb.DB, generation int64) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, generation: generation, prefix: prefixOf(generation), conn: conn}
	if db.Kind() == sqldb.SQLite {
		w.statements = map[string]*sql.Stmt{}
	}
	w.forget()
	return w, nil
}

// forget drops what isn't written.
func (w *writer) forget() {
	w.events = newTable[eventRow](eventsShape)
	w.participants = newTable[participantRow](participantsShape)
	w.notifications = newTable[notificationRow](notificationsShape)
	w.suppressions = newTable[suppressionRow](suppressionsShape)
	w.attempts = map[string]attemptRows{}
	w.tags, w.gone, w.belonged = newSet(tagsShape), newSet(goneShape), newSet(belongedShape)
	w.reminders, w.words = newSet(remindersShape), newSet(wordsShape)
	w.tallies = map[tally]int{}
}

// flush writes what has changed, and forgets it.
func (w *writer) flush() error {
	if err := w.writeChanges(); err != nil {
		return err
	}
	return w.send()
}

// writeChanges is flush; on a server the last of it may still be queued.
func (w *writer) writeChanges() error {
	var attempts []change
	for _, of := range w.attempts {
		attempts = append(attempts, of.changes()...)
	}
	for _, t := range []struct {
		shape   shape
		changes []change
	}{
		{eventsShape, w.events.changes()}, {tagsShape, w.tags.changes()}, {goneShape, w.gone.changes()},
		{belongedShape, w.belonged.changes()}, {participantsShape, w.participants.changes()}, {remindersShape, w.reminders.changes()},
		{notificationsShape, w.notifications.changes()}, {attemptsShape, attempts}, {suppressionsShape, w.suppressions.changes()}, {wordsShape, w.words.changes()},
	} {
		if err := w.write(t.shape, t.changes); err != nil {
			return err
		}
		if err := w.stay(); err != nil {
			return err
		}
	}
	if err := w.writeTallies(); err != nil {
		return err
	}
	w.forget()
	return nil
}

func (w *writer) close() error {
	errs := []error{w.execs.close()}
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	if err := w.conn.Close(); !errors.Is(err, sql.ErrConnDone) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// prepared gives the statement of query, prepared once.
func (w *writer) prepared(query string) (*sql.Stmt, error) {
	if s, ok := w.statements[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), w.db.Bind(w.prefix, query))
	if err != nil {
		return nil, err
	}
	w.statements[query] = s
	return s, nil
}

// exec returns how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	if err := w.send(); err != nil {
		return 0, err
	}
	if w.statements != nil {
		return w.execs.exec(w.conn, query, func() string { return w.db.Bind(w.prefix, query) }, args)
	}
	r, err := w.conn.ExecContext(context.Background(), w.db.Bind(w.prefix, query), args...)
	w.asked = time.Now()
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// room is for n arguments of a statement: on SQLite, where it is executed at once, that
// of the one before.
func (w *writer) room(n int) []any {
	if w.statements == nil {
		return make([]any, 0, n)
	}
	w.args = slices.Grow(w.args[:0], n)
	return w.args
}

// put executes a statement, its text in three parts, whose outcome matters only if
// it fails; on a server later, together with others.
func (w *writer) put(head, values, tail string, args ...any) error {
	if w.statements != nil {
		n, err := w.exec(head+values+tail, args...)
		w.affected = n
		return err
	}
	// What differs is the number of values, which isn't worth keeping.
	text := w.db.Bind(w.prefix, head) + values + w.db.Bind(w.prefix, tail)
	w.queued = append(w.queued, sqldb.Statement{Text: text, Args: args})
	if w.bytes += len(text) + sizeOf(args); w.bytes < sentAtOnce {
		return nil
	}
	return w.send()
}

// sentAtOnce is how many bytes of statements are queued at most, about.
const sentAtOnce = 128 << 10

// stay shows a server, which ends the session of who stands still in a
// transaction, that much is being folded.
func (w *writer) stay() error {
	if w.statements != nil || time.Since(w.asked) < idleTransaction/4 {
		return nil
	}
	_, err := w.exec("SELECT 1")
	return err
}

// send has what is queued executed.
func (w *writer) send() error {
	if len(w.queued) == 0 {
		return nil
	}
	n, err := w.db.Together(context.Background(), w.conn, w.queued)
	w.queued, w.bytes, w.affected, w.asked = nil, 0, n, time.Now()
	return err
}

// changed tells how many rows the last statement changed that was put.
func (w *writer) changed() (int64, error) {
	err := w.send()
	return w.affected, err
}

// row reads one row.
func (w *writer) row(query string, args ...any) scanner {
	if err := w.send(); err != nil {
		return failed{err}
	}
	if w.statements == nil {
		return w.conn.QueryRowContext(context.Background(), w.db.Bind(w.prefix, query), args...)
	}
	s, err := w.prepared(query)
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(context.Background(), args...)
}

// rows reads all rows through scan.
func (w *writer) rows(scan func(scanner) error, query string, args ...any) error {
	if err := w.send(); err != nil {
		return err
	}
	var rows *sql.Rows
	var err error
	if w.statements == nil {
		rows, err = w.conn.QueryContext(context.Background(), w.db.Bind(w.prefix, query), args...)
	} else {
		var s *sql.Stmt
		if s, err = w.prepared(query); err == nil {
			rows, err = s.QueryContext(context.Background(), args...)
		}
	}
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

// transact runs do in a transaction, with the rows that it changes.
func (w *writer) transact(do func() error) (err error) {
	w.forget()
	if err := w.put(w.db.BeginWriting(), "", ""); err != nil {
		return err
	}
	err = do()
	if err == nil {
		err = w.writeChanges()
	}
	if err == nil {
		err = w.put("COMMIT", "", "")
	}
	if err == nil {
		err = w.send()
	}
	if err != nil {
		w.queued, w.bytes = nil, 0
		// A COMMIT that failed may have ended the transaction by itself.
		_, _ = w.exec("ROLLBACK")
	}
	return err
}

// load reads the checkpoint.
func (w *writer) load() error {
	c, err := scanCheckpoint(w.row(selectCheckpoint))
	if err == nil {
		w.checkpoint = c
	}
	return err
}

const selectCheckpoint = "SELECT log_commit, log_prepare, fact_id, created, facts FROM {checkpoint}"

func scanCheckpoint(row scanner) (c checkpoint, err error) {
	var commit, prepare int64
	var id string
	if err := row.Scan(&commit, &prepare, &id, &c.created, &c.facts); err != nil {
		return checkpoint{}, fmt.Errorf("read the checkpoint: %w", err)
	}
	if c.id, err = uuid.Parse(id); err != nil {
		return checkpoint{}, fmt.Errorf("read the checkpoint: %w", err)
	}
	c.position = eventstore.Position{Commit: uint64(commit), Prepare: uint64(prepare)}
	return c, nil
}

// errMoved says that something else folds into the same rows.
var errMoved = errors.New("projections: another writer has moved the checkpoint")

// fold applies facts, at least one, and moves the checkpoint in one transaction.
// The checkpoint is moved first: who folds the same facts waits there for this
// transaction, and then finds that they are folded.
func (w *writer) fold(facts []fact) error {
	applied := false
	last := facts[len(facts)-1]
	next := checkpoint{
		position: last.Position, id: last.ID, created: last.Created.UnixMicro(),
		facts: w.checkpoint.facts + int64(len(facts)),
	}
	err := w.transact(func() error {
		if err := w.move(next); err != nil {
			return err
		}
		if err := w.prefetch(facts); err != nil {
			return err
		}
		for i, f := range facts {
			f.number = w.checkpoint.facts + int64(i) + 1
			if err := w.apply(f); err != nil {
				return failedAt(f, err)
			}
			if err := w.stay(); err != nil {
				return err
			}
		}
		applied = true
		if w.within != nil {
			return w.within()
		}
		return nil
	})
	switch {
	case err == nil:
		w.checkpoint = next
	case applied && len(facts) == 1:
		err = failedAt(last, err)
	}
	return err
}

// move moves the checkpoint.
func (w *writer) move(next checkpoint) error {
	err := w.put("UPDATE {checkpoint} SET log_commit = ?, log_prepare = ?, fact_id = ?, created = ?, facts = ?"+
		" WHERE log_commit = ? AND log_prepare = ? AND fact_id = ?", "", "",
		int64(next.position.Commit), int64(next.position.Prepare), next.id.String(), next.created, next.facts,
		int64(w.checkpoint.position.Commit), int64(w.checkpoint.position.Prepare), w.checkpoint.id.String())
	if err != nil {
		return err
	}
	n, err := w.changed()
	if err == nil && n != 1 {
		err = errMoved
	}
	return err
}

func failedAt(f fact, err error) error {
	return fmt.Errorf("apply %s at %v in %s: %w", f.Type, f.Position, f.Stream, err)
}
