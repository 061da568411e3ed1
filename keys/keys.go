// Package keys seals personal data, each person's with an AES-256-GCM key of
// their own, and forgets a person by erasing that key. The keys stand in keys.db,
// or in a database that instances share, apart from the log, so that what the log
// keeps for ever can't be read without them. Losing them is losing every name and
// address: back them up with the log, and keep no backup longer than an erased
// person may linger in it.
package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

var (
	// ErrTampered says that sealed bytes are not what Seal returned for this key
	// and bound.
	ErrTampered = errors.New("keys: sealed data is damaged, or belongs elsewhere")
	// ErrUnknownKey says that the ring has never given out a key of this number.
	ErrUnknownKey = errors.New("keys: no key of this number")
	// ErrErased says that nothing can be sealed with an erased key.
	ErrErased = errors.New("keys: the key was erased")
	// ErrUnavailable says that the keys can't be read or written at present: the
	// disk is full, another program holds the file, or the server of the database
	// doesn't answer. The same call may succeed later.
	ErrUnavailable = errors.New("keys: they can't be read or written now")
	// ErrClosed says that the ring was closed.
	ErrClosed = errors.New("keys: the ring is closed")
)

const keySize = 32 // AES-256

// Ring is the keys of one log. Its methods may be called concurrently. Rings on
// one database never take the same key.
type Ring struct {
	secret   []byte   // of Digest
	purposes sync.Map // purpose → its key
	cache    *cache

	// using is held to write while a key is erased, or the ring is closed, so that
	// no key is remembered that was read before.
	using   sync.RWMutex
	storage storage // nil once closed

	mu      sync.Mutex // never held over I/O
	closed  bool
	ready   []ready // durable and not yet taken, in the order of their numbers
	refill  *refill // nil when none is under way
	refills sync.WaitGroup
}

// storage is where the keys of a ring stand. Its methods may be called
// concurrently. What they have added or erased is durable when they return nil.
// A key of zeros was erased. Keys are never removed, so that no number comes twice.
type storage interface {
	// read gives a key; found is false for a number that none was added with.
	read(number int64) (key [keySize]byte, found bool, err error)
	// add adds keys, and tells the number of the first: the next ones follow it.
	add(keys [][keySize]byte) (first int64, err error)
	// erase overwrites a key; found is false where there is none. Where it is
	// found and there is an error too, it can't be read any more, and may be back
	// after a crash.
	erase(number int64) (found bool, err error)
	close() error
}

func newRing(s storage, secret []byte) *Ring {
	return &Ring{storage: s, secret: secret, cache: newCache(cacheSize)}
}

// Seal encrypts plain with the key of a number, bound to what it belongs to: only
// Open with the same bound returns it. A random nonce comes first, so sealing
// the same twice gives different bytes, 28 longer than plain. The error matches
// ErrUnknownKey or ErrErased where the number is the cause.
func (r *Ring) Seal(key int64, plain, bound []byte) ([]byte, error) {
	aead, err := r.aead(key)
	if err != nil {
		return nil, err
	}
	if aead == nil {
		return nil, fmt.Errorf("seal with key %d: %w", key, ErrErased)
	}
	return aead.Seal(make([]byte, 0, len(plain)+aead.Overhead()), nil, plain, bound), nil
}

// Open decrypts what Seal returned. ok is false when the key was erased, which
// is no error. The error matches ErrTampered when sealed or bound is not what it
// was, and ErrUnknownKey when no such key was ever given out.
func (r *Ring) Open(key int64, sealed, bound []byte) (plain []byte, ok bool, err error) {
	aead, err := r.aead(key)
	if err != nil || aead == nil {
		return nil, false, err
	}
	plain, err = aead.Open(make([]byte, 0, max(0, len(sealed)-aead.Overhead())), nil, sealed, bound)
	if err != nil {
		return nil, false, fmt.Errorf("open with key %d: %w", key, ErrTampered)
	}
	return plain, true, nil
}

// Digest is a 32-byte HMAC-SHA-256 of data under a secret that never leaves the
// ring: equal data can be found without keeping it, and can't be guessed without
// the ring. Digests of different purposes never match.
func (r *Ring) Digest(purpose string, data []byte) []byte {
	// A key for each purpose, so that no choice of data leads from one purpose
	// to another. Purposes are few.
	key, ok := r.purposes.Load(purpose)
	if !ok {
		key, _ = r.purposes.LoadOrStore(purpose, sum(r.secret, []byte(purpose)))
	}
	return sum(key.([]byte), data)
}

// Close waits for a refill under way and lets go of the file, or the database.
// After it every method but Digest answers ErrClosed, or from what is in memory.
// Closing again does nothing.
func (r *Ring) Close() error {
	r.mu.Lock()
	r.closed, r.ready = true, nil
	r.mu.Unlock()
	r.refills.Wait()

	r.using.Lock()
	defer r.using.Unlock()
	if r.storage == nil {
		return nil
	}
	err := r.storage.close()
	r.storage = nil
	if err != nil {
		return fmt.Errorf("close the keys: %w", err)
	}
	return nil
}

// aead is the cipher of a key, nil for one that was erased.
func (r *Ring) aead(number int64) (cipher.AEAD, error) {
	if aead, ok := r.cache.get(number); ok {
		return aead, nil
	}
	r.using.RLock()
	defer r.using.RUnlock()
	if r.storage == nil {
		return nil, ErrClosed
	}
	key, found, err := r.storage.read(number)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read key %d: %w", number, err)
	case !found:
		return nil, fmt.Errorf("read key %d: %w", number, ErrUnknownKey)
	}
	var aead cipher.AEAD
	if key != erased {
		aead = newAEAD(key[:])
	}
	r.cache.put(number, aead)
	return aead, nil
}

// newAEAD makes the cipher of a key, which draws its own random nonces. It is
// only given keys of the right length, so nothing in it can fail.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func sum(key, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}
