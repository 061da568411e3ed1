package simulation

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/belltower/belltower/keys"
)

// ring seals as package keys does, but that keys come from the seed, and nonces
// from what is sealed, so that the log is the same byte for byte.
type ring struct {
	seed []byte
	mu   sync.Mutex
	last int64
}

func (r *ring) Take(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last, nil
}

func (r *ring) Digest(purpose string, data []byte) []byte {
	mac := hmac.New(sha256.New, r.seed)
	fmt.Fprintf(mac, "%s\x00%s", purpose, data)
	return mac.Sum(nil)
}

func (r *ring) aead(key int64) (cipher.AEAD, error) {
	block, err := aes.NewCipher(r.Digest("key", fmt.Append(nil, key)))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (r *ring) Seal(key int64, plain, bound []byte) ([]byte, error) {
	aead, err := r.aead(key)
	if err != nil {
		return nil, err
	}
	nonce := r.Digest("nonce", fmt.Appendf(nil, "%d %x %x", key, plain, bound))[:aead.NonceSize()]
	return aead.Seal(nonce, nonce, plain, bound), nil
}

func (r *ring) Open(key int64, sealed, bound []byte) ([]byte, bool, error) {
	aead, err := r.aead(key)
	if err != nil {
		return nil, false, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, false, keys.ErrTampered
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], bound)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", keys.ErrTampered, err)
	}
	return plain, true, nil
}

// ids are the fact ids of one process. Each stream has its own row, as streams
// are written concurrently.
type ids struct {
	ring    *ring
	process int
	mu      sync.Mutex
	drawn   map[string]int
}

func (i *ids) next(stream string) uuid.UUID {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.drawn[stream]++
	return uuid.NewSHA1(uuid.Nil, i.ring.Digest("fact", fmt.Appendf(nil, "%s %d %d", stream, i.process, i.drawn[stream])))
}
