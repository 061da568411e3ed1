package reminders

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

const (
	defaultTimeout = 15 * time.Second
	defaultWorkers = 128
	// claimMargin is how much longer a claim holds than an attempt may take.
	claimMargin = 15 * time.Second
	// fetchSize is how many due rows of a channel are read ahead.
	fetchSize = 1024
	// expiredPause is between looks for what has expired, while there is more of it
	// than is looked at together.
	expiredPause = 100 * time.Millisecond
	// refusedPause keeps one that could not be claimed or concluded from being tried at once again.
	refusedPause = time.Second
	// lastingPause is for one whose own stream can't be read or written.
	lastingPause = time.Minute
)

// sender sends what is due, by the clock.
type sender struct {
	commands  *commands.Handler
	store     eventstore.Store
	table     *table
	lanes     []*lane
	disused   *lane // for claims of channels that are not configured any more
	kinds     map[string]aggregates.AddressKind
	fallback  Fallback
	boot      string
	exclusive bool
	now       func() time.Time
	optOut    func(eventID, participantID string) (link string)
	leads     func() bool // this instance sends
	ended     func() bool // the time for concluding what is in flight is over
	logger    *slog.Logger

	gaveBack  time.Time // when giveBack last looked; used by run alone
	wake      chan struct{}
	inFlight  sync.WaitGroup
	overtaken atomic.Int64
	measures  *measures

	mu       sync.Mutex
	spare    **launched // what a goroutine that has become free goes on with; nil: none has
	running  bool
	interval time.Duration
	busy     map[string]bool      // taken out of the table by this process
	skip     map[string]skip      // rows that the table still shows as they were
	shown    eventstore.Position  // up to here the table shows all
	watched  map[string]claimSeen // claims of other processes
	crowded  bool                 // one of those waits for a worker
	sweeps   map[*sweep]struct{}
	quieters []chan struct{} // closed once nothing is in flight
}

// verdict is what became of one try.
type verdict int

const (
	notTried verdict = iota
	wasSent
	hasFailed
	wasDropped // no longer wanted, or concluded by another
)

// skip leaves a row alone until a time, or while it is older than revision,
// which the table shows at position at the latest.
type skip struct {
	revision int64
	position eventstore.Position
	until    time.Time
}

type claimSeen struct {
	attempt int
	since   time.Time
}

// run sends until ctx ends. What is in flight then goes on.
func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		next, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Error("looking for what is due failed and is tried again", "error", err)
			next = s.now().Add(refusedPause)
		}
		s.sleep(ctx, next)
	}
}

// sleep waits until next, a call of poke, or the check interval, the net under
// both. A timer doesn't hear of a clock that was set or a machine that slept, so
// it looks at the clock every second.
func (s *sender) sleep(ctx context.Context, next time.Time) {
	s.mu.Lock()
	left := s.interval
	s.mu.Unlock()
	for left > 0 {
		step := min(left, time.Second)
		if !next.IsZero() {
			step = min(step, max(0, next.Sub(s.now())))
		}
		timer := time.NewTimer(step)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
			return
		case <-timer.C:
		}
		if left -= step; !next.IsZero() && !s.now().Before(next) {
			return
		}
	}
}

// poke makes run look again.
func (s *sender) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// steer takes over the processor's state. Stopping gives back what is queued;
// what is in flight goes on.
func (s *sender) steer(running bool, interval time.Duration) {
	s.mu.Lock()
	s.running, s.interval = running, interval
	if !running {
		for _, l := range s.lanes {
			s.flush(l)
		}
	}
	s.mu.Unlock()
	s.poke()
}

// flush gives back what is queued on l. s.mu is held.
func (s *sender) flush(l *lane) {
	for _, r := range l.queue {
		s.leave(r, notTried, skip{})
	}
	l.queue = nil
}

// round starts what can be started now and tells when to look again.
func (s *sender) round(ctx context.Context) (next time.Time, err error) {
	now := s.now()
	leads := s.leads()
	if leads {
		if next, err = s.tidy(ctx, now); err != nil {
			return next, err
		}
	}
	s.mu.Lock()
	running := s.running && leads
	if !s.active() {
		for _, l := range s.lanes {
			s.flush(l)
		}
	}
	s.mu.Unlock()
	for _, l := range s.lanes {
		if running {
			if err := s.fill(ctx, l, now); err != nil {
				return next, err
			}
			due, err := s.table.next(l.Name, now)
			if err != nil {
				return next, err
			}
			next = earliest(next, due)
		}
		next = earliest(next, s.begin(ctx, l, now))
	}
	return earliest(next, s.forget(now)), nil
}

// tidy concludes what has expired and what others have claimed and not
// concluded, and tells when to look again.
func (s *sender) tidy(ctx context.Context, now time.Time) (next time.Time, err error) {
	again, err := s.expire(ctx, now)
	if err != nil {
		return again, err
	}
	if next, err = s.takeOver(ctx, now); err != nil {
		return next, err
	}
	if err := s.giveBack(ctx, now); err != nil {
		return next, err
	}
	expiry, err := s.table.nextExpiry(now)
	if err != nil {
		return next, err
	}
	if !expiry.IsZero() {
		next = earliest(next, expiry.Add(time.Microsecond))
	}
	return earliest(next, again), nil
}

