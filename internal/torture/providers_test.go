package torture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestProvidersFail kills the service, again and again, while SendGrid, Twilio and a
// webhook carry its messages, which all fail by a script: whatever was due ended as
// accepted, failed, held or cancelled, and whatever arrived twice is explained by an
// attempt whose outcome the service knew to be unknown.
func TestProvidersFail(t *testing.T) {
	budget(t, time.Minute)
	seed := seeded(t)
	long := *size == "long"
	p := &providing{
		killing: newKilling(newRun(t, t.TempDir(), seed, 6), seed),
		crowd:   sized(t, 6, 20, 60), patience: 8 * time.Second, cancelled: map[string]moment{},
	}
	script := providerScript{seed: seed, again: 1, late: 3 * time.Second}
	if long { // then there is time for what takes its minutes
		script.again, script.untaken, script.late = 3, true, 33*time.Second
		p.patience = 6 * time.Minute
	}
	p.sim = newSimulator(t, script)
	p.provider.taken, p.provider.env = p.sim.taken, p.sim.env(t)
	p.fault = func(v *service) {
		v.kill(t)
		p.sim.drain(t)
		p.calm(v)
	}
	kills, every := sized(t, 3, 6, 20), time.Duration(sized(t, 1500, 3000, 5000))*time.Millisecond
	v := p.serve()
	v.does(t, 200, "POST", "/v1/processor/start", object{"check_interval_seconds": 1})
	p.enlist(sized(t, 12, 24, 120))
	v.finish(t)
	for i := range kills {
		p.round(kills-i, every)
		p.ledger.clean(t, "after a kill")
	}
	v = p.serve()
	v.ready(t)
	p.all(false, p.settle)()
	p.rest(v)
	p.all(false, func(c *client) error { return p.epilogue(c) })()
	p.rest(v)
	p.quiet(v)
	told := p.told()
	v.finish(t)
	p.calm(v)
	stories := stories(t, p.ledger, p.folder, ringIn(t, p.folder))
	n := p.judge(stories, told)
	p.compare(p.folder)
	p.ledger.clean(t, "after all kills")
	p.ledger.tell(t, kills, "kills")
	t.Log(n)
	require.Positive(t, n.accepted)
	if *size != "small" { // in which chance may leave some out
		require.Positive(t, n.rejected)
		require.Positive(t, n.cancelled)
		require.Positive(t, n.again)
	}
	require.Greater(t, n.due, sized(t, 100, 700, 18_000))
}

// providing is a service that is killed while simulated providers carry its messages.
type providing struct {
	*killing
	sim      *simulator
	crowd    int           // participants of an event
	patience time.Duration // what waits for longer in the end is cancelled by hand

	cancelled map[string]moment // by hand, and since when that was known
}

// enlist makes n events whose participants are reminded on three channels.
func (p *providing) enlist(n int) {
	for i := range n {
		c := p.clients[i%len(p.clients)]
		p.crowds = append(p.crowds, crowd{c, &happening{title: fmt.Sprint("Crowd ", i), crowd: true}})
	}
	p.all(false, func(c *client) error {
		for i, crowd := range p.crowds {
			if crowd.c != c {
				continue
			}
			if err := c.do(p.t.Context(), c.schedule(crowd.h, time.Now().Add(far).UTC().Truncate(time.Microsecond))); err != nil {
				return err
			}
			if err := c.do(p.t.Context(), c.remind(crowd.h, 60)); err != nil {
				return err
			}
			for number := range p.crowd {
				if err := c.do(p.t.Context(), c.registerReachable(crowd.h, fmt.Sprintf("+1500%07d", i*p.crowd+number))); err != nil {
					return err
				}
			}
		}
		return nil
	})()
}

// channelsOfAll are those on which everybody is reached.
var channelsOfAll = []string{"email", "sms", "webhook"}

// registerReachable registers somebody on all channels.
func (c *client) registerReachable(h *happening, phone string) *act {
	a := c.register(h)
	a.body["phone"], a.body["channels"] = phone, channelsOfAll
	return a
}

