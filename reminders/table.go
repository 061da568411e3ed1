package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/seal"
)

// tableVersion changes with the schema or with what is put into it: a file of
// another version is built anew.
const tableVersion = 3

const schema = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE open (
	id TEXT PRIMARY KEY, event TEXT NOT NULL, participant TEXT NOT NULL, channel TEXT NOT NULL,
	due INTEGER NOT NULL, expires INTEGER NOT NULL, boot TEXT NOT NULL, claim_ms INTEGER NOT NULL,
	attempt INTEGER NOT NULL, in_doubt INTEGER NOT NULL, revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX open_due ON open (channel, due) WHERE boot = '';
CREATE INDEX open_expires ON open (expires) WHERE boot = '';
CREATE INDEX open_claimed ON open (boot) WHERE boot <> '';
CREATE INDEX open_participant ON open (event, participant);
CREATE TABLE work (
	event TEXT PRIMARY KEY, participant TEXT NOT NULL, notification TEXT NOT NULL, checked INTEGER NOT NULL,
	ordinal INTEGER NOT NULL, again INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE putoff (event TEXT PRIMARY KEY, commit_at INTEGER NOT NULL, prepare_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

// table is the planner's own: the open notifications, the events that are being
// planned, and where it is in the log. It is rebuilt from the log alone.
// One connection serves all; its methods may be called concurrently.
type table struct {
	path string
	mu   sync.Mutex
	conn *sqlite.Conn
}

// row is an open notification. Times are in UTC.
type row struct {
	ID, Event, Participant, Channel string
	Due                             time.Time // the scheduled time, or that of the next attempt
	Expires                         time.Time
	Boot                            string // of the claim; empty: PENDING
	Claim                           time.Duration
	Attempt                         int
	InDoubt                         bool // an attempt's outcome is unknown
	Revision                        int64
}

// openTable opens planner.db in dir, or makes it anew where it is missing, of
// another version or damaged.
func openTable(dir string, logger *slog.Logger) (*table, error) {
	path := filepath.Join(dir, "planner.db")
	_, changed, err := seal.Break(path)
	if errors.Is(err, os.ErrNotExist) { // it was deleted to be built anew
		err = nil
	} else if err == nil && changed {
		err = fmt.Errorf("%w: the file has changed since it was closed", errOther)
	}
	var t *table
	if err == nil {
		t, err = tryTable(path)
	}
	if err == nil {
		return t, nil
	}
	if !damaged(err) {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	logger.Warn("the planner's table can't be used and is built anew from the log", "path", path, "error", err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("make %s anew: %w", path, err)
		}
	}
	if t, err = tryTable(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return t, nil
}

// errOther says that the table is not one to go on with.
var errOther = errors.New("the table is damaged or of another version")

// damaged tells whether a new table helps: it doesn't against a full disk or a
// folder that can't be written.
func damaged(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB, sqlite.ResultCorrupt, sqlite.ResultFormat:
		return true
	}
	return errors.Is(err, errOther)
}

func tryTable(path string) (_ *table, err error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	// It can be rebuilt, so it needs no sync of its own.
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA synchronous = NORMAL", nil); err != nil {
		return nil, err
	}
	version := 0
	read := &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		version = s.ColumnInt(0)
		return nil
	}}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA user_version", read); err != nil {
		return nil, err
	}
	switch version {
	case 0:
		err = sqlitex.ExecuteScript(conn, fmt.Sprintf("%s; PRAGMA user_version = %d;", schema, tableVersion), nil)
	case tableVersion:
		err = sqlitex.ExecuteTransient(conn, "PRAGMA quick_check(1)", &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			if said := s.ColumnText(0); said != "ok" {
				return fmt.Errorf("%w: %s", errOther, said)
			}
			return nil
		}})
	default:
		err = fmt.Errorf("%w: version %d", errOther, version)
	}
	if err != nil {
		return nil, err
	}
	return &table{path: path, conn: conn}, nil
}

func (t *table) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.conn.Close(); err != nil {
		return err
	}
	seal.Put(t.path)
	return nil
}

