// Package keys seals personal data, each person's with an AES-256-GCM key of
// their own, and forgets a person by erasing that key. The keys stand in keys.db,
// apart from the log, so that what the log keeps for ever can't be read without
// them. Losing keys.db is losing every name and address: back it up with the
// log, and keep no backup longer than an erased person may linger in it.
package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

var (
	// ErrTampered says that sealed bytes are not what Seal returned for this key
	// and bound.
	ErrTampered = errors.New("keys: sealed data is damaged, or belongs elsewhere")
	// ErrUnknownKey says that the ring has never given out a key of this number.
	ErrUnknownKey = errors.New("keys: no key of this number")
	// ErrErased says that nothing can be sealed with an erased key.
	ErrErased = errors.New("keys: the key was erased")
	// ErrUnavailable says that keys.db can't be written at present: the disk is
	// full, or another program holds the file. The same call may succeed later.
	ErrUnavailable = errors.New("keys: the key file can't be written")
	// ErrClosed says that the ring was closed.
	ErrClosed = errors.New("keys: the ring is closed")
)

const keySize = 32 // AES-256

// Ring is the keys of one data folder. Its methods may be called concurrently;
// one process at a time may hold a folder's ring, which the folder's owner sees
// to.
type Ring struct {
	secret []byte // of Digest
	cache  *cache

	path string // of the file, empty without one

	connMu  sync.Mutex
	conn    *sqlite.Conn // nil once closed
	suspect bool         // a sync failed on conn, or what was left of another is still to be moved

	makeBatch func(*sqlite.Conn) ([]ready, error) // tests put faults here

	mu      sync.Mutex // never held over I/O
	closed  bool
	ready   []ready // on disk and not yet taken, in the order of their numbers
	refill  *refill // nil when none is under way
	refills sync.WaitGroup
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
	// to another.
	return sum(sum(r.secret, []byte(purpose)), data)
}

// Close waits for a refill under way and closes the file. After it every method
// but Digest answers ErrClosed, or from what is in memory. Closing again does
// nothing.
func (r *Ring) Close() error {
	r.mu.Lock()
	r.closed, r.ready = true, nil
	r.mu.Unlock()
	r.refills.Wait()

	r.connMu.Lock()
	defer r.connMu.Unlock()
	if r.conn == nil {
		return nil
	}
	var err error
	if r.suspect {
		err = r.renew() // closing syncs
	}
	err = errors.Join(err, r.conn.Close())
	r.conn = nil
	if err != nil {
		return fmt.Errorf("close the key file: %w", err)
	}
	return nil
}

// aead is the cipher of a key, nil for one that was erased.
func (r *Ring) aead(number int64) (cipher.AEAD, error) {
	if aead, ok := r.cache.get(number); ok {
		return aead, nil
	}
	var aead cipher.AEAD
	err := r.withConn(func(conn *sqlite.Conn) error {
		found := false
		err := sqlitex.Execute(conn, "SELECT key FROM keys WHERE number = ?", &sqlitex.ExecOptions{
			Args: []any{number},
			ResultFunc: func(row *sqlite.Stmt) error {
				found = true
				var key [keySize]byte
				row.ColumnBytes(0, key[:])
				if key == erased {
					return nil
				}
				aead = newAEAD(key[:])
				return nil
			},
		})
		switch {
		case err != nil:
			return fmt.Errorf("read key %d: %w", number, err)
		case !found:
			return fmt.Errorf("read key %d: %w", number, ErrUnknownKey)
		}
		// Under the connection's lock, so that no Erase comes between reading a
		// key and remembering it.
		r.cache.put(number, aead)
		return nil
	})
	return aead, err
}

// withConn runs do while nobody else uses the connection.
func (r *Ring) withConn(do func(*sqlite.Conn) error) error {
	r.connMu.Lock()
	defer r.connMu.Unlock()
	if r.conn == nil {
		return ErrClosed
	}
	return do(r.conn)
}

// change is withConn for what writes. After a failed sync nobody knows what is on
// disk, and the next one may succeed without having written it: so that
// connection writes nothing more, and the next change opens another first, as it
// does where a full disk kept Open from moving what another process had left.
func (r *Ring) change(do func(*sqlite.Conn) error) error {
	return r.withConn(func(conn *sqlite.Conn) error {
		if r.suspect {
			if err := r.renew(); err != nil {
				return fmt.Errorf("%w: open it anew: %w", ErrUnavailable, err)
			}
		}
		err := do(r.conn)
		switch sqlite.ErrCode(err) {
		case sqlite.ResultIOErrFsync, sqlite.ResultIOErrDirFsync:
			r.suspect = true
		}
		return err
	})
}

// renew puts a new connection in the place of one whose sync failed. The old one
// is closed last: as long as it is open, SQLite knows which of the write-ahead
// log's pages were never committed, and takes them for nothing.
func (r *Ring) renew() error {
	fresh, err := openFile(r.path, true)
	if err != nil {
		return err
	}
	if err := move(fresh); err != nil {
		return errors.Join(err, fresh.Close())
	}
	err = r.conn.Close()
	r.conn, r.suspect = fresh, false
	return err
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
