package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/lease"
)

// embeddedStore is the name of the store in the data folder.
const embeddedStore = "embedded"

// checkStore refuses what names no store.
func checkStore(store string) error {
	switch {
	case store == embeddedStore:
		return nil
	case strings.HasPrefix(store, "esdb://"), strings.HasPrefix(store, "esdb+discover://"):
		return esdb.Check(store)
	}
	return fmt.Errorf("%q is not known; this version has: embedded, and EventStoreDB as esdb://HOST:PORT", store)
}

// openStore opens the log that the settings name, and locks the data folder.
// What it opens, v closes.
func (v *service) openStore(ctx context.Context, s settings) (eventstore.Store, error) {
	if s.store == embeddedStore {
		log, err := embedded.Open(ctx, s.data, embedded.Options{Now: time.Now, Logger: v.logger, Appended: v.measures.appended, Synced: v.measures.synced})
		if errors.Is(err, eventstore.ErrLocked) {
			return nil, fmt.Errorf("the data folder %s is in use by another belltower: %w", s.data, err)
		} else if err != nil {
			return nil, err
		}
		v.closers = append(v.closers, log.Close)
		return log, sharedBefore(ctx, log, s.data)
	}
	unlock, err := lockFolder(s.data)
	if errors.Is(err, eventstore.ErrLocked) {
		return nil, fmt.Errorf("the data folder %s is in use by another belltower; instances that share a store have folders of their own", s.data)
	} else if err != nil {
		return nil, err
	}
	v.closers = append(v.closers, unlock)
	log, err := openESDB(ctx, s, v.logger, v.measures.appended)
	if err != nil {
		return nil, err
	}
	v.closers = append(v.closers, log.Close)
	return log, nil
}

// lockFolder takes the embedded log's own lock, so that either keeps out the
// other; eventstore.ErrLocked: somebody has it.
func lockFolder(data string) (unlock func() error, err error) {
	lock := flock.New(filepath.Join(data, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data folder %s: %w", data, err)
	}
	if !locked {
		return nil, fmt.Errorf("the data folder %s: %w", data, eventstore.ErrLocked)
	}
	return lock.Unlock, nil
}

// openESDB opens the EventStoreDB that the settings name. appended hears of each
// append; nil: nobody does.
func openESDB(ctx context.Context, s settings, logger *slog.Logger, appended func(took time.Duration)) (*esdb.Store, error) {
	return esdb.Open(ctx, s.store, esdb.Options{Prefixes: commands.StreamPrefixes, KeepLast: []string{lease.Stream}, Appended: appended, Logger: logger})
}

// sharedBefore refuses a log that instances have shared: it holds streams that
// are not ours, which only EventStoreDB's protocol keeps apart.
func sharedBefore(ctx context.Context, log eventstore.Store, data string) error {
	_, shared, err := log.ReadLast(ctx, lease.Stream)
	if err != nil {
		return fmt.Errorf("look who used the log in %s: %w", data, err)
	}
	if shared {
		return fmt.Errorf("the log in %s was shared by instances: serve it with 'belltower store serve --data %s', and start this with --store esdb://127.0.0.1:2113?tls=false and a data folder of its own", data, data)
	}
	return nil
}

// joinOthers gives this instance's part in the lease of a store that several
// may share; nil where the store is ours alone.
func joinOthers(ctx context.Context, store eventstore.Store, ring *keys.Ring, registered []channels.Registration, logger *slog.Logger) (*lease.Lease, error) {
	if store.Exclusive() {
		return nil, nil
	}
	fingerprint := hex.EncodeToString(ring.Digest("fingerprint", nil)[:8])
	last, ok, err := lease.Last(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("read the lease: %w", err)
	}
	if ok && last.Keys != "" && last.Keys != fingerprint {
		return nil, errors.New("the store's facts are sealed with other keys than these: --keys (BELLTOWER_KEYS) must name the folder of keys.db that all instances on the store use, or --read-models the database with the keys")
	}
	return lease.New(lease.Options{Store: store, Keys: fingerprint, Scope: strings.Join(names(registered), ","), Logger: logger}), nil
}
