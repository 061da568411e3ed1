package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// client loads a service and knows what it was told. What it owns nobody else
// changes, so that it knows exactly what is to be there.
type client struct {
	name   string
	rng    *rand.Rand
	ledger *ledger
	api    api
	hall   string // an event that all clients register on
	early  int    // minutes that reminders come before a start; they expire a minute after it
	tick   func() // is called after each answer; nil: nothing

	// patient clients ask again what was answered with 503 or 429.
	patient bool

	after  string // Consistency-Token of the last write
	open   *act   // its answer is not known
	events []*happening
	inHall []string // participants
	keyed  []kept   // acknowledged
}

// act is a write.
type act struct {
	request
	fine  []int // statuses; others are faults
	done  func(got reply, when span)
	began span
	tries int
}

// kept is an acknowledged act with a key.
type kept struct {
	request
	status int
	id     string // in the answer
}

var (
	errGone        = errors.New("the service is gone")
	errUnavailable = errors.New("the service can't do it now")
)

func newClient(name string, seed, number uint64, l *ledger) *client {
	return &client{name: name, rng: rand.New(rand.NewPCG(seed, number)), ledger: l}
}

// key is an idempotency key, a user or an address of its own, which the same seed makes again.
func (c *client) key() string { return fmt.Sprintf("%s-%016x", c.name, c.rng.Uint64()) }

// do makes an act, or makes it again; on errGone and errUnavailable it stays open.
func (c *client) do(ctx context.Context, a *act) error {
	if a.tries == 0 {
		a.began = span{from: time.Now(), asked: c.ledger.provider.now()}
	}
	deadline := time.Now().Add(patience)
	for {
		again, err := c.try(ctx, a)
		if err != nil || !again {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s %s is unavailable for %s", a.method, a.path, patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *client) try(ctx context.Context, a *act) (again bool, err error) {
	a.tries++
	c.open = a
	e := entry{Client: c.name, What: "ask", Method: a.method, Path: a.path, Key: a.key, Body: a.body}
	if err := c.ledger.write(e, func(t *tally) {
		if a.tries == 1 {
			t.asked++
		}
	}); err != nil {
		return false, err
	}
	asked := a.request
	asked.after = c.after
	got, err := c.api.ask(ctx, asked)
	e.Body = nil
	if err != nil {
		e.What = "no answer"
		return false, errors.Join(errGone, err, c.ledger.write(e, func(t *tally) { t.unanswered++ }))
	}
	now := c.ledger.provider.acknowledged()
	e.What, e.Status = "answer", got.status
	replayed := got.header.Get("Idempotent-Replayed") == "true"
	come := got.status == 503 || got.status == 429
	if err := c.ledger.write(e, func(t *tally) {
		switch {
		case got.status < 300:
			t.acknowledged++
		case come:
			t.unavailable++
		default:
			t.refused++
		}
		if a.tries > 1 && (replayed || got.status == 404) {
			t.found++
		}
	}); err != nil {
		return false, err
	}
	if come && got.header.Get("Retry-After") == "" {
		return false, fmt.Errorf("%s %s answered %d without Retry-After: %v", a.method, a.path, got.status, got.body)
	}
	if come && c.patient {
		return true, nil
	} else if come {
		return false, fmt.Errorf("%w: %s %s answered %d", errUnavailable, a.method, a.path, got.status)
	}
	c.open = nil
	if !slices.Contains(a.fine, got.status) && (a.tries == 1 || a.method != "DELETE" || got.status != 404) {
		return false, fmt.Errorf("%s %s answered %d: %v", a.method, a.path, got.status, got.body)
	}
	if replayed && a.tries == 1 {
		return false, fmt.Errorf("%s %s was replayed, and asked for once", a.method, a.path)
	}
	if token := got.token(); token != "" {
		c.after = token
	}
	when := a.began
	when.to, when.acked = time.Now(), now
	a.done(got, when)
	if a.key != "" && got.status < 300 {
		c.keyed = append(c.keyed, kept{a.request, got.status, got.body.text("id")})
	}
	if c.tick != nil {
		c.tick()
	}
	return false, nil
}

// settle asks again what a fault left open, and then some of what was answered.
func (c *client) settle(ctx context.Context) error {
	if c.open != nil {
		if err := c.do(ctx, c.open); err != nil {
			return err
		}
	}
	for range min(3, len(c.keyed)) {
		k := c.keyed[c.rng.IntN(len(c.keyed))]
		k.after = c.after
		got, err := c.api.ask(ctx, k.request)
		if err != nil {
			return errors.Join(errGone, err)
		}
		if got.status == 503 {
			return fmt.Errorf("%w: %s %s answered 503", errUnavailable, k.method, k.path)
		}
		c.ledger.note(func(t *tally) { t.repeated++ })
		if got.status != k.status || got.body.text("id") != k.id || got.header.Get("Idempotent-Replayed") != "true" {
			c.ledger.blame(lost, "%s %s with key %s answered %d %s, and again %d %s", k.method, k.path, k.key,
				k.status, k.id, got.status, got.body)
		}
	}
	return nil
}

// work does n acts, or as many as it can until the service is gone.
func (c *client) work(ctx context.Context, n int) error {
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if err := c.do(ctx, c.next()); err != nil {
			return err
		}
	}
	return ctx.Err()
}
