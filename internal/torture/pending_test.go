package torture

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRestartWithManyPending kills a service with many pending reminders, one of
// which becomes due while it is down, and measures how long it takes from the
// start of the process until that one is delivered.
func TestRestartWithManyPending(t *testing.T) {
	onlySized(t, measures)
	budget(t, 3*time.Minute)
	seed := seeded(t)
	pending := sized(t, 2_000, 100_000, 100_000)
	const perEvent, reminders = 250, 20
	k := newKilling(newRun(t, t.TempDir(), seed, 4), seed)
	v := k.serve()
	k.prepare(v)
	k.gather(max(1, pending/perEvent/reminders), perEvent)
	k.all(false, func(c *client) error {
		for _, h := range c.events {
			for i := range reminders - 1 {
				if err := c.do(t.Context(), c.remind(h, 120+i)); err != nil {
					return err
				}
			}
		}
		return nil
	})()
	planned := func() int {
		return v.does(t, 200, "GET", "/v1/stats", nil).inner("notifications").inner("by_status").number("PENDING")
	}
	within(t, v, 10*time.Minute, "all are planned", func() bool { return planned() >= pending })
	v.caughtUp(t) // or the first one would wait behind what was planned

	best, measured := time.Hour, 0
	c := k.clients[0]
	for lead := 3 * time.Second; measured < rounds; {
		h := &happening{title: "The first one"}
		start := time.Now().Add(time.Hour + lead).UTC().Truncate(time.Microsecond)
		require.NoError(t, c.do(t.Context(), c.schedule(h, start)))
		require.NoError(t, c.do(t.Context(), c.remind(h, 60)))
		require.NoError(t, c.do(t.Context(), c.register(h)))
		if len(h.rules()) == 0 { // it was due before it was asked for
			lead *= 2
			continue
		}
		status := ""
		within(t, v, 10*time.Minute, "it is planned", func() bool {
			for _, n := range v.does(t, 200, "GET", h.path("/notifications"), nil).items() {
				status = n.text("status")
			}
			return status != ""
		})
		if status != "PENDING" { // the machine is too slow for so short a time
			lead *= 2
			continue
		}
		measured++
		v.kill(t)
		<-time.After(time.Until(start.Add(-time.Hour)))
		began := time.Now()
		v = k.serve()
		within(t, v, 10*time.Minute, "the first one is sent", func() bool { return v.out.count() > 0 })
		best = min(best, time.Since(began))
		t.Logf("sent %s after the start of the process, with %d pending", time.Since(began).Round(time.Millisecond), planned())
	}
	require.Less(t, best, 5*time.Second, "in the best of %d starts", rounds)
	k.quiet(v)
	v.finish(t)
	// That everything else is there is for suites that look at less.
	judge(k.ledger, stories(t, k.ledger, k.folder, ringIn(t, k.folder)), k.provider.messages(t), k.happenings())
	k.ledger.clean(t, "after the restarts")
	k.ledger.tell(t, rounds, "restarts")
}
