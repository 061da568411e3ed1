package keys

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// erased stands where a key was. It is as long as a key so that SQLite
// overwrites it in place: no page is rebuilt, which could leave a copy of another
// key in its unused part.
var erased [keySize]byte

// Erase overwrites a key for good: once it returns nil, Open says ok = false for
// all that was sealed with it, also after a crash. In a file, the key is then in
// no byte of it; a server of a database keeps it for a while in what it recovers
// and is backed up from. Another ring on the same keys opens on with what it has
// in memory. Erasing again does the same. The error matches ErrUnknownKey for a
// number that was never given out, and ErrUnavailable when it can't be
// written now; then the key may already be unusable, but calling again is what
// makes sure. ctx is looked at only before anything is changed.
func (r *Ring) Erase(ctx context.Context, key int64) error {
	if ctx.Err() != nil {
		return fmt.Errorf("erase key %d: %w", key, context.Cause(ctx))
	}
	r.using.Lock()
	defer r.using.Unlock()
	if r.storage == nil {
		return ErrClosed
	}
	if r.waits(key) {
		return fmt.Errorf("erase key %d: %w", key, ErrUnknownKey)
	}
	found, err := r.storage.erase(key)
	if found {
		r.cache.put(key, nil)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: erase key %d: %w", ErrUnavailable, key, err)
	case !found:
		return fmt.Errorf("erase key %d: %w", key, ErrUnknownKey)
	}
	return nil
}

// waits reports whether a key is still to be taken.
func (r *Ring) waits(number int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, found := slices.BinarySearchFunc(r.ready, number, func(k ready, n int64) int { return cmp.Compare(k.number, n) })
	return found
}
