package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
)

// crashClient loads a service and knows what it was told. What it owns nobody
// else changes, so that it knows exactly what is to be there.
type crashClient struct {
	name    string
	rng     *rand.Rand
	ledger  *ledger
	service demoClient
	hall    string // an event that all clients register on
	tick    func() // is called after each answer

	after  string   // Consistency-Token of the last write
	open   *request // its answer is not known
	events []*happening
	inHall []string  // participants
	keyed  []request // acknowledged
}

// request is a write.
type request struct {
	method, path, key string
	body              object
	fine              []int // statuses; others are faults
	first             time.Time
	tries             int
	done              func(got reply, when span)
	id                string // in the answer
	status            int
}

var errKilled = errors.New("the service is gone")

// ask makes the request, or makes it again; on errKilled it stays open.
func (c *crashClient) ask(ctx context.Context, r *request) error {
	if r.tries == 0 {
		r.first = time.Now()
	}
	r.tries++
	c.open = r
	e := entry{Client: c.name, What: "ask", Method: r.method, Path: r.path, Key: r.key, Body: r.body}
	if err := c.ledger.write(e, func(t *tally) {
		if r.tries == 1 {
			t.asked++
		}
	}); err != nil {
		return err
	}
	service := c.service
	service.key = r.key
	var body any
	if r.body != nil {
		body = r.body
	}
	got, err := service.ask(ctx, r.method, r.path, c.after, body)
	e.Body = nil
	if err != nil {
		e.What = "no answer"
		return errors.Join(errKilled, c.ledger.write(e, func(t *tally) { t.unanswered++ }))
	}
	e.What, e.Status = "answer", got.status
	replayed := got.header.Get("Idempotent-Replayed") == "true"
	if err := c.ledger.write(e, func(t *tally) {
		switch {
		case got.status < 300:
			t.acknowledged++
		default:
			t.refused++
		}
		if r.tries > 1 && (replayed || got.status == 404) {
			t.found++
		}
	}); err != nil {
		return err
	}
	c.open = nil
	if !slices.Contains(r.fine, got.status) && (r.tries == 1 || r.method != "DELETE" || got.status != 404) {
		return fmt.Errorf("%s %s answered %d: %v", r.method, r.path, got.status, got.body)
	}
	if replayed && r.tries == 1 {
		return fmt.Errorf("%s %s was replayed, and asked for once", r.method, r.path)
	}
	if token := got.token(); token != "" {
		c.after = token
	}
	r.done(got, span{from: r.first, to: time.Now(), boot: c.ledger.boot.Load()})
	if r.key != "" && got.status < 300 {
		kept := *r
		kept.id, kept.status = got.body.text("id"), got.status
		c.keyed = append(c.keyed, kept)
	}
	c.tick()
	return nil
}

// settle asks again what a kill left open, and then some of what was answered.
func (c *crashClient) settle(ctx context.Context) error {
	if c.open != nil {
		if err := c.ask(ctx, c.open); err != nil {
			return err
		}
	}
	for range min(3, len(c.keyed)) {
		r := c.keyed[c.rng.IntN(len(c.keyed))]
		service := c.service
		service.key = r.key
		got, err := service.ask(ctx, r.method, r.path, c.after, r.body)
		if err != nil {
			return errKilled
		}
		c.ledger.note(func(t *tally) { t.repeated++ })
		if got.status != r.status || got.body.text("id") != r.id || got.header.Get("Idempotent-Replayed") != "true" {
			c.ledger.lose("%s %s with key %s answered %d %s, and again %d %s", r.method, r.path, r.key,
				r.status, r.id, got.status, got.body)
		}
	}
	return nil
}