// change runs fn in one transaction.
func (t *table) change(fn func() error) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end, err := sqlitex.ImmediateTransaction(t.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	return fn()
}

func (t *table) exec(query string, args ...any) error {
	return sqlitex.Execute(t.conn, query, &sqlitex.ExecOptions{Args: args})
}

// The places in the log that the table keeps: what came up to there is planned,
// and what came up to there the table shows, which may be more.
const (
	markPlanned = "planned"
	markApplied = "applied"
)

// mark gives the position of a place and the id of the fact there; Start where there is none.
func (t *table) mark(name string) (eventstore.Position, uuid.UUID, error) {
	value, err := t.meta(name)
	if err != nil || value == "" {
		return eventstore.Start, uuid.Nil, err
	}
	position, id, _ := strings.Cut(value, " ")
	p, err := eventstore.ParsePosition(position)
	if err != nil {
		return eventstore.Start, uuid.Nil, err
	}
	fact, err := uuid.Parse(id)
	return p, fact, err
}

// setMark is called within change.
func (t *table) setMark(name string, r eventstore.Record) error {
	return t.setMeta(name, r.Position.String()+" "+r.ID.String())
}

func (t *table) meta(name string) (value string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = sqlitex.Execute(t.conn, "SELECT value FROM meta WHERE name = ?", &sqlitex.ExecOptions{
		Args: []any{name}, ResultFunc: func(s *sqlite.Stmt) error {
			value = s.ColumnText(0)
			return nil
		}})
	return value, err
}

