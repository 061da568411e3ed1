package esdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/belltower/belltower/eventstore"
)

const (
	// batchBytes bounds the data of a batch.
	batchBytes = 4 << 20
	// searchWindow and checkpointEvery bound how many foreign events are looked
	// through again after a connection was lost: their product.
	searchWindow    = 1024
	checkpointEvery = 8
)

// subscription is a catch-up subscription over as many of the server's as it
// takes. It has one only after it was asked the first time, and lets go of it
// when nobody asks for what comes, so that it may be as slow as it likes.
type subscription struct {
	store   *Store
	life    context.Context
	endLife context.CancelFunc

	seen     eventstore.Position // up to here everything was received
	pending  []eventstore.Record // received, and not yet delivered
	bytes    int                 // of pending
	told     bool                // whether a batch was delivered
	live     bool                // the server has nothing that it hasn't sent
	feed     *feed
	failures int  // in a row
	anew     bool // from the beginning, as the server doesn't take the position
}

// Subscribe implements eventstore.Store. The context is of the call alone.
func (s *Store) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("subscribe after %v: %w", after, err)
	}
	return s.subscribe(after), nil
}

func (s *Store) subscribe(after eventstore.Position) *subscription {
	sub := &subscription{store: s, seen: after}
	sub.life, sub.endLife = context.WithCancel(s.life)
	return sub
}

// Close implements eventstore.Subscription.
func (s *subscription) Close() error {
	s.endLife()
	return nil
}

// Next implements eventstore.Subscription.
func (s *subscription) Next(ctx context.Context) (eventstore.Batch, error) {
	for {
		b, ok, err := s.step(ctx)
		if s.life.Err() != nil {
			err = eventstore.ErrClosed
		}
		if err != nil {
			return eventstore.Batch{}, fmt.Errorf("next after %v: %w", s.seen, err)
		}
		if ok {
			s.told = true
			return b, nil
		}
	}
}

// step takes one thing that comes, and gives a batch where that makes one.
func (s *subscription) step(ctx context.Context) (b eventstore.Batch, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return b, false, err
	}
	if s.feed == nil {
		return b, false, s.open(ctx)
	}
	full := len(s.pending) >= eventstore.MaxBatch || s.bytes >= batchBytes
	if s.live && len(s.pending) > 0 && s.feed.empty() {
		return s.batch(true), true, nil
	}
	item, err := s.feed.next(ctx, s.life, full)
	if err != nil {
		return b, false, err
	}
	switch {
	case item.dropped != nil:
		s.live, s.feed = false, nil
		return b, false, s.dropped(ctx, item.dropped)
	case item.record != nil && full:
		return s.batch(false), true, nil // it stays where it is
	case item.record != nil:
		s.failures = 0
		if s.seen.Before(item.record.Position) {
			s.seen = item.record.Position
			s.pending = append(s.pending, *item.record)
			s.bytes += eventstore.Size(eventstore.NewRecord{Type: item.record.Type, Data: item.record.Data, Metadata: item.record.Metadata})
		}
	case item.caughtUp:
		s.failures, s.live = 0, true
		if len(s.pending) > 0 || !s.told {
			return s.batch(true), true, nil
		}
	case item.fellBehind:
		s.live = false
	case s.seen.Before(item.checkpoint):
		s.seen = item.checkpoint
	}
	return b, false, nil
}

func (s *subscription) batch(caughtUp bool) eventstore.Batch {
	b := eventstore.Batch{Records: s.pending, Position: s.seen, CaughtUp: caughtUp}
	if len(b.Records) > 0 {
		b.Position = b.Records[len(b.Records)-1].Position
	}
	s.pending, s.bytes = nil, 0
	return b
}

// open subscribes behind what was seen.
func (s *subscription) open(ctx context.Context) error {
	l, err := s.store.conn.await(ctx)
	if err != nil {
		return err
	}
	s.feed = newFeed(s.life, s.store, l, s.seen, s.anew)
	return nil
}

// dropped waits a little before the next try.
func (s *subscription) dropped(ctx context.Context, why error) error {
	if errors.Is(why, errFull) {
		return nil
	}
	if refused(why) && (s.anew || s.seen == eventstore.Start || denied(why)) {
		s.store.o.Logger.Error("a subscription is refused and tried again", "error", why)
	} else if refused(why) {
		// It may be that the server takes no position that it hasn't given out.
		s.anew = true
		return nil
	}
	pause := min(firstPause<<min(s.failures, 10), maxPause)
	s.failures++
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
	}
	return nil
}

func denied(err error) bool {
	return isCode(err, client.ErrorCodeAccessDenied) || isCode(err, client.ErrorCodeUnauthenticated)
}

