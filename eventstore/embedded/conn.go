package embedded

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	engine "modernc.org/sqlite"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

// busyTimeout is how long a connection waits for a lock that only a process
// that ignores the folder's lock, such as the sqlite3 shell, can hold.
const busyTimeout = 2 * time.Second

// syncDataOnly lets SQLite sync with fdatasync(2), as its builds for Linux do, for the
// whole process: a commit then doesn't wait for the time of the WAL's last change to be
// on disk too, which nobody needs.
var syncDataOnly = sync.OnceFunc(func() {
	_, _ = engine.Fdatasync(true) // it fails where there is nothing but fsync
})

// openConn opens the existing log at path.
func openConn(path string, flags sqlite.OpenFlags, pragmas ...string) (*sqlite.Conn, error) {
	return openConnAs(path, path, flags, pragmas...)
}

// openConnAs opens the existing log at path, of which SQLite is told a name.
func openConnAs(name, path string, flags sqlite.OpenFlags, pragmas ...string) (*sqlite.Conn, error) {
	// SQLite would create the file, or call its absence corruption.
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", path, eventstore.ErrUnavailable, err)
	}
	conn, err := sqlite.OpenConn(name, flags)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, classify(err))
	}
	conn.SetBusyTimeout(busyTimeout)
	if err := identify(conn, path); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	for _, p := range pragmas {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %s: %w", path, p, classify(err)), conn.Close())
		}
	}
	return conn, nil
}

// classify puts what SQLite says into the port's words.
func classify(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultFormat:
		return fmt.Errorf("%w: %w", eventstore.ErrCorrupt, err)
	default:
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
	}
}

// prepare is for statements that fit the schema: where one doesn't, the schema is damaged.
func prepare(conn *sqlite.Conn, query string) (*sqlite.Stmt, error) {
	stmt, err := conn.Prepare(query)
	if err != nil && sqlite.ErrCode(err).ToPrimary() == sqlite.ResultError {
		return nil, fmt.Errorf("%w: %w", eventstore.ErrCorrupt, err)
	}
	if err != nil {
		return nil, classify(err)
	}
	return stmt, nil
}

// number returns the only value that query has.
func number(conn *sqlite.Conn, query string) (int64, error) {
	stmt, err := prepare(conn, query)
	if err != nil {
		return 0, err
	}
	n, err := sqlitex.ResultInt64(stmt)
	if err != nil {
		return 0, classify(err)
	}
	return n, nil
}