// round starts the service, has a share of the crowds reminded, changes some of
// them about then, and kills the service after a while.
func (p *providing) round(left int, every time.Duration) {
	v := p.serve()
	p.all(false, p.settle)()
	var mine []crowd
	p.mu.Lock()
	share := (len(p.crowds) + left - 1) / left
	mine, p.crowds = p.crowds[:share], p.crowds[share:]
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	wait := p.all(true, func(c *client) error {
		for _, crowd := range mine {
			if crowd.c != c {
				continue
			}
			if err := p.call(ctx, c, crowd.h, every/4); err != nil {
				return err
			}
		}
		return nil
	})
	<-time.After(every)
	p.fault(v)
	wait()
}

// call moves a crowd, so that all of it is reminded in a moment, and has something
// happen to some crowds just then.
func (p *providing) call(ctx context.Context, c *client, h *happening, within time.Duration) error {
	lead := 200*time.Millisecond + time.Duration(c.rng.Int64N(int64(within)))
	start := time.Now().Add(time.Hour + lead).UTC().Truncate(time.Microsecond)
	if err := c.do(ctx, c.move(h, start)); err != nil {
		return err
	}
	what := c.rng.IntN(8)
	if what > 4 {
		return nil
	}
	// Whether it comes before, at or after the sends is left to chance.
	wait := time.Until(start.Add(-time.Hour)) + time.Duration(c.rng.IntN(400)-100)*time.Millisecond
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	somebody := h.people[c.rng.IntN(len(h.people))]
	switch what {
	case 0:
		return c.do(ctx, c.cancel(h))
	case 1:
		return c.do(ctx, c.move(h, time.Now().Add(far).UTC().Truncate(time.Microsecond)))
	case 2:
		return c.do(ctx, c.decline(h, somebody))
	case 3:
		return c.do(ctx, c.remove(h, somebody))
	}
	return c.do(ctx, c.announce(h))
}

// epilogue makes one more announcement by text message, by which those who have said
// stop are not to be reached.
func (p *providing) epilogue(c *client) error {
	for i, h := range c.events {
		if h.cancelled.is() || i >= 3 {
			continue
		}
		a := c.announce(h)
		a.body["channels"], a.body["message"] = []string{"sms"}, "One more thing"
		if err := c.do(p.t.Context(), a); err != nil {
			return err
		}
	}
	return nil
}

// rest waits until everything due is final. What would wait for long is cancelled by
// hand, as an operator could.
func (p *providing) rest(v *service) {
	within(p.t, v, 30*time.Minute, "everything due is final", func() bool {
		for _, n := range v.does(p.t, 200, "GET", "/v1/notifications?status=READY&limit=200", nil).items() {
			p.cancelByHand(v, n)
		}
		return v.atRest(p.t)
	})
}

// cancelByHand cancels what won't be tried soon.
func (p *providing) cancelByHand(v *service, n object) {
	next, err := time.Parse(time.RFC3339, n.text("next_attempt_time"))
	if err != nil || time.Until(next) < p.patience {
		return
	}
	id := n.text("id")
	got, err := v.api.ask(p.t.Context(), request{method: "POST", path: "/v1/notifications/" + id + "/cancel", body: object{}})
	require.NoError(p.t, err)
	if got.status == 200 {
		p.cancelled[id] = p.provider.acknowledged()
	} else {
		require.Equal(p.t, 409, got.status, "%v", got.body)
	}
}

// told reads from the API what became of every notification.
func (p *providing) told() map[string]object {
	items, status, err := p.clients[0].list(p.t.Context(), "/v1/notifications")
	require.NoError(p.t, err)
	require.Equal(p.t, 200, status)
	all := map[string]object{}
	details := make(chan object)
	jobs := make(chan string)
	go func() {
		defer close(jobs)
		for _, n := range items {
			jobs <- n.text("id")
		}
	}()
	go func() {
		defer close(details)
		p.all(false, func(c *client) error {
			for id := range jobs {
				got, err := c.look(p.t.Context(), "/v1/notifications/"+id)
				if err != nil {
					return err
				}
				details <- got.body
			}
			return nil
		})()
	}()
	for n := range details {
		all[n.text("id")] = n
	}
	require.Len(p.t, all, len(items))
	return all
}
