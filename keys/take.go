package keys

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Keys are made batchSize at a time, which costs one sync; the next batch is
// begun when fewer than lowWater are left, so that takers rarely wait for it.
const (
	batchSize = 512
	lowWater  = batchSize / 2
)

// ready is a key that is on disk and waits to be taken.
type ready struct {
	number int64
	aead   cipher.AEAD
}

// refill is one batch in the making; err is set before done is closed.
type refill struct {
	done chan struct{}
	err  error
}

// Take gives out the number of a key that is on disk and that no Take has
// returned before, whether in this process or one before it. Numbers rise, start
// at 1 and have gaps. Take waits only when the keys made ahead have run out. The
// error matches ErrUnavailable when no more can be made at present, ErrClosed, or
// ctx's error.
func (r *Ring) Take(ctx context.Context) (int64, error) {
	for {
		number, wait, err := r.take()
		if err != nil || wait == nil {
			return number, err
		}
		select {
		case <-wait.done:
			if wait.err != nil {
				return 0, wait.err
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("take a key: %w", context.Cause(ctx))
		}
	}
}

// take gives out a number, or the refill to wait for where none is left.
func (r *Ring) take() (number int64, wait *refill, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, nil, ErrClosed
	}
	if len(r.ready) <= lowWater && r.refill == nil {
		f := &refill{done: make(chan struct{})}
		r.refill = f
		r.refills.Go(func() { r.run(f) })
	}
	if len(r.ready) == 0 {
		return 0, r.refill, nil
	}
	k := r.ready[0]
	r.ready = r.ready[1:]
	r.cache.put(k.number, k.aead)
	return k.number, nil, nil
}

// run makes a batch and tells those who wait for it.
func (r *Ring) run(f *refill) {
	err := r.change(func(conn *sqlite.Conn) error {
		batch, err := r.makeBatch(conn)
		// Under the connection's lock, so that Erase sees no key on disk before it
		// can see that nobody has taken it.
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ready = append(r.ready, batch...)
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		f.err = fmt.Errorf("%w: make %d keys: %w", ErrUnavailable, batchSize, err)
	}
	r.refill = nil
	close(f.done)
}

// makeBatch puts fresh keys on disk. SQLite numbers them after the highest that
// is there, and rows are never deleted, so no number comes twice.
func makeBatch(conn *sqlite.Conn) (batch []ready, err error) {
	commit, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return nil, err
	}
	defer func() {
		commit(&err)
		if err != nil {
			batch = nil
		}
	}()
	insert := conn.Prep("INSERT INTO keys (key) VALUES (?)")
	var key [keySize]byte
	for range batchSize {
		rand.Read(key[:]) // crypto/rand never fails
		insert.BindBytes(1, key[:])
		if _, err := insert.Step(); err != nil {
			return nil, err
		}
		if err := insert.Reset(); err != nil {
			return nil, err
		}
		batch = append(batch, ready{conn.LastInsertRowID(), newAEAD(key[:])})
	}
	return batch, nil
}
