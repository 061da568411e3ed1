package keys

import (
	"context"
	"errors"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// erased stands where a key was. It is as long as a key so that SQLite
// overwrites it in place: no page is rebuilt, which could leave a copy of another
// key in its unused part.
var erased [keySize]byte

// Erase overwrites a key for good: once it returns nil, Open says ok = false for
// all that was sealed with it, also after a crash, and the key is in no byte of
// the files. Erasing again does the same. The error matches ErrUnknownKey for a
// number that was never given out, and ErrUnavailable when the files can't be
// written now; then the key may already be unusable, but calling again is what
// makes sure. ctx is looked at only before anything is changed.
func (r *Ring) Erase(ctx context.Context, key int64) error {
	if ctx.Err() != nil {
		return fmt.Errorf("erase key %d: %w", key, context.Cause(ctx))
	}
	return r.change(func(conn *sqlite.Conn) error {
		if r.waits(key) {
			return fmt.Errorf("erase key %d: %w", key, ErrUnknownKey)
		}
		err := sqlitex.Execute(conn, "UPDATE keys SET key = ? WHERE number = ?",
			&sqlitex.ExecOptions{Args: []any{erased[:], key}})
		if err != nil {
			return fmt.Errorf("%w: erase key %d: %w", ErrUnavailable, key, err)
		}
		if conn.Changes() == 0 {
			return fmt.Errorf("erase key %d: %w", key, ErrUnknownKey)
		}
		r.cache.put(key, nil)
		if err := emptyWAL(conn); err != nil {
			return fmt.Errorf("%w: erase key %d from the write-ahead log: %w", ErrUnavailable, key, err)
		}
		return nil
	})
}

// waits reports whether a key is still to be taken.
func (r *Ring) waits(number int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ready) > 0 && number >= r.ready[0].number
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
