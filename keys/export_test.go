package keys

import (
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// BatchSize is how many keys are made at a time.
const BatchSize = batchSize

// MoveAt is Move, which calls at on its way: what that returns ends it.
var MoveAt = moveAt

// Forget empties the cache, as a long time would.
func (r *Ring) Forget() { r.cache = newCache(cacheSize) }

// Shrink bounds the cache.
func (r *Ring) Shrink(size int) { r.cache = newCache(size) }

// Cached is how many ciphers are kept.
func (r *Ring) Cached() int { return r.cache.used.Len() }

func (r *Ring) file() *file { return r.storage.(*file) }

// Exec runs SQL on the ring's own connection.
func (r *Ring) Exec(sql string) error {
	return r.file().change(func(conn *sqlite.Conn) error { return sqlitex.ExecuteTransient(conn, sql, nil) })
}

// Key is the bytes of a key as they are stored.
func (r *Ring) Key(number int64) (key []byte, err error) {
	stored, _, err := r.storage.read(number)
	return stored[:], err
}

// Conn is the ring's connection, to compare.
func (r *Ring) Conn() *sqlite.Conn {
	f := r.file()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conn
}

// Hold keeps the file to itself from when it closes held until release is closed.
func (r *Ring) Hold(held chan<- struct{}, release <-chan struct{}) {
	f := r.file()
	f.mu.Lock()
	defer f.mu.Unlock()
	close(held)
	<-release
}

// FailBatches lets every batch from now on fail.
func (r *Ring) FailBatches(code sqlite.ResultCode) {
	f := r.file()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.insert = func(*sqlite.Conn, [][keySize]byte) (int64, error) { return 0, code.ToError() }
}

// HealBatches undoes FailBatches.
func (r *Ring) HealBatches() {
	f := r.file()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.insert = insert
}

// Refilling reports whether a batch is in the making.
func (r *Ring) Refilling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refill != nil
}
