package keys

import (
	"container/list"
	"crypto/cipher"
	"sync"
)

// cacheSize bounds the ciphers kept ready, at about 1 KiB each.
const cacheSize = 16 << 10

// cache holds the ciphers that were used last, by number; a nil cipher is that
// of an erased key. It may be used concurrently.
type cache struct {
	mu    sync.Mutex
	size  int
	byKey map[int64]*list.Element
	used  *list.List // of cached, the latest first
}

type cached struct {
	number int64
	aead   cipher.AEAD
}

func newCache(size int) *cache {
	return &cache{size: size, byKey: map[int64]*list.Element{}, used: list.New()}
}

func (c *cache) get(number int64) (aead cipher.AEAD, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[number]
	if !ok {
		return nil, false
	}
	c.used.MoveToFront(e)
	return e.Value.(*cached).aead, true
}

func (c *cache) put(number int64, aead cipher.AEAD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[number]; ok {
		e.Value.(*cached).aead = aead
		c.used.MoveToFront(e)
		return
	}
	if c.used.Len() >= c.size {
		oldest := c.used.Back()
		delete(c.byKey, oldest.Value.(*cached).number)
		c.used.Remove(oldest)
	}
	c.byKey[number] = c.used.PushFront(&cached{number, aead})
}
