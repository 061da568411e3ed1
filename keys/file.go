package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/internal/durable"
	"github.com/belltower/belltower/internal/sqlitetx"
	"github.com/belltower/belltower/internal/writeback"
)

// FileName is the name of the key file in a data folder.
const FileName = "keys.db"

const (
	applicationID = 0x426c546b // "BlTk" in the file's header

	// busyTimeout is how long another program that reads or copies the file may
	// hold up a write.
	busyTimeout = 5 * time.Second
)

// Adding and erasing rely on this: rows are never deleted, and a key never changes
// its length.
const schema = `
CREATE TABLE meta (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	format INTEGER NOT NULL,
	secret BLOB NOT NULL -- the secret, and a sum of it
) STRICT;
CREATE TABLE keys (
	number INTEGER PRIMARY KEY,
	key    BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;`

// Open opens the key file in dir, which must exist, or begins one, readable by
// its owner only. Errors name the file and match ErrMissing, ErrNotKeys,
// ErrNewerFormat or ErrDamaged where that is the cause. Close the ring to let go
// of the file.
func Open(ctx context.Context, dir string, opts ...Option) (*Ring, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path := filepath.Join(dir, FileName)
	conn, err := openFile(path, o.existing)
	if err != nil {
		return nil, fmt.Errorf("open the keys in %s: %w", path, err)
	}
	// On a full disk it stays where it is: what is there can be read, and before
	// anything is written it is moved.
	unmoved := move(conn)
	if sqlite.ErrCode(unmoved).ToPrimary() != sqlite.ResultFull {
		err = unmoved
	}
	var secret []byte
	if err == nil {
		secret, err = begin(conn, o.existing)
	}
	if err == nil {
		// The file's name must last as long as its first key.
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the keys in %s: %w", path, errors.Join(err, conn.Close()))
	}
	return newRing(&file{path: path, conn: conn, suspect: unmoved != nil, insert: insert}, secret), nil
}

// InMemory is an empty ring without a file, for tests. It panics where SQLite
// can't be had at all.
func InMemory() *Ring {
	conn, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenMemory)
	if err != nil {
		panic(err)
	}
	secret, err := begin(conn, false)
	if err != nil {
		panic(err)
	}
	return newRing(&file{conn: conn, insert: insert}, secret)
}

func openFile(path string, existing bool) (*sqlite.Conn, error) {
	return connect(path, existing, func(conn *sqlite.Conn) error {
		conn.SetBusyTimeout(busyTimeout)
		// Before the first write, so that another program's file stays as it is.
		if err := identify(conn); err != nil {
			return err
		}
		return setUp(conn)
	})
}

// connect opens a connection, which is closed again where it can't be prepared.
func connect(path string, existing bool, prepare func(*sqlite.Conn) error) (*sqlite.Conn, error) {
	if err := ensureFile(path, existing); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(writeback.URI(path, writeback.VFS()), sqlite.OpenReadWrite|sqlite.OpenPrivateCache|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	if err := prepare(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// setUp has what is committed be on disk, and what is overwritten be gone.
func setUp(conn *sqlite.Conn) error {
	for _, pragma := range []string{"journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"} {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+pragma, nil); err != nil {
			return fmt.Errorf("set %s: %w", pragma, err)
		}
	}
	return nil
}

// move moves the write-ahead log into the file. What a process that ended after a
// failed sync left there looks committed and may not be on disk; what comes behind
// it would be lost with it.
func move(conn *sqlite.Conn) error {
	if _, err := checkpoint(conn); err != nil {
		return fmt.Errorf("move the write-ahead log into the file: %w", err)
	}
	return nil
}

// ensureFile creates the file if need be and takes it away from all but its
// owner; SQLite gives its side files the same rights.
func ensureFile(path string, existing bool) error {
	if !existing {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return f.Close()
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// The file is looked at by name: closing a handle of it would drop the locks
	// of every connection that this process has to it.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: not a regular file", ErrNotKeys)
	case info.Mode().Perm()&0o077 != 0:
		return os.Chmod(path, 0o600) // a restored copy
	}
	return nil
}

// identify refuses a file that isn't ours. One with nothing in it was begun and
// not finished, and is ours. Another process may make the tables meanwhile: who sees
// them sees the id too, which the same transaction sets.
func identify(conn *sqlite.Conn) error {
	tables, err := resultInt(conn, "SELECT count(*) FROM sqlite_schema")
	var id int64
	if err == nil {
		id, err = resultInt(conn, "PRAGMA application_id")
	}
	if err == nil && tables == 0 && id == 0 {
		return nil
	}
	switch {
	case sqlite.ErrCode(err).ToPrimary() == sqlite.ResultNotADB:
		return fmt.Errorf("%w: not even an SQLite database", ErrNotKeys)
	case err != nil:
		return err
	case id != applicationID:
		return fmt.Errorf("%w: an SQLite database with application id %#x", ErrNotKeys, id)
	}
	return nil
}

// begin reads the secret, and makes the tables first if there are none, unless
// there have to be some.
func begin(conn *sqlite.Conn, existing bool) (secret []byte, err error) {
	id, err := resultInt(conn, "PRAGMA application_id")
	if err != nil {
		return nil, err
	}
	if id == 0 && existing {
		return nil, fmt.Errorf("%w: the file is empty", ErrMissing)
	}
	if id == 0 {
		if err := create(conn); err != nil {
			return nil, fmt.Errorf("create the tables: %w", err)
		}
	}
	switch mark, err := readMark(conn); {
	case err != nil:
		return nil, fmt.Errorf("look whether they were moved: %w", err)
	case mark != nil:
		return nil, mark
	}
	return fileSecret(conn)
}

// fileSecret reads the secret of a file whose tables are there.
func fileSecret(conn *sqlite.Conn) (secret []byte, err error) {
	found, err := resultInt(conn, "SELECT format FROM meta")
	if err != nil {
		return nil, fmt.Errorf("read the format: %w", err)
	}
	if err := checkFormat(found); err != nil {
		return nil, err
	}
	stored := make([]byte, sealedSecretSize+1)
	statement, err := conn.Prepare("SELECT secret FROM meta")
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	n, err := sqlitex.ResultBytes(statement, stored)
	if err == nil {
		secret, err = checkSecret(stored[:n])
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	return secret, nil
}

func create(conn *sqlite.Conn) error {
	return sqlitetx.Immediate(conn, func() error {
		// Another process may have come first.
		if id, err := resultInt(conn, "PRAGMA application_id"); err != nil || id != 0 {
			return err
		}
		if err := sqlitetx.Script(conn, schema); err != nil {
			return err
		}
		err := sqlitex.Execute(conn, "INSERT INTO meta (id, format, secret) VALUES (1, ?, ?)",
			&sqlitex.ExecOptions{Args: []any{format, newSecret()}})
		if err != nil {
			return err
		}
		return sqlitex.ExecuteTransient(conn, fmt.Sprintf("PRAGMA application_id = %d", applicationID), nil)
	})
}

func resultInt(conn *sqlite.Conn, query string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			n = row.ColumnInt64(0)
			return nil
		},
	})
	return n, err
}