// setMeta is called within change.
func (t *table) setMeta(name, value string) error {
	return t.exec("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)
}

// reset empties the table, so that it is built from the log's beginning, for
// the given channels.
func (t *table) reset(channels string) error {
	return t.change(func() error {
		return errors.Join(t.exec("DELETE FROM meta"), t.exec("DELETE FROM open"), t.exec("DELETE FROM work"), t.exec("DELETE FROM putoff"), t.setMeta("channels", channels))
	})
}

// apply folds a fact of a notification's stream; called within change. Facts
// come in the order of the log, and one that came before changes nothing.
func (t *table) apply(f events.Fact, revision int64) error {
	switch f := f.(type) {
	case events.NotificationScheduled:
		return t.exec(`INSERT INTO open VALUES (?, ?, ?, ?, ?, ?, '', 0, 0, 0, ?)
			ON CONFLICT DO UPDATE SET due = excluded.due, expires = excluded.expires, boot = '', revision = excluded.revision
			WHERE revision < excluded.revision`,
			f.NotificationID, f.EventID, f.ParticipantID, f.Channel, f.ScheduledTime.UnixMicro(), f.Expires.UnixMicro(), revision)
	case events.SendingStarted:
		return t.exec("UPDATE open SET boot = ?, claim_ms = ?, attempt = ?, in_doubt = ?, revision = ? WHERE id = ? AND revision < ?",
			f.Boot, f.ForMillis, f.Attempt, f.InDoubt, revision, f.NotificationID, revision)
	case events.SendingFailed:
		return t.exec("UPDATE open SET boot = '', due = max(due, ?), in_doubt = in_doubt OR ?, revision = ? WHERE id = ? AND revision < ?",
			f.NextAttempt.UnixMicro(), f.Class == events.ClassUnknown, revision, f.NotificationID, revision)
	case events.NotificationCancelled:
		return t.remove(f.NotificationID, revision)
	case events.NotificationSent:
		return t.remove(f.NotificationID, revision)
	case events.NotificationFailed:
		return t.remove(f.NotificationID, revision)
	}
	return nil
}

func (t *table) remove(id string, revision int64) error {
	return t.exec("DELETE FROM open WHERE id = ? AND revision < ?", id, revision)
}

const columns = "id, event, participant, channel, due, expires, boot, claim_ms, attempt, in_doubt, revision"

func (t *table) rows(ctx context.Context, where string, args ...any) ([]row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var rows []row
	err := sqlitex.Execute(t.conn, "SELECT "+columns+" FROM open WHERE "+where, &sqlitex.ExecOptions{
		Args: args, ResultFunc: func(s *sqlite.Stmt) error {
			rows = append(rows, row{
				ID: s.ColumnText(0), Event: s.ColumnText(1), Participant: s.ColumnText(2), Channel: s.ColumnText(3),
				Due: time.UnixMicro(s.ColumnInt64(4)).UTC(), Expires: time.UnixMicro(s.ColumnInt64(5)).UTC(),
				Boot: s.ColumnText(6), Claim: time.Duration(s.ColumnInt64(7)) * time.Millisecond,
				Attempt: s.ColumnInt(8), InDoubt: s.ColumnBool(9), Revision: s.ColumnInt64(10),
			})
			return nil
		}})
	return rows, err
}

// openOf gives what is open for a participant of an event.
func (t *table) openOf(ctx context.Context, event, participant string) ([]Open, error) {
	open, err := t.openOfThese(ctx, event, []string{participant})
	if err != nil {
		return nil, err
	}
	return open[0], nil
}

// openOfThese gives what is open for each of some participants of an event.
func (t *table) openOfThese(ctx context.Context, event string, participants []string) ([][]Open, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	open := make([][]Open, len(participants))
	for i, participant := range participants {
		err := sqlitex.Execute(t.conn, "SELECT id FROM open WHERE event = ? AND participant = ?", &sqlitex.ExecOptions{
			Args: []any{event, participant}, ResultFunc: func(s *sqlite.Stmt) error {
				open[i] = append(open[i], Open{NotificationID: s.ColumnText(0), ParticipantID: participant})
				return nil
			}})
		if err != nil {
			return nil, err
		}
	}
	return open, nil
}

// due gives the first PENDING rows of a channel that are due at now.
func (t *table) due(ctx context.Context, channel string, now time.Time, limit int) ([]row, error) {
	return t.rows(ctx, "boot = '' AND channel = ? AND due <= ? ORDER BY due LIMIT ?", channel, now.UnixMicro(), limit)
}

// expired gives PENDING rows that were not sent in time.
func (t *table) expired(ctx context.Context, now time.Time, limit int) ([]row, error) {
	return t.rows(ctx, "boot = '' AND expires < ? ORDER BY expires LIMIT ?", now.UnixMicro(), limit)
}

// claimedByOthers gives rows that a process other than boot has claimed.
func (t *table) claimedByOthers(ctx context.Context, boot string, limit int) ([]row, error) {
	return t.rows(ctx, "boot <> '' AND boot <> ? LIMIT ?", boot, limit)
}

// claimedBy gives the rows that the process boot has claimed.
func (t *table) claimedBy(ctx context.Context, boot string) ([]row, error) {
	return t.rows(ctx, "boot <> '' AND boot = ?", boot)
}

// next tells when the next PENDING row of a channel becomes due after now; zero where none does.
func (t *table) next(channel string, now time.Time) (time.Time, error) {
	return t.min("SELECT min(due) FROM open WHERE boot = '' AND channel = ? AND due > ?", channel, now.UnixMicro())
}

// nextExpiry tells when the next PENDING row expires; zero where none does.
func (t *table) nextExpiry() (time.Time, error) {
	return t.min("SELECT min(expires) FROM open WHERE boot = ''")
}

func (t *table) min(query string, args ...any) (at time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = sqlitex.Execute(t.conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: func(s *sqlite.Stmt) error {
		if !s.ColumnIsNull(0) {
			at = time.UnixMicro(s.ColumnInt64(0)).UTC()
		}
		return nil
	}})
	return at, err
}

// backlog tells how many PENDING rows of a channel are due and since when the first has been.
func (t *table) backlog(channel string, now time.Time) (due int, oldest time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = sqlitex.Execute(t.conn, "SELECT count(*), min(due) FROM open WHERE boot = '' AND channel = ? AND due <= ?", &sqlitex.ExecOptions{
		Args: []any{channel, now.UnixMicro()}, ResultFunc: func(s *sqlite.Stmt) error {
			if due = s.ColumnInt(0); due > 0 {
				oldest = time.UnixMicro(s.ColumnInt64(1)).UTC()
			}
			return nil
		}})
	return due, oldest, err
}