// work writes until the service is gone.
func (c *crashClient) work(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.ask(ctx, c.next()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

const far = 48 * time.Hour

// soon is a start that comes during the test.
func (c *crashClient) soon() time.Time {
	return time.Now().Add(time.Second + time.Duration(c.rng.Int64N(int64(2*time.Second)))).UTC().Truncate(time.Microsecond)
}

// next makes up a request.
func (c *crashClient) next() *request {
	var living []*happening
	for i := len(c.events) - 1; i >= 0 && len(living) < 5; i-- {
		if !c.events[i].deleted.is() {
			living = append(living, c.events[i])
		}
	}
	if len(living) == 0 || c.rng.IntN(8) == 0 {
		return c.schedule()
	}
	if c.rng.IntN(12) == 0 {
		return c.enterHall()
	}
	h := living[c.rng.IntN(len(living))]
	ahead := time.Until(h.start().at) > 200*time.Millisecond
	coming, kept := h.coming(), h.rules()
	if len(kept) == 0 && ahead {
		return c.remind(h)
	}
	if len(h.people) == 0 {
		return c.register(h)
	}
	switch n := c.rng.IntN(100); {
	case n < 35 && len(h.people) < 6:
		return c.register(h)
	case n < 60:
		return c.announce(h)
	case n < 70 && len(coming) > 0:
		return c.decline(h, coming[c.rng.IntN(len(coming))])
	case n < 77 && len(coming) > 0:
		return c.remove(h, coming[c.rng.IntN(len(coming))])
	case n < 87:
		return c.move(h)
	case n < 90 && len(kept) > 0:
		return c.unremind(h, kept[0])
	case n < 94:
		return c.rename(h)
	}
	return c.drop(h)
}

func (h *happening) rules() (kept []*rule) {
	for _, r := range h.reminders {
		if !r.removed.is() {
			kept = append(kept, r)
		}
	}
	return kept
}

func (h *happening) path(more string) string { return "/v1/events/" + h.id + more }

func (c *crashClient) schedule() *request {
	h := &happening{title: "Ringing " + c.name, capacity: c.rng.IntN(2) * 2}
	start := c.soon()
	if c.rng.IntN(5) == 0 {
		start = start.Add(far)
	}
	body := object{"title": h.title, "description": "Rounds", "start_time": at(start), "end_time": at(start.Add(2 * time.Hour))}
	if h.capacity > 0 {
		body["capacity"] = h.capacity
	}
	return &request{method: "POST", path: "/v1/events", key: uuid.NewString(), body: body, fine: []int{201, 422}, done: func(got reply, when span) {
		if got.status == 201 { // else its start came before the service did
			h.id, h.starts = got.body.text("id"), []schedule{{at: start, set: when}}
			c.events = append(c.events, h)
		}
	}}
}

func (c *crashClient) remind(h *happening) *request {
	return &request{
		method: "POST", path: h.path("/reminders"), key: uuid.NewString(), body: object{"minutes_before": 0}, fine: []int{201, 422},
		done: func(got reply, when span) {
			if got.status == 201 {
				h.reminders = append(h.reminders, &rule{id: got.body.text("id"), added: when})
			}
		},
	}
}

func (c *crashClient) unremind(h *happening, r *rule) *request {
	return &request{method: "DELETE", path: h.path("/reminders/" + r.id), fine: []int{204}, done: func(_ reply, when span) { r.removed = when }}
}

func (c *crashClient) register(h *happening) *request {
	p := &person{user: uuid.NewString()}
	return &request{
		method: "POST", path: h.path("/participants"), key: uuid.NewString(), fine: []int{201},
		body: object{"user_id": p.user, "name": "Somebody", "email": p.user + "@example.org"},
		done: func(got reply, when span) {
			p.id, p.joined = got.body.text("id"), when
			h.people = append(h.people, p)
			h.seat(when)
		},
	}
}

func (c *crashClient) enterHall() *request {
	user := uuid.NewString()
	return &request{
		method: "POST", path: "/v1/events/" + c.hall + "/participants", key: uuid.NewString(), fine: []int{201},
		body: object{"user_id": user, "name": "Somebody", "email": user + "@example.org"},
		done: func(got reply, _ span) { c.inHall = append(c.inHall, got.body.text("id")) },
	}
}

func (c *crashClient) announce(h *happening) *request {
	return &request{
		method: "POST", path: h.path("/announcements"), key: uuid.NewString(), body: object{"message": "Hear, hear"}, fine: []int{202},
		done: func(got reply, _ span) {
			h.announcements = append(h.announcements, &announced{id: got.body.text("id"), to: h.coming()})
		},
	}
}

func (c *crashClient) decline(h *happening, p *person) *request {
	return &request{
		method: "POST", path: "/v1/participants/" + p.id + "/rsvp", key: uuid.NewString(), body: object{"response": "declined"}, fine: []int{200},
		done: func(_ reply, when span) {
			p.declined = when
			h.seat(when)
		},
	}
}

func (c *crashClient) remove(h *happening, p *person) *request {
	return &request{method: "DELETE", path: "/v1/participants/" + p.id, fine: []int{204}, done: func(_ reply, when span) {
		p.removed = when
		h.seat(when)
	}}
}

func (c *crashClient) move(h *happening) *request {
	start := c.soon()
	if c.rng.IntN(3) == 0 {
		start = start.Add(far)
	}
	return &request{
		method: "PATCH", path: h.path(""), body: object{"start_time": at(start), "end_time": at(start.Add(2 * time.Hour))}, fine: []int{200, 422},
		done: func(got reply, when span) {
			if got.status == 200 {
				h.start().replaced = when
				h.starts = append(h.starts, schedule{at: start, set: when})
			}
		},
	}
}

func (c *crashClient) rename(h *happening) *request {
	title := fmt.Sprintf("Ringing %s, take %d", c.name, c.rng.Int())
	return &request{method: "PATCH", path: h.path(""), body: object{"title": title}, fine: []int{200}, done: func(reply, span) { h.title = title }}
}

func (c *crashClient) drop(h *happening) *request {
	return &request{method: "DELETE", path: h.path(""), fine: []int{204}, done: func(_ reply, when span) { h.deleted = when }}
}
