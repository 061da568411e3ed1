package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/projections"
	"github.com/belltower/belltower/reminders"
)

// cairo had both changes of its clocks within thirty days in 2010: on the tenth
// of September and on the first of October.
var cairo = func() *time.Location {
	zone, err := time.LoadLocation("Africa/Cairo")
	must(err)
	return zone
}()

// days is how long a history takes, from its first day on.
const days = 30

var firstDay = time.Date(2010, 9, 6, 0, 0, 0, 0, cairo)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// sim is the whole service within a bubble, and what happens to it.
type sim struct {
	seed   uint64
	chance *rand.Rand // the driver's alone
	dir    string
	ring   *ring
	gate   *gate
	oracle *oracle
	offset atomic.Int64 // of the service's clock
	store  *memstore.Store

	process   *process // nil: down
	number    int
	back      time.Time // by the bubble's clock: when a process that ended starts again
	weather   map[string]string
	slow      bool // the log's disk
	failing   int  // in how many of a thousand appends
	killAt    int  // appends until the process ends; 0: it goes on
	trouble   map[string]time.Time
	plan      []action
	clients   sync.WaitGroup
	trace     []string
	had       map[string]int
	lastCheck int       // facts there were when what is planned was checked
	lastHoles time.Time // when the auditor was asked
}

// process is one run of the service.
type process struct {
	number   int
	dead     bool // guarded by gate.mu
	graceful bool // it is to end in good order
	handler  *commands.Handler
	models   *projections.Models
	r        *reminders.Reminders
	end      context.CancelFunc
	running  sync.WaitGroup
	up       time.Time
	down     chan struct{} // closed once it has ended in good order
	stopping bool
}

func newSim(seed uint64, dir string) *sim {
	s := &sim{
		seed: seed, chance: rand.New(rand.NewPCG(seed, 20100906)), dir: dir, ring: &ring{seed: fmt.Append(nil, "seed ", seed)},
		gate: newGate(), weather: map[string]string{}, trouble: map[string]time.Time{}, had: map[string]int{},
	}
	s.offset.Store(int64(time.Until(firstDay)))
	s.adopt(memstore.New())
	s.oracle = newOracle(s)
	return s
}

func (s *sim) adopt(store *memstore.Store) {
	store.Now = s.now
	s.store = store
}

func (s *sim) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())).UTC() }

func (s *sim) say(format string, args ...any) {
	s.trace = append(s.trace, s.now().Format("01-02 15:04:05.000000000 ")+fmt.Sprintf(format, args...))
}

// note counts what a history had in it.
func (s *sim) note(what string) { s.had[what]++ }

// registrations are three channels: one with few workers and none, one with a
// rate, and one that holds what may have been sent.
func (s *sim) registrations() []channels.Registration {
	return []channels.Registration{
		{Name: "email", Kind: channels.Email, Channel: provider{s, "email"}, Timeout: 2 * time.Second, Workers: 4},
		{Name: "sms", Kind: channels.Phone, Channel: provider{s, "sms"}, Timeout: 2 * time.Second, Workers: 4, PerSecond: 20},
		{Name: "push", Kind: channels.Push, Channel: provider{s, "push"}, Timeout: 2 * time.Second, Workers: 4, HoldUnknown: true},
	}
}

// start runs a new process.
func (s *sim) start() {
	s.number++
	p := &process{number: s.number, up: time.Now(), graceful: s.chance.IntN(2) == 0, down: make(chan struct{})}
	s.process, s.killAt = p, 0
	s.say("process %d starts", p.number)
	registered := s.registrations()
	seen := gated{s.store, s.gate, p}
	drawn := &ids{ring: s.ring, process: p.number, drawn: map[string]int{}}
	p.handler = commands.NewHandler(commands.Options{
		Store: seen, Keys: s.ring, Now: s.now, PhoneRegion: "EG", Channels: reminders.Kinds(registered), FactID: drawn.next, Admit: seen.admit,
	})
	logger := slog.New(slog.DiscardHandler)
	ctx, end := context.WithCancel(context.Background())
	p.end = end
	var err error
	p.models, err = projections.Open(ctx, s.dir, projections.Options{Store: seen, Keys: s.ring, Now: s.now, Logger: logger})
	must(err)
	p.r, err = reminders.New(reminders.Options{
		Commands: p.handler, Store: heralded{seen}, Models: p.models, Channels: registered, Dir: s.dir,
		Boot: fmt.Sprint("process ", p.number), Now: s.now, Logger: logger,
	})
	must(err)
	p.running.Go(func() { _ = p.models.Follow(ctx) })
	drain := time.Duration(0)
	if p.graceful {
		drain = 10 * time.Second
	}
	p.running.Go(func() {
		if err := p.r.Run(ctx, drain); err != nil && ctx.Err() == nil && !errors.Is(err, eventstore.ErrClosed) {
			panic(err)
		}
	})
}

// finish ends a process that has no more to do.
func (p *process) finish() {
	p.end()
	p.running.Wait()
	p.handler.Close()
	must(p.r.Close())
	must(p.models.Close())
}

