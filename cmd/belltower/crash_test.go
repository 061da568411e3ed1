package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	kills    = flag.Int("kills", 20, "how often the service is killed")
	killSeed = flag.Uint64("kill-seed", 0, "seed of the killing; 0: a new one")
)

const crashClients = 6

// TestKilled kills the real binary under load, again and again, and counts:
// nothing acknowledged is lost, and nothing is sent twice but what was in
// flight at a kill.
func TestKilled(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to see it again: go test ./cmd/belltower -run TestKilled -kills=%d -kill-seed=%d", *kills, seed)
	k := &killing{t: t, folder: filepath.Join(t.TempDir(), "data"), ledger: newLedger(t), rng: rand.New(rand.NewPCG(seed, 0))}
	for i := range crashClients {
		k.clients = append(k.clients, &crashClient{
			name: fmt.Sprintf("client-%d", i), rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), ledger: k.ledger, tick: k.tick,
		})
	}
	for i := range *kills {
		k.round(i)
		require.Empty(t, k.ledger.lost, "after kill %d; the ledger is %s", i+1, k.ledger.path)
	}
	doubled := k.last()
	n := k.ledger.counts()
	t.Logf("%d kills: %d acknowledged, %d lost, %d sent, %d doubled in doubt", *kills, n.acknowledged, len(k.ledger.lost), len(k.lines), doubled)
	t.Logf("%d writes asked for, %d refused, %d unanswered at a kill, %d of these found done; %d answered ones repeated; %d looks",
		n.asked, n.refused, n.unanswered, n.found, n.repeated, n.checked)
	require.Greater(t, n.acknowledged, 20**kills)
	require.NotEmpty(t, k.lines)
}

// killing is a service that is killed and those who use it.
type killing struct {
	t       *testing.T
	folder  string
	ledger  *ledger
	rng     *rand.Rand
	clients []*crashClient
	lines   []carried

	mu      sync.Mutex
	answers int           // to come before the kill
	enough  chan struct{} // closed when they have
}

// tick counts an answer.
func (k *killing) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.answers--; k.answers == 0 {
		close(k.enough)
	}
}

// after gives a channel that is closed after n answers.
func (k *killing) after(n int) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers, k.enough = n, make(chan struct{})
	return k.enough
}

// start starts the service for the clients.
func (k *killing) start() *process {
	k.ledger.boot.Add(1)
	p := serving(k.t, k.folder)
	for _, c := range k.clients {
		c.service = p.client()
	}
	if k.clients[0].hall == "" {
		// The auditor looks once a check interval.
		p.does(k.t, 200, "POST", "/v1/processor/start", object{"check_interval_seconds": 1})
		hall := p.does(k.t, 201, "POST", "/v1/events", anEvent(far, nil))
		for _, c := range k.clients {
			c.hall = hall.text("id")
		}
	}
	return p
}

// all lets every client do something at the same time; killed is for a service that is to go under it.
func (k *killing) all(killed bool, do func(*crashClient) error) (wait func()) {
	var running sync.WaitGroup
	for _, c := range k.clients {
		running.Go(func() {
			if err := do(c); err != nil && (!killed || !errors.Is(err, errKilled)) {
				assert.NoError(k.t, err, c.name)
			}
		})
	}
	return running.Wait
}

func (k *killing) settle(c *crashClient) error {
	if err := c.settle(k.t.Context()); err != nil {
		return err
	}
	return c.verify(k.t.Context())
}

// round starts the service, looks whether everything is there, loads it and kills it.
func (k *killing) round(i int) {
	p := k.start()
	var wait func()
	switch i % 5 {
	case 4: // before it has found back to itself
		wait = k.all(true, k.settle)
	default:
		k.all(false, k.settle)()
		if k.t.Failed() {
			k.t.FailNow()
		}
		ctx, cancel := context.WithTimeout(k.t.Context(), patience)
		defer cancel()
		answered := k.after(1 + k.rng.IntN(400))
		lines := strings.Count(p.out.String(), "\n{") + 1 + k.rng.IntN(60)
		wait = k.all(true, func(c *crashClient) error { return c.work(ctx) })
		if i%2 == 0 {
			k.waitFor(answered)
		} else {
			k.waitForLines(p, lines)
		}
	}
	// A moment that nothing has a part in.
	<-time.After(time.Duration(k.rng.IntN(3000)) * time.Microsecond)
	p.kill(k.t)
	wait()
	k.read(p)
	if k.t.Failed() {
		k.t.FailNow()
	}
}

