package reminders

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

const (
	defaultTimeout = 15 * time.Second
	defaultWorkers = 128
	// claimMargin is how much longer a claim holds than an attempt may take.
	claimMargin = 15 * time.Second
	// fetchSize is how many due rows of a channel are read ahead.
	fetchSize = 1024
	// refusedPause keeps one that could not be claimed or concluded from being tried at once again.
	refusedPause = time.Second
)

// sender sends what is due, by the clock.
type sender struct {
	commands  *commands.Handler
	table     *table
	lanes     []*lane
	boot      string
	exclusive bool
	now       func() time.Time
	ended     func() bool // the time for concluding what is in flight is over
	logger    *slog.Logger

	wake      chan struct{}
	inFlight  sync.WaitGroup
	overtaken atomic.Int64

	mu       sync.Mutex
	running  bool
	interval time.Duration
	busy     map[string]bool      // taken out of the table by this process
	skip     map[string]skip      // rows that the table still shows as they were
	watched  map[string]claimSeen // claims of other processes
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

// skip leaves rows alone that are older than revision, or until a time.
type skip struct {
	revision int64
	until    time.Time
}

type claimSeen struct {
	attempt int
	since   time.Time
}

// lane is a channel with its own bounds, so that a slow or broken one holds up no other.
type lane struct {
	channels.Registration
	limiter *rate.Limiter
	circuit *gobreaker.TwoStepCircuitBreaker[channels.Result]

	// guarded by sender.mu
	free     int
	queue    []row
	resumeAt time.Time // not before, while the circuit is open
}

func newLane(r channels.Registration, logger *slog.Logger) *lane {
	if r.Timeout == 0 {
		r.Timeout = defaultTimeout
	}
	if r.Workers == 0 {
		r.Workers = defaultWorkers
	}
	limit := rate.Inf
	if r.PerSecond > 0 {
		limit = rate.Limit(r.PerSecond)
	}
	return &lane{
		Registration: r, free: r.Workers,
		limiter: rate.NewLimiter(limit, max(1, int(r.PerSecond))),
		circuit: gobreaker.NewTwoStepCircuitBreaker[channels.Result](gobreaker.Settings{
			Name: r.Name, Timeout: brokenPause, MaxRequests: 1,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
			OnStateChange: func(name string, from, to gobreaker.State) {
				logger.Warn("the circuit of a channel changed", "channel", name, "from", from.String(), "to", to.String())
			},
		}),
	}
}

// run sends until ctx ends, then waits for what is in flight.
func (s *sender) run(ctx context.Context) {
	defer s.inFlight.Wait()
	for ctx.Err() == nil {
		next, err := s.round(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Error("looking for what is due failed and is tried again", "error", err)
			next = s.now().Add(refusedPause)
		}
		s.sleep(ctx, next)
	}
}

// sleep waits until next, a call of poke, or the check interval, the net under both.
func (s *sender) sleep(ctx context.Context, next time.Time) {
	s.mu.Lock()
	pause := s.interval
	s.mu.Unlock()
	if !next.IsZero() {
		pause = min(pause, max(0, next.Sub(s.now())))
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-timer.C:
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
	if err := s.expire(ctx, now); err != nil {
		return next, err
	}
	if next, err = s.takeOver(ctx, now); err != nil {
		return next, err
	}
	expiry, err := s.table.nextExpiry()
	if err != nil {
		return next, err
	}
	if !expiry.IsZero() {
		next = earliest(next, expiry.Add(time.Microsecond))
	}
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if !running {
		return next, nil
	}
	for _, l := range s.lanes {
		if err := s.fill(ctx, l, now); err != nil {
			return next, err
		}
		due, err := s.table.next(l.Name, now)
		if err != nil {
			return next, err
		}
		next = earliest(next, due)
		s.mu.Lock()
		s.start(ctx, l)
		if l.resumeAt.After(now) {
			next = earliest(next, l.resumeAt)
		}
		s.mu.Unlock()
	}
	return earliest(next, s.forget(now)), nil
}

// fill reads ahead what is due on a channel.
func (s *sender) fill(ctx context.Context, l *lane, now time.Time) error {
	s.mu.Lock()
	wanted := len(l.queue) < fetchSize/4
	hidden := len(s.busy) + len(s.skip)
	s.mu.Unlock()
	if !wanted {
		return nil
	}
	rows, err := s.table.due(ctx, l.Name, now, fetchSize+hidden)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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

// start hands queued rows to free workers. s.mu is held.
func (s *sender) start(ctx context.Context, l *lane) {
	for l.free > 0 && len(l.queue) > 0 && (s.running || len(s.sweeps) > 0) && !s.now().Before(l.resumeAt) && ctx.Err() == nil {
		r := l.queue[0]
		l.queue = l.queue[1:]
		s.launch(ctx, l, r, func() (verdict, skip) { return s.deliver(ctx, l, r, false) })
	}
}

// launch tries r on a worker of l. s.mu is held; r is busy.
func (s *sender) launch(ctx context.Context, l *lane, r row, try func() (verdict, skip)) {
	l.free--
	s.inFlight.Add(1)
	go func() {
		defer s.inFlight.Done()
		verdict, left := try()
		s.mu.Lock()
		defer s.mu.Unlock()
		l.free++
		s.leave(r, verdict, left)
		s.start(ctx, l)
		s.settle()
		if len(l.queue) < fetchSize/4 {
			s.poke()
		}
	}()
}

// leave gives up r. s.mu is held.
func (s *sender) leave(r row, v verdict, left skip) {
	delete(s.busy, r.ID)
	if left != (skip{}) {
		s.skip[r.ID] = left
	}
	for w := range s.sweeps {
		w.left(r.ID, v)
	}
}

// applied hears that the table shows a notification as of revision.
func (s *sender) applied(id string, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.skip[id]; ok && k.revision <= revision {
		if k.revision = 0; k.until.IsZero() {
			delete(s.skip, id)
		} else {
			s.skip[id] = k
		}
	}
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

// expire concludes what was not sent in time; it goes on while the processor is stopped.
func (s *sender) expire(ctx context.Context, now time.Time) error {
	rows, err := s.table.expired(ctx, now, fetchSize)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for i := range rows {
		r := rows[i]
		s.mu.Lock()
		mine := s.take(r, now)
		s.mu.Unlock()
		if !mine {
			continue
		}
		group.Go(func() {
			verdict, left := s.miss(ctx, r)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.leave(r, verdict, left)
		})
	}
	group.Wait()
	return nil
}

// takeOver claims what another process had claimed when it ended: at once where
// the store is ours alone, else after watching the claim for as long as it holds.
func (s *sender) takeOver(ctx context.Context, now time.Time) (next time.Time, err error) {
	rows, err := s.table.claimed(ctx, s.boot, fetchSize)
	if err != nil {
		return next, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]claimSeen, len(rows))
	for _, r := range rows {
		l := s.lane(r.Channel)
		if l == nil {
			continue
		}
		w, ok := s.watched[r.ID]
		if !ok || w.attempt != r.Attempt {
			w = claimSeen{attempt: r.Attempt, since: now}
		}
		seen[r.ID] = w
		if over := w.since.Add(r.Claim); !s.exclusive && now.Before(over) {
			next = earliest(next, over)
			continue
		}
		if l.free > 0 && s.take(r, now) {
			running := s.running
			s.launch(ctx, l, r, func() (verdict, skip) { return s.resume(ctx, l, r, running) })
		}
	}
	s.watched = seen
	return next, nil
}

func (s *sender) lane(channel string) *lane {
	for _, l := range s.lanes {
		if l.Name == channel {
			return l
		}
	}
	return nil
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
