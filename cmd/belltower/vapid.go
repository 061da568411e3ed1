package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/belltower/belltower/channels/push"
	"github.com/belltower/belltower/internal/durable"
)

// vapidName is the file that keeps the key of web push, beside keys.db, so that
// instances that share a store are one to browsers.
const vapidName = "vapid.pem"

// vapidFile is the key of web push, read when it is first asked for. Its methods
// may be called concurrently.
type vapidFile struct {
	path string

	mu  sync.Mutex
	key *push.VAPIDKey
}

// read gives the key. That there is none yet is fs.ErrNotExist.
func (v *vapidFile) read() (*push.VAPIDKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.key != nil {
		return v.key, nil
	}
	text, err := os.ReadFile(v.path)
	if err != nil {
		return nil, fmt.Errorf("read the key of web push, which 'belltower serve' makes at its first start: %w", err)
	}
	key, err := push.ReadVAPIDKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; put back its backup, or delete it: then browsers have to subscribe anew", v.path, err)
	}
	v.key = key
	return key, nil
}

// keep makes the key where there is none, readable by its owner only.
func (v *vapidFile) keep() error {
	if _, err := v.read(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := push.MakeVAPIDKey()
	if err != nil {
		return fmt.Errorf("web push: %w", err)
	}
	text, err := key.PEM()
	if err != nil {
		return fmt.Errorf("web push: %w", err)
	}
	draft := v.path + "." + rand.Text() + ".new"
	defer os.Remove(draft) //nolint:errcheck // what is left over does no harm
	if err := writeSynced(draft, string(text)); err != nil {
		return fmt.Errorf("keep the key of web push: %w", err)
	}
	// A link, unlike a rename, leaves what another instance has made meanwhile.
	if err := os.Link(draft, v.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the key of web push: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(v.path)); err != nil {
		return fmt.Errorf("keep the key of web push: %w", err)
	}
	_, err = v.read()
	return err
}
