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

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/internal/seal"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqlitetx"
	"github.com/belltower/belltower/internal/writeback"
)

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
CREATE INDEX open_doubt ON open (id) WHERE in_doubt <> 0;
CREATE TABLE work (
	event TEXT PRIMARY KEY, participant TEXT NOT NULL, notification TEXT NOT NULL, checked INTEGER NOT NULL,
	ordinal INTEGER NOT NULL, again INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE putoff (event TEXT PRIMARY KEY, commit_at INTEGER NOT NULL, prepare_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

// file is planner.db, by one connection that serves all.
type file struct {
	path string

	mu    sync.Mutex
	conn  *sqlite.Conn
	texts map[string]string // of queries, without braces
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
	conn, err := sqlite.OpenConn(writeback.URI(path, writeback.VFS()), sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenWAL|sqlite.OpenURI)
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
		err = sqlitetx.Immediate(conn, func() error {
			return sqlitetx.Script(conn, fmt.Sprintf("%s; PRAGMA user_version = %d;", schema, tableVersion))
		})
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
	// Where a statement costs nothing, one row at a time is the fastest.
	return newTable(&file{path: path, conn: conn, texts: map[string]string{}}, sqldb.Dialect{}, 1), nil
}

func (f *file) shared() bool { return false }

func (f *file) lead() error { return nil }

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.conn.Close(); err != nil {
		return err
	}
	seal.Put(f.path)
	return nil
}

func (f *file) query(ctx context.Context, query string, args []any, each func(columns)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.run(query, args, each)
}

func (f *file) transact(do func(transaction) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sqlitetx.Immediate(f.conn, func() error { return do(fileTransaction{f}) })
}

// run runs a query. f.mu is held.
func (f *file) run(query string, args []any, each func(columns)) error {
	text, ok := f.texts[query]
	if !ok {
		// Without the + a statement that compares a column with an argument would be
		// prepared anew for each value.
		text = strings.NewReplacer("{", "", "}", "", "?", "+?").Replace(query)
		f.texts[query] = text
	}
	o := &sqlitex.ExecOptions{Args: args}
	if each != nil {
		o.ResultFunc = func(s *sqlite.Stmt) error {
			each(statement{s})
			return nil
		}
	}
	return sqlitex.Execute(f.conn, text, o)
}

// fileTransaction is the transaction under way. f.mu is held.
type fileTransaction struct{ f *file }

func (x fileTransaction) exec(query string, args ...any) error { return x.f.run(query, args, nil) }

func (x fileTransaction) query(query string, args []any, each func(columns)) error {
	return x.f.run(query, args, each)
}

func (x fileTransaction) set(name, value string) error {
	return x.exec("INSERT INTO {meta} VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", name, value)
}

type statement struct{ *sqlite.Stmt }

func (s statement) text(i int) string { return s.ColumnText(i) }
func (s statement) int(i int) int64   { return s.ColumnInt64(i) }
func (s statement) null(i int) bool   { return s.ColumnIsNull(i) }
