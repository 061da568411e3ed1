package keys

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqlitetx"
)

var (
	// ErrInUse says that somebody else has the file open.
	ErrInUse = errors.New("the keys are in use by another belltower")
	// ErrOtherKeys says that the database has keys that aren't those of the file.
	ErrOtherKeys = errors.New("the database has other keys")
)

// MovedError says that the keys of a file are in a database now, or on their way.
type MovedError struct {
	To   string // the database, without its password
	Done bool   // nothing is left in the file
}

func (e *MovedError) Error() string {
	if !e.Done {
		return "the keys are being moved to " + e.To
	}
	return "the keys were moved to " + e.To
}

// The mark in a file whose keys are moved. From the moment it is there the file
// opens for nobody, so that the keys are never given out, or erased, in two places.
const markSchema = `CREATE TABLE moved (id INTEGER PRIMARY KEY CHECK (id = 1), place TEXT NOT NULL, done INTEGER NOT NULL) STRICT`

// moveSlice is how many keys are read at once.
const moveSlice = 512

// Move moves the keys of the file in dir, erased ones too, into a database of a
// server that has none, under the same numbers and with the same secret, and
// leaves no byte of them in the file. It marks the file, copies everything in one
// transaction, reads it back, and empties the file; interrupted or killed at any
// point, it is finished by calling it again with the same database. Where nothing
// was copied, an error takes the mark away. It tells how many keys
// there were; 0 where all was done before. The error matches ErrInUse,
// ErrOtherKeys, ErrUnavailable, *MovedError (to another database), or what Open and
// OpenDatabase say.
func Move(ctx context.Context, dir string, to sqldb.Target) (keys int64, err error) {
	return moveAt(ctx, dir, to, func(string) error { return nil })
}

