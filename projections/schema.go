package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"modernc.org/sqlite"
	sqlitecodes "modernc.org/sqlite/lib"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/seal"
)

// version names the rows that a history folds to. Rows that differ in anything
// for the same history need another version; a test holds that.
const version = 2

// fileName is the database in the data folder.
const fileName = "read.db"

// schema: times are microseconds since 1970, optional text is empty when it
// isn't there, lists of text are JSON. A row belongs to an event that is in
// events, or it is gone: every query joins on that, so that deleting an event
// deletes one row and enters its id in gone, whose rows are swept later.
//
// belonged keeps which event each participant was ever on, also when both are
// gone: a request with an idempotency key is answered again even then.
//
// The scope of a word is 'event', or the id of the event whose participants it finds.
const schema = `
CREATE TABLE checkpoint (
	version     INTEGER NOT NULL,
	log_commit  INTEGER NOT NULL,
	log_prepare INTEGER NOT NULL,
	fact_id     TEXT NOT NULL,
	created     INTEGER NOT NULL,
	facts       INTEGER NOT NULL
);
CREATE TABLE events (
	id                TEXT NOT NULL PRIMARY KEY,
	title             TEXT NOT NULL,
	description       TEXT NOT NULL,
	start_time        INTEGER NOT NULL,
	end_time          INTEGER NOT NULL,
	time_zone         TEXT NOT NULL,
	location          TEXT NOT NULL,
	creator_id        TEXT NOT NULL,
	capacity          INTEGER NOT NULL,
	tags              TEXT NOT NULL,
	status            TEXT NOT NULL,
	participant_count INTEGER NOT NULL,
	revision          INTEGER NOT NULL,
	created_at        INTEGER NOT NULL,
	updated_at        INTEGER NOT NULL
);
CREATE INDEX events_start ON events (start_time, id);
CREATE INDEX events_creator ON events (creator_id, start_time, id);
CREATE INDEX events_status ON events (status, start_time, id, end_time);
CREATE TABLE event_tags (
	tag      TEXT NOT NULL,
	event_id TEXT NOT NULL,
	PRIMARY KEY (tag, event_id)
) WITHOUT ROWID;
CREATE TABLE gone (event_id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE belonged (participant_id TEXT NOT NULL PRIMARY KEY, event_id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE participants (
	id         TEXT NOT NULL PRIMARY KEY,
	event_id   TEXT NOT NULL,
	registered INTEGER NOT NULL,
	user_id    TEXT NOT NULL,
	name       TEXT NOT NULL,
	email      TEXT NOT NULL,
	phone      TEXT NOT NULL,
	channels   TEXT NOT NULL,
	time_zone  TEXT NOT NULL,
	locale     TEXT NOT NULL,
	response   TEXT NOT NULL,
	status     TEXT NOT NULL,
	line       INTEGER,
	opted_out  INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
);
CREATE INDEX participants_event ON participants (event_id, registered);
CREATE INDEX participants_status ON participants (event_id, status, registered);
CREATE INDEX participants_line ON participants (event_id, line);
CREATE INDEX participants_user ON participants (user_id, event_id);
CREATE TABLE departures (
	event_id   TEXT NOT NULL,
	line       INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	PRIMARY KEY (event_id, line)
) WITHOUT ROWID;
CREATE TABLE reminders (
	id             TEXT NOT NULL PRIMARY KEY,
	event_id       TEXT NOT NULL,
	minutes_before INTEGER NOT NULL,
	channels       TEXT NOT NULL,
	message        TEXT NOT NULL,
	revision       INTEGER NOT NULL
);
CREATE INDEX reminders_event ON reminders (event_id, revision);
CREATE TABLE notifications (
	id                  TEXT NOT NULL PRIMARY KEY,
	event_id            TEXT NOT NULL,
	reminder_id         TEXT NOT NULL,
	announcement_id     TEXT NOT NULL,
	participant_id      TEXT NOT NULL,
	channel             TEXT NOT NULL,
	status              TEXT NOT NULL,
	message             TEXT NOT NULL,
	scheduled_time      INTEGER NOT NULL,
	next_attempt_time   INTEGER,
	claimed_at          INTEGER,
	sent_time           INTEGER,
	final_at            INTEGER,
	attempts            INTEGER NOT NULL,
	last_error          TEXT NOT NULL,
	in_doubt            INTEGER NOT NULL,
	provider_message_id TEXT NOT NULL,
	revision            INTEGER NOT NULL
);
CREATE INDEX notifications_time ON notifications (scheduled_time, id);
CREATE INDEX notifications_event ON notifications (event_id, scheduled_time, id);
CREATE INDEX notifications_participant ON notifications (participant_id, scheduled_time, id);
CREATE INDEX notifications_status ON notifications (status, scheduled_time, id, next_attempt_time);
CREATE INDEX notifications_final ON notifications (final_at);
CREATE TABLE attempts (
	notification_id TEXT NOT NULL,
	number          INTEGER NOT NULL,
	started_at      INTEGER NOT NULL,
	outcome         TEXT NOT NULL,
	error           TEXT NOT NULL,
	PRIMARY KEY (notification_id, number)
) WITHOUT ROWID;
CREATE TABLE cleared (
	log_commit  INTEGER NOT NULL,
	log_prepare INTEGER NOT NULL,
	removed     INTEGER NOT NULL,
	PRIMARY KEY (log_commit, log_prepare)
) WITHOUT ROWID;
CREATE TABLE tallies (
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	n    INTEGER NOT NULL,
	PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE words (
	scope  TEXT NOT NULL,
	folded TEXT NOT NULL,
	id     TEXT NOT NULL,
	PRIMARY KEY (scope, folded, id)
) WITHOUT ROWID;
`

