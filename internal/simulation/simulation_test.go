// Package simulation plays the whole service in one testing/synctest bubble:
// clients, commands, a log in memory, projections, planner, sender and auditor,
// providers that fail, hang and answer late, processes that are killed and
// started again, a clock that jumps, over thirty days in which the clocks of
// Cairo change twice. Every rule of delivery is checked at every step.
//
// A seed always gives the same history. Whatever leads to another log (an append,
// news for the planner, a provider's answer) waits until all else has come to
// rest, and then goes on one at a time, in an order that the seed draws.
package simulation

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/belltower/belltower/eventstore"
)

var (
	seeds = flag.Int("seeds", 2, "histories that TestSimulation plays")
	first = flag.Uint64("seed", 1, "seed of the first; the others follow it")
	lives = flag.Int("events", 30, "events of each history")
	twice = flag.Int("twice", 1, "histories that are played twice, to compare their logs")
	tell  = flag.Bool("tell", false, "print each history's steps")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is what is known of a history once it is over.
type outcome struct {
	log   []byte
	trace []string
	wrong []string
	had   map[string]int
	facts int
	rows  map[string]int
	counts
}

func TestSimulation(t *testing.T) {
	var mu sync.Mutex
	had, rows, total, facts := map[string]int{}, map[string]int{}, counts{}, 0
	t.Run("seed", func(t *testing.T) {
		for n := range *seeds {
			seed := *first + uint64(n)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o := play(t, seed, *lives)
				if *tell {
					t.Log(strings.Join(o.trace, "\n"))
				}
				if len(o.wrong) > 0 {
					t.Fatalf("seed %d:\n%s\nlast steps:\n%s\nagain: go test ./internal/simulation -run TestSimulation -seeds 1 -seed %d",
						seed, strings.Join(o.wrong, "\n"), strings.Join(o.trace[max(0, len(o.trace)-60):], "\n"), seed)
				}
				if n < *twice {
					same(t, o, play(t, seed, *lives))
				}
				mu.Lock()
				defer mu.Unlock()
				for what := range o.had {
					had[what]++
				}
				for row, times := range o.rows {
					rows[row] += times
				}
				facts += o.facts
				total.calls, total.again, total.notifications = total.calls+o.calls, total.again+o.again, total.notifications+o.notifications
			})
		}
	})
	if t.Failed() {
		return
	}
	t.Logf("seeds %d to %d: %d facts, %d notifications, %d calls of providers, of them %d again in doubt; nothing wrong, so with 95 %% confidence fewer than %.2g of notifications",
		*first, *first+uint64(*seeds)-1, facts, total.notifications, total.calls, total.again, 3/float64(max(1, total.notifications)))
	for _, what := range expected {
		t.Logf("  %d of %d histories had: %s", had[what], *seeds, what)
		if *seeds >= 20 && 10*had[what] < *seeds {
			t.Errorf("only %d of %d histories had: %s", had[what], *seeds, what)
		}
	}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		t.Logf("  %6d %s", rows[row], row)
	}
}

// expected is what histories are to have in them, each at least one in ten.
var expected = []string{
	"a provider broken", "a provider busy", "a provider cut", "a provider hangs", "a provider late", "a provider panics",
	"a provider refuses", "a provider told", "a slow disk", "an append failed", "kill", "send-due", "sending stopped", "stop and start",
	"the clock jumped ahead", "the clock was set back", "the planner's table lost",
}

// same holds two plays of one seed against one another.
func same(t *testing.T, a, b outcome) {
	t.Helper()
	if bytes.Equal(a.log, b.log) {
		return
	}
	for i := range a.trace {
		if i >= len(b.trace) || a.trace[i] != b.trace[i] {
			t.Fatalf("the same seed went two ways at step %d:\n%s\n%s", i,
				strings.Join(a.trace[max(0, i-5):min(len(a.trace), i+3)], "\n"), strings.Join(b.trace[max(0, min(i, len(b.trace))-5):min(len(b.trace), i+3)], "\n"))
		}
	}
	t.Fatalf("the same seed gave %d bytes of log, and then other %d", len(a.log), len(b.log))
}

// play plays the history of a seed.
func play(t *testing.T, seed uint64, events int) (o outcome) {
	t.Helper()
	dir, again := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newSim(seed, dir)
		s.write(events)
		s.start()
		end := firstDay.AddDate(0, 0, days)
		o.wrong = s.run(func() bool { return s.now().After(end) })
		if len(o.wrong) == 0 {
			o.wrong = s.settle()
		}
		s.over()
		s.say("%s by the clock of the bubble", time.Since(began))
		o.log = s.dump()
		if len(o.wrong) == 0 {
			o.wrong = s.rebuilt(again)
		}
		o.trace, o.had, o.facts, o.rows, o.counts = s.trace, s.had, s.oracle.facts, s.oracle.rows, s.oracle.counts
	})
	return o
}

// settle lets all come to rest: then everything whose time has come is final.
func (s *sim) settle() []string {
	s.plan = nil
	s.weather, s.slow, s.failing, s.killAt = map[string]string{}, false, 0, 0
	if s.oracle.stopped() {
		s.goOn()
	}
	until := time.Now().Add(25 * time.Minute)
	if wrong := s.run(func() bool { return time.Now().After(until) }); len(wrong) > 0 {
		return wrong
	}
	s.oracle.unsettled()
	return s.oracle.faults()
}

// over ends the process, and lets everybody who waits go.
func (s *sim) over() {
	if p := s.process; p != nil {
		if !p.stopping {
			p.stopping = true
			go func() {
				defer close(p.down)
				p.finish()
			}()
		}
		for {
			synctest.Wait()
			turns := s.gate.all()
			for _, t := range turns {
				if t.at.IsZero() {
					t.at = time.Now()
				}
				t.ruled.fate = goes
				s.gate.let(t, t.ruled)
				synctest.Wait()
			}
			if len(turns) > 0 {
				continue
			}
			select {
			case <-p.down:
			case <-s.gate.arrived:
				continue
			}
			break
		}
		s.process = nil
	}
	for _, t := range s.gate.all() {
		s.gate.let(t, t.ruled)
	}
	s.clients.Wait()
	time.Sleep(time.Hour) // what was left alone comes back
	synctest.Wait()
	for _, t := range s.gate.all() {
		s.gate.let(t, t.ruled)
	}
	synctest.Wait()
}

// dump gives all there is in the log, byte for byte.
func (s *sim) dump() []byte {
	var all bytes.Buffer
	subscription, err := s.store.Subscribe(context.Background(), eventstore.Start)
	must(err)
	for {
		b, err := subscription.Next(context.Background())
		must(err)
		for _, r := range b.Records {
			fmt.Fprintf(&all, "%s %s %s %d %s %s %s %s\n", r.Position, r.ID, r.Stream, r.Revision, r.Type, r.Data, r.Metadata, r.Created.Format(time.RFC3339Nano))
		}
		if b.CaughtUp {
			return all.Bytes()
		}
	}
}
