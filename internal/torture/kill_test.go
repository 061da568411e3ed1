package torture

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilled kills the service under load, again and again: creations,
// registrations, moves, declines, cancellations and deletions, and bursts of
// reminders of a crowd that are due at once.
func TestKilled(t *testing.T) {
	beside(t)
	budget(t, 4*time.Minute)
	seed := seeded(t)
	kills := sized(t, 10, 50, 1000)
	k := newKilling(newRun(t, t.TempDir(), seed, 6), seed)
	k.fault = func(v *service) {
		v.kill(t)
		k.calm(v)
	}
	v := k.serve()
	k.prepare(v)
	k.gather(sized(t, 4, 20, 20), sized(t, 100, 1000, 1000))
	v.finish(t)
	for i := range kills {
		k.round(i)
		k.ledger.clean(t, "after a kill")
	}
	k.conclude("after all kills")
	k.ledger.tell(t, kills, "kills")
	n := k.ledger.counts()
	require.Greater(t, n.acknowledged, 20*kills)
	require.Greater(t, n.delivered, sized(t, 400, 20_000, 20_000))
}

func newKilling(r *run, seed uint64) *killing {
	k := &killing{run: r, rng: rand.New(rand.NewPCG(seed, 0))}
	for _, c := range k.clients {
		c.tick = k.tick
	}
	return k
}

// killing is a service that is ended at any moment.
type killing struct {
	*run
	rng   *rand.Rand
	fault func(v *service) // ends v

	mu      sync.Mutex
	crowds  []crowd       // those not called yet
	answers int           // to come before the kill
	enough  chan struct{} // closed when they have
}

// crowd is an event with many participants, who are all reminded at once when it is moved.
type crowd struct {
	c *client
	h *happening
}

// gather makes n events with so many participants each.
func (k *killing) gather(n, participants int) {
	for i := range n {
		c := k.clients[i%len(k.clients)]
		k.crowds = append(k.crowds, crowd{c, &happening{title: "Crowd", crowd: true}})
	}
	k.all(false, func(c *client) error {
		for _, crowd := range k.crowds {
			if crowd.c != c {
				continue
			}
			if err := c.do(k.t.Context(), c.schedule(crowd.h, time.Now().Add(far).UTC().Truncate(time.Microsecond))); err != nil {
				return err
			}
			if err := c.do(k.t.Context(), c.remind(crowd.h, 60)); err != nil {
				return err
			}
			for range participants {
				if err := c.do(k.t.Context(), c.register(crowd.h)); err != nil {
					return err
				}
			}
		}
		return nil
	})()
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

// round starts the service, looks whether everything is there, loads it and ends it.
func (k *killing) round(i int) {
	v := k.serve()
	var wait func()
	switch i % 5 {
	case 4: // before it has found back to itself
		wait = k.all(true, k.settle)
	default:
		k.all(false, k.settle)()
		ctx, cancel := context.WithTimeout(k.t.Context(), patience)
		defer cancel()
		answered := k.after(1 + k.rng.IntN(400))
		lines := v.out.count() + 1 + k.rng.IntN(60)
		if i%2 == 1 && len(k.crowds) > 0 {
			lines += k.rng.IntN(len(k.crowds[0].h.people))
		}
		wait = k.all(true, func(c *client) error {
			if i%2 == 1 {
				if err := k.call(ctx, c); err != nil {
					return err
				}
			}
			return c.work(ctx, 1_000_000)
		})
		if i%2 == 0 {
			k.waitFor(answered)
		} else {
			k.waitForLines(v, lines)
		}
	}
	// A moment that nothing has a part in.
	<-time.After(time.Duration(k.rng.IntN(3000)) * time.Microsecond)
	k.fault(v)
	wait()
}

// call moves a crowd, if c has the next one, so that all of it is reminded in a moment.
func (k *killing) call(ctx context.Context, c *client) error {
	h := k.next(c)
	if h == nil {
		return nil
	}
	start := time.Now().Add(time.Hour + 300*time.Millisecond).UTC().Truncate(time.Microsecond)
	return c.do(ctx, c.move(h, start))
}

// next gives the next crowd, where it is c's to call; nil otherwise.
func (k *killing) next(c *client) *happening {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.crowds) == 0 || k.crowds[0].c != c {
		return nil
	}
	h := k.crowds[0].h
	k.crowds = k.crowds[1:]
	return h
}

func (k *killing) waitFor(answered <-chan struct{}) {
	select {
	case <-answered:
	case <-time.After(patience):
		require.FailNow(k.t, "the load stands still")
	}
}

func (k *killing) waitForLines(v *service, n int) {
	until(k.t, v, "so much is sent", func() bool { return v.out.count() >= n })
}