// item is one thing that the server has sent.
type item struct {
	record     *eventstore.Record
	checkpoint eventstore.Position
	caughtUp   bool
	fellBehind bool
	dropped    error // nothing comes behind it
}

// feedBytes and feedItems bound what is received ahead.
const (
	feedBytes = 2 << 20
	feedItems = 512
)

// errFull says that a subscription was given up as nobody took what came.
var errFull = errors.New("the subscriber is slow")

// feed is one subscription of the server's, received ahead.
type feed struct {
	store  *Store
	cancel context.CancelFunc

	mu      sync.Mutex
	items   []item
	bytes   int
	live    bool
	changed chan struct{} // has one when there may be an item
	room    chan struct{} // has one when there may be room
}

// newFeed subscribes on l, which it releases, behind a position.
func newFeed(life context.Context, s *Store, l *link, after eventstore.Position, anew bool) *feed {
	f := &feed{store: s, changed: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(life)
	stop := context.AfterFunc(l.ctx, cancel)
	f.cancel = cancel
	go func() {
		defer s.conn.release(l)
		defer stop()
		defer cancel()
		err := f.receive(ctx, l, after, anew)
		if !errors.Is(err, errFull) && life.Err() == nil && !refused(err) && !connected(err) {
			s.conn.retire(l, err)
		}
		_ = f.put(ctx, item{dropped: err}) // for which there is always room
	}()
	return f
}

func (f *feed) receive(ctx context.Context, l *link, after eventstore.Position, anew bool) error {
	from := client.AllPosition(client.Start{})
	if after != eventstore.Start && !anew {
		from = client.Position{Commit: after.Commit, Prepare: after.Prepare}
	}
	filter := &client.SubscriptionFilter{Type: client.StreamFilterType, Prefixes: f.store.o.Prefixes}
	if len(filter.Prefixes) == 0 {
		filter.Regex = `^[^\$].*`
	}
	// Until it is confirmed, nothing else tells that the server is silent.
	watch := time.AfterFunc(silence, f.cancel)
	sub, err := l.client.SubscribeToAll(ctx, client.SubscribeToAllOptions{
		From: from, Filter: filter, MaxSearchWindow: searchWindow, CheckpointInterval: checkpointEvery,
	})
	if !watch.Stop() {
		err = errors.Join(errSilent, err)
	}
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // never fails
	for {
		e := sub.Recv()
		var got item
		switch {
		case e.SubscriptionDropped != nil:
			return e.SubscriptionDropped.Error
		case e.EventAppeared != nil:
			r, err := recordOf(e.EventAppeared.OriginalEvent())
			if err != nil {
				return err
			}
			got.record = &r
		case e.CheckPointReached != nil:
			got.checkpoint = eventstore.Position{Commit: e.CheckPointReached.Commit, Prepare: e.CheckPointReached.Prepare}
		case e.CaughtUp != nil:
			got.caughtUp = true
		case e.FellBehind != nil:
			got.fellBehind = true
		}
		if err := f.put(ctx, got); err != nil {
			return err
		}
	}
}

// put hands over an item. While history comes it waits for room; what is live
// must not wait, as nobody would know then that more has come.
func (f *feed) put(ctx context.Context, i item) error {
	for {
		f.mu.Lock()
		full := len(f.items) >= feedItems || f.bytes >= feedBytes
		switch {
		case i.dropped != nil || !full:
			f.items = append(f.items, i)
			if i.record != nil {
				f.bytes += len(i.record.Data) + len(i.record.Metadata)
			}
			f.live = (f.live || i.caughtUp) && !i.fellBehind
			f.mu.Unlock()
			signal(f.changed)
			return nil
		case f.live:
			f.mu.Unlock()
			return errFull
		}
		f.mu.Unlock()
		select {
		case <-f.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// empty tells whether there is no item now.
func (f *feed) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.items) == 0
}

// next waits for an item and takes it, unless it is a record and keep is set.
func (f *feed) next(ctx, life context.Context, keep bool) (item, error) {
	for {
		f.mu.Lock()
		if len(f.items) > 0 {
			i := f.items[0]
			if i.record == nil || !keep {
				f.items = f.items[1:]
				if i.record != nil {
					f.bytes -= len(i.record.Data) + len(i.record.Metadata)
				}
			}
			f.mu.Unlock()
			signal(f.room)
			return i, nil
		}
		f.mu.Unlock()
		select {
		case <-f.changed:
		case <-ctx.Done():
			return item{}, ctx.Err()
		case <-life.Done():
			return item{}, eventstore.ErrClosed
		}
	}
}