// begin starts what waits on l and tells when to look at it again.
func (s *sender) begin(ctx context.Context, l *lane, now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start(ctx, l)
	if !s.active() {
		return next
	}
	if at := l.openAt(); at.After(now) {
		next = at
	}
	if len(l.queue) > 0 && l.tokenAt.After(now) {
		next = earliest(next, l.tokenAt)
	}
	return next
}

// active tells whether anything may be sent now. s.mu is held.
func (s *sender) active() bool { return (s.running && s.leads()) || len(s.sweeps) > 0 }

// fill reads ahead what is due on a channel.
func (s *sender) fill(ctx context.Context, l *lane, now time.Time) error {
	s.mu.Lock()
	wanted := len(l.queue) < fetchSize/4 && !now.Before(l.openAt())
	hidden := len(s.busy) + len(s.skip)
	if !wanted {
		// What becomes due meanwhile is read once the queue is shorter.
		l.more = l.more || len(l.queue) > 0
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	rows, err := s.table.due(ctx, l.Name, now, fetchSize+hidden)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running { // stopped meanwhile
		return nil
	}
	l.more = len(rows) == fetchSize+hidden
	for _, r := range rows {
		if s.take(r, now) {
			l.queue = append(l.queue, r)
		}
	}
	return nil
}

// take makes r busy, unless it is or is to be left alone. s.mu is held.
func (s *sender) take(r row, now time.Time) bool {
	if s.busy[r.ID] {
		return false
	}
	if k, ok := s.skip[r.ID]; ok && (r.Revision < k.revision || now.Before(k.until)) {
		return false
	}
	delete(s.skip, r.ID)
	s.busy[r.ID] = true
	return true
}

// start hands queued rows to free workers of who carries them. s.mu is held.
func (s *sender) start(ctx context.Context, l *lane) {
	for len(l.queue) > 0 && s.active() && ctx.Err() == nil {
		now := s.now()
		r := l.queue[0]
		c, until := l.choose(r.ID, now)
		switch {
		case c == nil && l.openAt().After(now):
			s.flush(l)
			return
		case c == nil: // it waits for the one that may have it; the others don't
			l.queue = l.queue[1:]
			s.leave(r, notTried, skip{until: until})
			continue
		case c.free == 0 || !l.admits(c, now):
			return
		}
		report, ok := c.permit(now)
		if !ok {
			s.poke()
			continue // c is paused now
		}
		l.queue = l.queue[1:]
		l.reached, l.startAt = r.Due, now
		tried := l.hints[r.ID].not
		delete(l.hints, r.ID)
		s.launch(ctx, c, r, func() (verdict, skip) { return s.deliver(ctx, c, r, false, tried, report) })
	}
}

// launch tries r on a worker of c. s.mu is held; r is busy.
func (s *sender) launch(ctx context.Context, c *carrier, r row, try func() (verdict, skip)) {
	c.free--
	s.inFlight.Add(1)
	one := &launched{c, r, try}
	if s.spare != nil && *s.spare == nil {
		*s.spare = one
		return
	}
	go func() {
		for one != nil {
			verdict, left := one.try()
			one = s.finish(ctx, one, verdict, left)
		}
	}()
}

// launched is a row that is tried on a worker of a carrier.
type launched struct {
	carrier *carrier
	row     row
	try     func() (verdict, skip)
}

// finish gives up one that was tried, and starts those that waited for its worker.
// The first of them goes on with the goroutine that calls: its stack has grown already.
func (s *sender) finish(ctx context.Context, one *launched, v verdict, left skip) (next *launched) {
	defer s.inFlight.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	c, l := one.carrier, one.carrier.lane
	c.free++
	s.leave(one.row, v, left)
	s.spare = &next
	s.start(ctx, l)
	s.spare = nil
	s.atRest()
	waits := len(l.queue) > 0 && c.free > 0
	if v == notTried || waits || s.crowded || (l.more && len(l.queue) < fetchSize/4) {
		s.poke()
	}
	return next
}

// leave gives up r. s.mu is held.
func (s *sender) leave(r row, v verdict, left skip) {
	delete(s.busy, r.ID)
	if !s.shown.Before(left.position) {
		left.revision = 0
	}
	if left.revision > 0 || !left.until.IsZero() {
		s.skip[r.ID] = left
	}
	for w := range s.sweeps {
		w.left(r.ID, v)
	}
}

// applied hears that the table shows all up to a position.
func (s *sender) applied(position eventstore.Position) {
	s.mu.Lock()
	s.shown = position
	for id, k := range s.skip {
		if k.revision > 0 && !position.Before(k.position) {
			if k.revision = 0; k.until.IsZero() {
				delete(s.skip, id)
			} else {
				s.skip[id] = k
			}
		}
	}
	s.mu.Unlock()
	s.poke()
}

// forget drops pauses that are over and tells when the next one is.
func (s *sender) forget(now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range s.skip {
		switch {
		case k.until.After(now):
			next = earliest(next, k.until)
		case k.revision == 0:
			delete(s.skip, id)
		}
	}
	return next
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