// fall ends the process: as if it had died, or in good order while the rest goes
// on. It starts again after a while.
func (s *sim) fall(after time.Duration) {
	p := s.process
	if p == nil || p.stopping {
		return
	}
	s.back = time.Now().Add(after)
	if p.graceful {
		s.say("process %d ends in good order", p.number)
		s.note("stop and start")
		p.stopping = true
		go func() {
			defer close(p.down)
			p.finish()
		}()
		return
	}
	s.say("process %d dies", p.number)
	s.note("kill")
	s.gate.bury(p)
	s.oracle.reopened()
	s.adopt(s.store.Reopen())
	p.finish()
	s.process = nil
}

// buried notices that a process has ended in good order.
func (s *sim) buried() {
	if p := s.process; p != nil && p.stopping {
		select {
		case <-p.down:
			s.say("process %d has ended", p.number)
			s.process = nil
			s.back = later(s.back, time.Now())
		default:
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// loseTable takes the planner's table away.
func (s *sim) loseTable() {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(s.dir, "planner.db"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			panic(err)
		}
	}
	s.say("the planner's table is lost")
	s.note("the planner's table lost")
}

// run lets everything happen until done says so, or something is wrong.
func (s *sim) run(done func() bool) []string {
	for {
		synctest.Wait()
		s.buried()
		if wrong := s.oracle.faults(); len(wrong) > 0 {
			return wrong
		}
		if t := s.choose(); t != nil {
			s.grant(t)
			continue
		}
		if s.process == nil && !time.Now().Before(s.back) {
			s.start()
			continue
		}
		if wrong := s.idle(); len(wrong) > 0 {
			return wrong
		}
		if done() {
			return nil
		}
		if !s.act() {
			s.sleep()
		}
	}
}

// choose gives a turn whose time has come.
func (s *sim) choose() *turn {
	var ready []*turn
	now := time.Now()
	for _, t := range s.gate.all() {
		if t.at.IsZero() {
			s.rule(t)
		}
		if !t.at.After(now) {
			ready = append(ready, t)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return ready[s.chance.IntN(len(ready))]
}

// grant lets a turn go on.
func (s *sim) grant(t *turn) {
	if t.ruled == (ruling{}) {
		s.say("%s", t.key)
	} else {
		s.say("%s: fate %d, %d %s, panics %t", t.key, t.ruled.fate, t.ruled.answer.Outcome, t.ruled.answer.Code, t.ruled.panics)
	}
	if t.ruled.fate == dead {
		s.fall(s.pause())
		return
	}
	s.gate.let(t, t.ruled)
	if t.ruled.fate == diesAfter {
		synctest.Wait()
		s.fall(s.pause())
	}
}

// pause is how long a process is down.
func (s *sim) pause() time.Duration {
	return []time.Duration{0, time.Second, 3 * time.Second, 40 * time.Second, 4 * time.Minute}[s.chance.IntN(5)]
}

// sleep passes time until the next turn or action, or until somebody arrives.
// Where nothing is to be done for long, the machine sleeps: the clock jumps.
func (s *sim) sleep() {
	next := time.Now().Add(time.Hour)
	for _, t := range s.gate.all() {
		next = earlier(next, t.at)
	}
	waits := len(s.gate.all()) > 0
	if s.process == nil {
		next = earlier(next, s.back)
		waits = true
	}
	wake := s.oracle.next()
	if len(s.plan) > 0 && (wake.IsZero() || s.plan[0].at.Before(wake)) {
		wake = s.plan[0].at
	}
	if !wake.IsZero() {
		away := wake.Sub(s.now())
		if night := away - 4*time.Second; !waits && night > 15*time.Second {
			s.offset.Add(int64(night))
			s.say("the machine sleeps for %s", night)
			away -= night
		}
		if len(s.plan) > 0 {
			next = earlier(next, time.Now().Add(max(s.plan[0].at.Sub(s.now()), 0)))
		}
		next = earlier(next, time.Now().Add(max(away, 30*time.Second)))
	}
	timer := time.NewTimer(max(time.Until(next), time.Nanosecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.gate.arrived:
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// idle checks what holds once nothing can happen before time passes.
func (s *sim) idle() []string {
	p := s.process
	up := p != nil && !p.stopping
	s.oracle.punctual(up && !s.oracle.stopped(), func(channel string) bool {
		return time.Since(s.trouble[channel]) < 90*time.Second
	})
	if up && s.oracle.facts != s.lastCheck && len(s.gate.all()) == 0 {
		stats, err := p.r.Stats(context.Background())
		must(err)
		if stats.Planner.Error == "" && stats.Planner.Position == s.oracle.position.String() && len(stats.Planner.Planning) == 0 {
			s.lastCheck = s.oracle.facts
			s.oracle.planned()
		}
	}
	if up && time.Since(s.lastHoles) >= 20*time.Second {
		s.lastHoles = time.Now()
		stats, err := p.r.Stats(context.Background())
		must(err)
		if holes := stats.Conservation.Holes; holes > 0 {
			s.oracle.fault("the auditor sees %d holes", holes)
		}
	}
	return s.oracle.faults()
}