// checkpoint is the last fact that the rows show.
type checkpoint struct {
	position eventstore.Position
	id       uuid.UUID
	created  int64 // microseconds
	facts    int64 // folded since the rows were begun
}

// openWriter opens the rows in dir, or begins them anew where there are none
// that go on from what the log holds.
func openWriter(ctx context.Context, dir string, store eventstore.Store, log *slog.Logger) (*writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	_, statErr := os.Stat(path)
	if errors.Is(statErr, os.ErrNotExist) {
		return begin(ctx, path)
	}
	sealed, changed, err := seal.Break(path)
	if err != nil {
		return nil, err
	}
	reason := "the file has changed since it was closed"
	if !changed {
		var w *writer
		if w, reason, err = goOn(ctx, path, store, sealed); err != nil || reason == "" {
			return w, err
		}
	}
	log.WarnContext(ctx, "building the read models anew", "file", fileName, "reason", reason)
	return begin(ctx, path)
}

// goOn opens the rows at path. Where they can't be used it returns the reason
// instead. A file that was not sealed may be of a machine that fell over: SQLite
// is asked to look at each of its pages.
func goOn(ctx context.Context, path string, store eventstore.Store, sealed bool) (_ *writer, reason string, err error) {
	w, err := connect(ctx, path)
	if err != nil {
		if unreadable(err) {
			return nil, "the file can't be read: " + err.Error(), nil
		}
		return nil, "", err
	}
	reason, err = w.unfit(ctx, store)
	if err == nil && reason == "" && !sealed {
		reason, err = w.broken()
	}
	if err != nil || reason != "" {
		return nil, reason, errors.Join(err, w.close())
	}
	return w, "", nil
}

// unfit tells why the rows can't be gone on with; empty: they can.
func (w *writer) unfit(ctx context.Context, store eventstore.Store) (reason string, err error) {
	var found int
	err = w.row("SELECT version FROM checkpoint").Scan(&found)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "there is no checkpoint", nil
	case err != nil && unreadable(err):
		return "the file can't be read: " + err.Error(), nil
	case err != nil:
		return "", err
	case found != version:
		return fmt.Sprintf("they have version %d, this is %d", found, version), nil
	}
	if err := w.load(); err != nil {
		if unreadable(err) {
			return "the file can't be read: " + err.Error(), nil
		}
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

// broken tells what SQLite finds wrong with its pages; empty: nothing.
func (w *writer) broken() (reason string, err error) {
	err = w.row("PRAGMA quick_check(1)").Scan(&reason)
	switch {
	case err != nil && unreadable(err):
		return "the file can't be read: " + err.Error(), nil
	case err != nil:
		return "", err
	case reason == "ok":
		return "", nil
	}
	return "the file is damaged: " + reason, nil
}

// unreadable tells whether err says that a file is no database of ours.
func unreadable(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitecodes.SQLITE_NOTADB, sqlitecodes.SQLITE_CORRUPT, sqlitecodes.SQLITE_FORMAT,
		sqlitecodes.SQLITE_ERROR: // no such table, no such column
		return true
	}
	return false
}

// Unreadable tells whether err, of a query, says that read.db can't be read: its
// disk doesn't answer, which SQLite can't always tell from damage. The same query
// may succeed later, or once the rows were built anew.
func Unreadable(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitecodes.SQLITE_IOERR, sqlitecodes.SQLITE_CANTOPEN, sqlitecodes.SQLITE_FULL, sqlitecodes.SQLITE_BUSY,
		sqlitecodes.SQLITE_CORRUPT, sqlitecodes.SQLITE_NOTADB:
		return true
	}
	return false
}

// begin makes an empty database at path, in place of any other.
func begin(ctx context.Context, path string) (*writer, error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	w, err := connect(ctx, path)
	if err != nil {
		return nil, err
	}
	err = w.transact(func() error {
		if _, err := w.conn.ExecContext(ctx, schema); err != nil {
			return err
		}
		_, err := w.exec("INSERT INTO checkpoint VALUES (?, 0, 0, ?, 0, 0)", version, uuid.Nil.String())
		return err
	})
	if err == nil {
		err = w.load()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin %s: %w", path, err), w.close())
	}
	return w, nil
}

func dsn(path string, pragmas ...string) string {
	query := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
}