func (k *killing) waitFor(answered <-chan struct{}) {
	select {
	case <-answered:
	case <-time.After(patience):
		require.FailNow(k.t, "the load stands still")
	}
}

func (k *killing) waitForLines(p *process, n int) {
	deadline := time.After(patience)
	for {
		said, changed := p.out.now()
		if strings.Count(said, "\n{") >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(k.t, "nothing is sent", "stderr:\n%s", &p.err)
		}
	}
}

// read keeps what a start of the service carried, and looks at its log.
func (k *killing) read(p *process) {
	for _, l := range sentLines(k.t, p.out.String()) {
		k.lines = append(k.lines, carried{l, k.ledger.boot.Load()})
	}
	for line := range strings.Lines(p.err.String()) {
		require.NotContains(k.t, line, "level=ERROR")
		require.NotContains(k.t, line, "panic")
	}
}

// last starts the service once more, waits until everything due is final, ends
// it in order and looks at all that there is.
func (k *killing) last() (doubled int) {
	p := k.start()
	k.all(false, k.settle)()
	var happenings []*happening
	for _, c := range k.clients {
		happenings = append(happenings, c.events...)
	}
	k.quiet(p)
	k.all(false, func(c *crashClient) error {
		for _, h := range c.events {
			if err := c.delivered(k.t.Context(), h); err != nil {
				return err
			}
		}
		return c.verify(k.t.Context())
	})()
	registered := 0
	for _, c := range k.clients {
		registered += len(c.inHall)
	}
	hall := p.does(k.t, 200, "GET", "/v1/events/"+k.clients[0].hall, nil)
	require.Equal(k.t, registered, hall.number("participant_count"), "each registration once")
	k.shown(p)
	p.finish(k.t, syscall.SIGTERM)
	k.read(p)
	require.Empty(k.t, k.ledger.lost, "the ledger is %s", k.ledger.path)

	all := stories(k.t, k.folder)
	doubled = audit(k.t, all, k.lines)
	require.Empty(k.t, superseded(all, k.lines, happenings))
	return doubled
}

// shown looks whether users can see of what came twice that it did.
func (k *killing) shown(p *process) {
	times := map[string]int{}
	for _, l := range k.lines {
		times[l.NotificationID]++
	}
	for id, n := range times {
		if n == 1 {
			continue
		}
		got, err := p.client().ask(k.t.Context(), "GET", "/v1/notifications/"+id, "", nil)
		require.NoError(k.t, err)
		if got.status == 404 {
			continue // its event was deleted
		}
		require.Greater(k.t, got.body.number("attempts"), 1, got.body)
		outcomes := ""
		for _, a := range got.body.list("attempt_log") {
			outcomes += " " + a.text("outcome")
		}
		require.Contains(k.t, outcomes, "unknown", got.body)
	}
}

// quiet waits until everything due is final and shown, without a hole.
func (k *killing) quiet(p *process) {
	until(k.t, "everything due is final", func() bool {
		caughtUp := p.does(k.t, 200, "GET", "/v1/stats", nil)
		for _, reader := range caughtUp.list("projections") {
			if reader.text("position") != caughtUp.inner("store").text("position") {
				return false
			}
		}
		soon := p.does(k.t, 200, "GET", "/v1/notifications?status=PENDING&due_before="+at(time.Now().Add(time.Hour)), nil)
		stats := p.does(k.t, 200, "GET", "/v1/stats", nil)
		statuses := stats.inner("notifications").inner("by_status")
		return len(soon.items()) == 0 && statuses.number("READY") == 0 && statuses.number("SENDING") == 0 &&
			stats.inner("processor").number("due") == 0 && stats.inner("processor").number("in_flight") == 0 &&
			stats.inner("store").text("position") == caughtUp.inner("store").text("position")
	})
	stats := p.does(k.t, 200, "GET", "/v1/stats", nil)
	require.Zero(k.t, stats.inner("conservation").number("holes"), stats)
}
