package torture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMovesAgainstSends races moves, declines, removals and cancellations
// against the reminders that they make unwanted, which are due at that moment:
// none leaves for the old state after the acknowledgement.
func TestMovesAgainstSends(t *testing.T) {
	beside(t)
	budget(t, 2*time.Minute)
	seed := seeded(t)
	races := sized(t, 500, 10_000, 200_000)
	r := newRun(t, t.TempDir(), seed, 16)
	v := r.serve()
	r.prepare(v)
	made := make([]int, len(r.clients))
	r.all(false, func(c *client) error {
		var number int
		_, err := fmt.Sscanf(c.name, "client-%d", &number)
		for err == nil && made[number] < (races+len(r.clients)-1)/len(r.clients) {
			var n int
			n, err = c.race(t.Context())
			made[number] += n
		}
		return err
	})()
	n := 0
	for _, m := range made {
		n += m
	}
	require.GreaterOrEqual(t, n, races)
	r.quiet(v)
	told := v.does(t, 200, "GET", "/v1/stats", nil).number("overtaken")
	v.finish(t)
	r.conclude("after all races")
	r.ledger.tell(t, n, "races")
	count := r.ledger.counts()
	t.Logf("the service says that %d were overtaken", told)
	require.LessOrEqual(t, count.overtaken, told, "each is counted by the service")
	require.Positive(t, count.delivered, "sends race at all")
}

// race makes an event with reminders that are due in a moment, and changes it
// about then, several times; it gives how often.
func (c *client) race(ctx context.Context) (races int, err error) {
	h := &happening{title: "Race"}
	due := func() time.Time {
		return time.Now().Add(time.Hour + time.Duration(8+c.rng.IntN(30))*time.Millisecond).UTC().Truncate(time.Microsecond)
	}
	steps := []func() *act{
		func() *act { return c.schedule(h, time.Now().Add(far).UTC().Truncate(time.Microsecond)) },
		func() *act { return c.remind(h, 60) },
		func() *act { return c.register(h) },
		func() *act { return c.register(h) },
	}
	for _, step := range steps {
		if err := c.do(ctx, step()); err != nil {
			return 0, err
		}
	}
	// Whether it comes before, at or after the send is left to chance.
	at := func(what *act) error {
		wait := time.Until(h.start().at.Add(-time.Hour)) + time.Duration(c.rng.IntN(16)-6)*time.Millisecond
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		races++
		return c.do(ctx, what)
	}
	for range 5 {
		if err := c.do(ctx, c.move(h, due())); err != nil {
			return races, err
		}
		races++ // the move before it may be on its way
		if c.rng.IntN(2) == 0 {
			p := h.people[0]
			if err := at(c.decline(h, p)); err != nil {
				return races, err
			}
			if err := c.do(ctx, c.accept(h, p)); err != nil {
				return races, err
			}
			continue
		}
		if err := at(c.move(h, due())); err != nil {
			return races, err
		}
	}
	last := []func() *act{
		func() *act { return c.cancel(h) }, func() *act { return c.drop(h) },
		func() *act { return c.remove(h, h.people[1]) }, func() *act { return c.unremind(h, h.reminders[0]) },
	}
	return races, at(last[c.rng.IntN(len(last))]())
}
