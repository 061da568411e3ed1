package keys

import (
	"errors"
	"fmt"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/internal/sqlitetx"
)

// file is keys.db, or one in memory.
type file struct {
	path string // empty in memory

	mu      sync.Mutex
	conn    *sqlite.Conn
	suspect bool // a sync failed on conn, or what was left of another is still to be moved

	insert func(*sqlite.Conn, [][keySize]byte) (first int64, err error) // tests put faults here
}

func (f *file) read(number int64) (key [keySize]byte, found bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = sqlitex.Execute(f.conn, "SELECT key FROM keys WHERE number = ?", &sqlitex.ExecOptions{
		Args: []any{number},
		ResultFunc: func(row *sqlite.Stmt) error {
			found = true
			row.ColumnBytes(0, key[:])
			return nil
		},
	})
	return key, found, err
}

func (f *file) add(keys [][keySize]byte) (first int64, err error) {
	err = f.change(func(conn *sqlite.Conn) (err error) {
		first, err = f.insert(conn, keys)
		return err
	})
	return first, err
}

// insert puts keys on disk. SQLite numbers them one after another behind the
// highest that is there.
func insert(conn *sqlite.Conn, keys [][keySize]byte) (first int64, err error) {
	err = sqlitetx.Immediate(conn, func() error {
		statement, err := conn.Prepare("INSERT INTO keys (key) VALUES (?)")
		if err != nil {
			return err
		}
		for i, key := range keys {
			statement.BindBytes(1, key[:])
			if _, err := statement.Step(); err != nil {
				return err
			}
			if err := statement.Reset(); err != nil {
				return err
			}
			if i == 0 {
				first = conn.LastInsertRowID()
			}
		}
		return nil
	})
	return first, err
}

func (f *file) erase(number int64) (found bool, err error) {
	err = f.change(func(conn *sqlite.Conn) error {
		err := sqlitex.Execute(conn, "UPDATE keys SET key = ? WHERE number = ?",
			&sqlitex.ExecOptions{Args: []any{erased[:], number}})
		if err != nil || conn.Changes() == 0 {
			return err
		}
		found = true
		if err := emptyWAL(conn); err != nil {
			return fmt.Errorf("from the write-ahead log: %w", err)
		}
		return nil
	})
	return found, err
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.suspect {
		err = f.renew() // closing syncs
	}
	return errors.Join(err, f.conn.Close())
}

// change runs do while nobody else uses the connection. After a failed sync nobody
// knows what is on disk, and the next one may succeed without having written it:
// so that connection writes nothing more, and the next change opens another first,
// as it does where a full disk kept Open from moving what another process had left.
func (f *file) change(do func(*sqlite.Conn) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.suspect {
		if err := f.renew(); err != nil {
			return fmt.Errorf("open the file anew: %w", err)
		}
	}
	err := do(f.conn)
	switch sqlite.ErrCode(err) {
	case sqlite.ResultIOErrFsync, sqlite.ResultIOErrDirFsync:
		f.suspect = true
	}
	return err
}

// renew puts a new connection in the place of one whose sync failed. The old one
// is closed last: as long as it is open, SQLite knows which of the write-ahead
// log's pages were never committed, and takes them for nothing.
func (f *file) renew() error {
	fresh, err := openFile(f.path, true)
	if err != nil {
		return err
	}
	if err := move(fresh); err != nil {
		return errors.Join(err, fresh.Close())
	}
	err = f.conn.Close()
	f.conn, f.suspect = fresh, false
	return err
}

// emptyWAL moves all pages into the file itself and cuts the write-ahead log to
// nothing: older images of a page stand in it until then.
func emptyWAL(conn *sqlite.Conn) error {
	busy, err := checkpoint(conn)
	if err == nil && busy {
		err = errors.New("another program is reading the file")
	}
	return err
}

// checkpoint moves the pages of the write-ahead log into the file, all of them
// unless another program is busy with it.
func checkpoint(conn *sqlite.Conn) (busy bool, err error) {
	err = sqlitex.Execute(conn, "PRAGMA wal_checkpoint(TRUNCATE)", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			busy = row.ColumnBool(0)
			return nil
		},
	})
	return busy, err
}
