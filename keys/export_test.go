package keys

import (
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// BatchSize is how many keys are made at a time.
const BatchSize = batchSize

// Forget empties the cache, as a long time would.
func (r *Ring) Forget() { r.cache = newCache(cacheSize) }

// Shrink bounds the cache.
func (r *Ring) Shrink(size int) { r.cache = newCache(size) }

// Cached is how many ciphers are kept.
func (r *Ring) Cached() int { return r.cache.used.Len() }

// Exec runs SQL on the ring's own connection.
func (r *Ring) Exec(sql string) error {
	return r.withConn(func(conn *sqlite.Conn) error { return sqlitex.ExecuteTransient(conn, sql, nil) })
}

// Key is the bytes of a key as they are on disk.
func (r *Ring) Key(number int64) (key []byte, err error) {
	err = r.withConn(func(conn *sqlite.Conn) error {
		key = make([]byte, keySize)
		return sqlitex.Execute(conn, "SELECT key FROM keys WHERE number = ?", &sqlitex.ExecOptions{
			Args: []any{number},
			ResultFunc: func(row *sqlite.Stmt) error {
				row.ColumnBytes(0, key)
				return nil
			},
		})
	})
	return key, err
}

// Conn is the ring's connection, to compare.
func (r *Ring) Conn() *sqlite.Conn {
	r.connMu.Lock()
	defer r.connMu.Unlock()
	return r.conn
}

// Hold keeps the database to itself from when it closes held until release is
// closed.
func (r *Ring) Hold(held chan<- struct{}, release <-chan struct{}) {
	r.connMu.Lock()
	defer r.connMu.Unlock()
	close(held)
	<-release
}

// FailBatches lets every batch from now on fail.
func (r *Ring) FailBatches(code sqlite.ResultCode) {
	r.withConn(func(*sqlite.Conn) error {
		r.makeBatch = func(*sqlite.Conn) ([]ready, error) { return nil, code.ToError() }
		return nil
	})
}

// HealBatches undoes FailBatches.
func (r *Ring) HealBatches() {
	r.withConn(func(*sqlite.Conn) error {
		r.makeBatch = makeBatch
		return nil
	})
}

// Refilling reports whether a batch is in the making.
func (r *Ring) Refilling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refill != nil
}