// moveAt is Move with a place for tests to end it at.
func moveAt(ctx context.Context, dir string, to sqldb.Target, at func(step string) error) (n int64, err error) {
	path := filepath.Join(dir, FileName)
	conn, err := openAlone(path)
	if err != nil {
		return 0, fmt.Errorf("open the keys in %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	db, err := sqldb.Open(ctx, to, sqldb.Options{Connections: connections, IdleTransaction: time.Minute})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s := &server{db: db}
	s.ended, s.end = context.WithCancel(ctx)
	defer func() { err = errors.Join(err, s.close()) }()
	m := &moving{from: conn, to: s, place: to.String(), at: at}
	if err := m.move(ctx); err != nil {
		return 0, fmt.Errorf("move the keys of %s to %s: %w", path, to, err)
	}
	return m.keys, nil
}

// openAlone opens the file for one process, until the connection is closed.
func openAlone(path string) (*sqlite.Conn, error) {
	return connect(path, true, func(conn *sqlite.Conn) error {
		conn.SetBusyTimeout(0)
		// A connection of another holds a shared lock for as long as it is open.
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA locking_mode = EXCLUSIVE", nil); err != nil {
			return err
		}
		for _, do := range []func(*sqlite.Conn) error{identify, setUp, move} {
			if err := do(conn); sqlite.ErrCode(err).ToPrimary() == sqlite.ResultBusy {
				return ErrInUse
			} else if err != nil {
				return err
			}
		}
		if id, err := resultInt(conn, "PRAGMA application_id"); err != nil || id == 0 {
			return errors.Join(err, fmt.Errorf("%w: the file is empty", ErrMissing))
		}
		return nil
	})
}

// moving is one run of Move.
type moving struct {
	from  *sqlite.Conn
	to    *server
	place string
	at    func(step string) error
	keys  int64
}

func (m *moving) move(ctx context.Context) error {
	mark, err := readMark(m.from)
	if err != nil {
		return err
	}
	there, err := m.to.secret(ctx)
	copied := err == nil
	if err != nil && !errors.Is(err, ErrMissing) {
		return err
	}
	if mark != nil && mark.Done {
		switch {
		case mark.To != m.place:
			return mark
		case !copied:
			return fmt.Errorf("they were moved there before: put back the backup of the database: %w", err)
		}
		return emptyWAL(m.from) // it may have ended just before that
	}
	secret, err := fileSecret(m.from)
	switch {
	case err != nil:
		return err
	case copied && !bytes.Equal(there, secret):
		if mark != nil && mark.To == m.place { // nothing was copied there, nor can it be
			return errors.Join(ErrOtherKeys, m.unmark())
		}
		return ErrOtherKeys
	case !copied && mark != nil && mark.To != m.place:
		return mark
	}
	if copied && mark == nil { // a backup that was put back, or a copy
		if err := m.compare(ctx); err != nil {
			return err
		}
	}
	if mark == nil {
		if err := m.to.tables(ctx); err != nil {
			return fmt.Errorf("make the tables: %w", err)
		}
		if err := m.mark(); err != nil {
			return fmt.Errorf("mark the file: %w", err)
		}
	}
	if err := m.at("marked"); err != nil {
		return err
	}
	if !copied {
		if err := m.copy(ctx, secret); err != nil {
			return err
		}
	}
	if err := m.at("copied"); err != nil {
		return err
	}
	if err := m.compare(ctx); err != nil {
		return err
	}
	if err := m.empty(); err != nil {
		return fmt.Errorf("empty the file: %w", err)
	}
	if err := m.at("emptied"); err != nil {
		return err
	}
	return emptyWAL(m.from)
}

// copy puts the secret and all keys on the server, in one transaction. Unless it
// may have been committed, the file is as it was when it fails.
func (m *moving) copy(ctx context.Context, secret []byte) error {
	committing := false
	err := m.to.transact(ctx, func(tx *sql.Tx) error {
		last, err := resultInt(m.from, "SELECT coalesce(max(number), 0) FROM keys")
		if err != nil {
			return err
		}
		// The secret is first: who begins keys there at the same time waits for it, or is before.
		_, err = tx.ExecContext(ctx, m.to.db.Bind(prefix, "INSERT INTO {keyring} (id, format, secret, counter) VALUES (1, ?, ?, ?)"), format, withSum(secret), last)
		if err != nil {
			return err
		}
		err = m.slices(func(slice []numbered) error {
			args := make([]any, 0, 2*len(slice))
			for _, k := range slice {
				args = append(args, k.number, k.key[:])
			}
			_, err := tx.ExecContext(ctx, m.to.db.Bind(prefix, "INSERT INTO {keys} (number, sealing) VALUES "+sqldb.Values(len(slice), 2)), args...)
			return err
		})
		if err != nil {
			return err
		}
		committing = true
		return m.at("copying")
	})
	switch {
	case err == nil:
		return nil
	case committing:
		return fmt.Errorf("copy them: whether that was done is not known, so that nobody can use the file now; do the same again: %w", err)
	case sqldb.Duplicate(err):
		err = ErrOtherKeys
	}
	return fmt.Errorf("copy them: %w", errors.Join(err, m.unmark()))
}

// compare holds the file's keys against those on the server, where some may have been
// erased, and others added, since they were copied.
func (m *moving) compare(ctx context.Context) error {
	m.keys = 0
	var counter int64
	if err := m.to.db.QueryRowContext(ctx, m.to.db.Bind(prefix, "SELECT counter FROM {keyring} WHERE id = 1")).Scan(&counter); err != nil {
		return fmt.Errorf("read them back: %w", err)
	}
	return m.slices(func(slice []numbered) error {
		there, err := m.stored(ctx, slice[0].number, slice[len(slice)-1].number)
		if err != nil {
			return fmt.Errorf("read them back: %w", err)
		}
		for _, k := range slice {
			if is, ok := there[k.number]; !ok || is != k.key && is != erased || k.number > counter {
				return fmt.Errorf("%w: key %d is not the one of the file, of which a copy has gone on by itself", ErrOtherKeys, k.number)
			}
		}
		m.keys += int64(len(slice))
		return nil
	})
}

// stored are the keys on the server with these numbers.
func (m *moving) stored(ctx context.Context, first, last int64) (map[int64][keySize]byte, error) {
	rows, err := m.to.db.QueryContext(ctx, m.to.db.Bind(prefix, "SELECT number, sealing FROM {keys} WHERE number BETWEEN ? AND ?"), first, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	all := map[int64][keySize]byte{}
	for rows.Next() {
		var number int64
		var key []byte
		if err := rows.Scan(&number, &key); err != nil {
			return nil, err
		}
		if len(key) != keySize {
			return nil, fmt.Errorf("%w: key %d has %d bytes", ErrDamaged, number, len(key))
		}
		all[number] = [keySize]byte(key)
	}
	return all, rows.Err()
}

type numbered struct {
	number int64
	key    [keySize]byte
}

// slices goes through the file's keys by their numbers.
func (m *moving) slices(do func([]numbered) error) error {
	for after := int64(0); ; {
		var slice []numbered
		err := sqlitex.Execute(m.from, "SELECT number, key FROM keys WHERE number > ? ORDER BY number LIMIT ?", &sqlitex.ExecOptions{
			Args: []any{after, moveSlice},
			ResultFunc: func(row *sqlite.Stmt) error {
				k := numbered{number: row.ColumnInt64(0)}
				row.ColumnBytes(1, k.key[:])
				slice = append(slice, k)
				return nil
			},
		})
		if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
		if len(slice) == 0 {
			return nil
		}
		if err := do(slice); err != nil {
			return err
		}
		after = slice[len(slice)-1].number
	}
}

// mark keeps everybody out of the file from now on.
func (m *moving) mark() error {
	return sqlitetx.Immediate(m.from, func() error {
		if err := sqlitex.ExecuteTransient(m.from, markSchema, nil); err != nil {
			return err
		}
		return sqlitex.ExecuteTransient(m.from, "INSERT INTO moved (id, place, done) VALUES (1, ?, 0)", &sqlitex.ExecOptions{Args: []any{m.place}})
	})
}

// unmark gives the file back.
func (m *moving) unmark() error {
	if err := sqlitex.ExecuteTransient(m.from, "DROP TABLE moved", nil); err != nil {
		return fmt.Errorf("take the mark off the file: %w", err)
	}
	return nil
}

// empty overwrites all keys and the secret.
func (m *moving) empty() error {
	return sqlitetx.Immediate(m.from, func() error {
		return sqlitetx.Script(m.from, "DELETE FROM keys; UPDATE meta SET secret = zeroblob(length(secret)); UPDATE moved SET done = 1")
	})
}

// readMark reads whether the keys of a file were moved, or are being moved; nil: neither.
func readMark(conn *sqlite.Conn) (mark *MovedError, err error) {
	there, err := resultInt(conn, "SELECT count(*) FROM sqlite_schema WHERE name = 'moved'")
	if err != nil || there == 0 {
		return nil, err
	}
	err = sqlitex.ExecuteTransient(conn, "SELECT place, done FROM moved", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			mark = &MovedError{To: row.ColumnText(0), Done: row.ColumnInt(1) == 1}
			return nil
		},
	})
	if err == nil && mark == nil {
		err = fmt.Errorf("%w: the mark of a move is empty", ErrDamaged)
	}
	return mark, err
}
