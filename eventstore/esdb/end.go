package esdb

import (
	"context"
	"fmt"
	"sync"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/belltower/belltower/eventstore"
)

// knownEnd remembers where the log ended, so that only what came later is
// looked through: the server's own events stand at the end of $all, and reads of
// $all can't be filtered.
type knownEnd struct {
	mu     sync.Mutex
	last   eventstore.Position // of our last record up to looked
	looked eventstore.Position
}

func (k *knownEnd) appended(p eventstore.Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last.Before(p) {
		k.last = p
	}
	if k.looked.Before(p) {
		k.looked = p
	}
}

// found notes that last is the last of our records up to looked.
func (k *knownEnd) found(last, looked eventstore.Position) eventstore.Position {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last.Before(last) {
		k.last = last
	}
	if k.looked.Before(looked) {
		k.looked = looked
	}
	return k.last
}

func (k *knownEnd) get() (last, looked eventstore.Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.looked
}

// End implements eventstore.Store. The first call may have to look through what
// the server itself, or a lease, has written since our last record.
func (s *Store) End(ctx context.Context) (eventstore.Position, error) {
	if err := s.check(ctx); err != nil {
		return eventstore.Position{}, fmt.Errorf("read the end of the log: %w", err)
	}
	p, err := s.backwards(ctx)
	if isCode(err, client.ErrorCodeUnsupportedFeature) {
		p, err = s.throughSubscription(ctx)
	}
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("read the end of the log: %w", asUnavailable(ctx, err))
	}
	return p, nil
}

// backwards looks for the last of our records from the end of $all on.
func (s *Store) backwards(ctx context.Context) (eventstore.Position, error) {
	last, looked := s.end.get()
	var newest eventstore.Position
	from, limit := client.AllPosition(client.End{}), 1
	for {
		page, err := s.readAll(ctx, client.Backwards, from, limit)
		if err != nil {
			return eventstore.Position{}, err
		}
		for _, r := range page {
			if newest == eventstore.Start {
				newest = r.Position
			}
			if !looked.Before(r.Position) {
				return s.end.found(last, newest), nil
			}
			if s.ours(r.Stream) {
				return s.end.found(r.Position, newest), nil
			}
		}
		if len(page) < limit {
			return s.end.found(last, newest), nil
		}
		oldest := page[len(page)-1].Position
		from, limit = client.Position{Commit: oldest.Commit, Prepare: oldest.Prepare}, min(32*limit, 1024)
	}
}

// throughSubscription looks through what came since the last look, for servers
// that can't be read backwards.
func (s *Store) throughSubscription(ctx context.Context) (eventstore.Position, error) {
	last, looked := s.end.get()
	sub := s.subscribe(looked)
	defer sub.Close() //nolint:errcheck // never fails
	for {
		b, err := sub.Next(ctx)
		if err != nil {
			return eventstore.Position{}, err
		}
		if len(b.Records) > 0 {
			last = b.Position
		}
		if b.CaughtUp {
			return s.end.found(last, b.Position), nil
		}
	}
}
