package keys

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
)

// Keys are made batchSize at a time, which costs one sync; the next batch is
// begun when fewer than lowWater are left, so that takers rarely wait for it.
const (
	batchSize = 512
	lowWater  = batchSize / 2
)

// ready is a key that is durable and waits to be taken.
type ready struct {
	number int64
	aead   cipher.AEAD
}

// refill is one batch in the making; err is set before done is closed.
type refill struct {
	done chan struct{}
	err  error
}

// Take gives out the number of a key that is durable and that no Take has
// returned before, whether in this process or another. Numbers rise, start
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
	err := r.makeBatch()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		f.err = fmt.Errorf("%w: make %d keys: %w", ErrUnavailable, batchSize, err)
	}
	r.refill = nil
	close(f.done)
}

// makeBatch makes fresh keys durable, and only then ready to be taken.
func (r *Ring) makeBatch() error {
	keys := make([][keySize]byte, batchSize)
	batch := make([]ready, batchSize)
	for i := range keys {
		rand.Read(keys[i][:]) // crypto/rand never fails
		batch[i].aead = newAEAD(keys[i][:])
	}
	// So that Erase sees no key that is there before it can see that nobody has
	// taken it.
	r.using.RLock()
	defer r.using.RUnlock()
	if r.storage == nil {
		return ErrClosed
	}
	first, err := r.storage.add(keys)
	if err != nil {
		return err
	}
	for i := range batch {
		batch[i].number = first + int64(i)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = append(r.ready, batch...)
	return nil
}
