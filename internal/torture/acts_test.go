package torture

import (
	"fmt"
	"time"
)

// far is not during the test.
const far = 48 * time.Hour

// soon is a start whose reminders are due during the test.
func (c *client) soon() time.Time {
	return time.Now().Add(time.Duration(c.early)*time.Minute + time.Second + time.Duration(c.rng.Int64N(int64(2*time.Second)))).UTC().Truncate(time.Microsecond)
}

// next makes up an act.
func (c *client) next() *act {
	var living []*happening
	for i := len(c.events) - 1; i >= 0 && len(living) < 5; i-- {
		if h := c.events[i]; !h.deleted.is() && !h.cancelled.is() && !h.crowd {
			living = append(living, h)
		}
	}
	if len(living) == 0 || c.rng.IntN(8) == 0 {
		h := &happening{title: "Ringing " + c.name, capacity: c.rng.IntN(2) * 2}
		start := c.soon()
		if c.rng.IntN(5) == 0 {
			start = start.Add(far)
		}
		return c.schedule(h, start)
	}
	if c.hall != "" && c.rng.IntN(12) == 0 {
		return c.enterHall()
	}
	h := living[c.rng.IntN(len(living))]
	coming, kept := h.coming(), h.rules()
	if len(kept) == 0 && time.Until(h.start().at)-time.Duration(c.early)*time.Minute > 200*time.Millisecond {
		return c.remind(h, c.early)
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
	case n < 86:
		start := c.soon()
		if c.rng.IntN(3) == 0 {
			start = start.Add(far)
		}
		return c.move(h, start)
	case n < 89 && len(kept) > 0:
		return c.unremind(h, kept[0])
	case n < 93:
		return c.rename(h)
	case n < 96:
		return c.cancel(h)
	}
	return c.drop(h)
}

func (h *happening) path(more string) string { return "/v1/events/" + h.id + more }

func (c *client) schedule(h *happening, start time.Time) *act {
	body := object{"title": h.title, "description": "Rounds", "start_time": at(start), "end_time": at(start.Add(2 * time.Hour))}
	if h.capacity > 0 {
		body["capacity"] = h.capacity
	}
	return &act{
		request: request{method: "POST", path: "/v1/events", key: c.key(), body: body}, fine: []int{201, 422},
		done: func(got reply, when span) {
			if got.status == 201 { // else its start came before the service did
				h.id, h.starts = got.body.text("id"), []*schedule{{at: start, set: when}}
				c.events = append(c.events, h)
			}
		},
	}
}

func (c *client) remind(h *happening, minutes int) *act {
	return &act{
		request: request{method: "POST", path: h.path("/reminders"), key: c.key(), body: object{"minutes_before": minutes}},
		fine:    []int{201, 422},
		done: func(got reply, when span) {
			if got.status == 201 {
				h.reminders = append(h.reminders, &rule{id: got.body.text("id"), before: time.Duration(minutes) * time.Minute, added: when})
			}
		},
	}
}

func (c *client) unremind(h *happening, r *rule) *act {
	return &act{
		request: request{method: "DELETE", path: h.path("/reminders/" + r.id)}, fine: []int{204},
		done: func(_ reply, when span) { r.removed = when },
	}
}

// somebody is the body of a registration.
func (c *client) somebody() object {
	user := c.key()
	return object{"user_id": user, "name": "Somebody", "email": user + "@example.org"}
}

func (c *client) register(h *happening) *act {
	body := c.somebody()
	p := &person{user: body.text("user_id")}
	return &act{
		request: request{method: "POST", path: h.path("/participants"), key: c.key(), body: body}, fine: []int{201},
		done: func(got reply, when span) {
			p.id, p.joined = got.body.text("id"), when
			h.people = append(h.people, p)
			h.seat(when)
		},
	}
}

func (c *client) enterHall() *act {
	return &act{
		request: request{method: "POST", path: "/v1/events/" + c.hall + "/participants", key: c.key(), body: c.somebody()}, fine: []int{201},
		done: func(got reply, _ span) { c.inHall = append(c.inHall, got.body.text("id")) },
	}
}

func (c *client) announce(h *happening) *act {
	return &act{
		request: request{method: "POST", path: h.path("/announcements"), key: c.key(), body: object{"message": "Hear, hear"}}, fine: []int{202},
		done: func(got reply, _ span) {
			h.announcements = append(h.announcements, &announced{id: got.body.text("id"), to: h.coming()})
		},
	}
}

func (c *client) respond(p *person, response string, done func(when span)) *act {
	return &act{
		request: request{method: "POST", path: "/v1/participants/" + p.id + "/rsvp", key: c.key(), body: object{"response": response}},
		fine:    []int{200}, done: func(_ reply, when span) { done(when) },
	}
}

func (c *client) decline(h *happening, p *person) *act {
	return c.respond(p, "declined", func(when span) {
		p.away = append(p.away, away{declined: when})
		p.confirmed = span{}
		h.seat(when)
	})
}

func (c *client) accept(h *happening, p *person) *act {
	return c.respond(p, "accepted", func(when span) {
		p.away[len(p.away)-1].accepted = when
		h.seat(when)
	})
}

func (c *client) remove(h *happening, p *person) *act {
	return &act{
		request: request{method: "DELETE", path: "/v1/participants/" + p.id}, fine: []int{204},
		done: func(_ reply, when span) {
			p.removed = when
			h.seat(when)
		},
	}
}

func (c *client) move(h *happening, start time.Time) *act {
	return &act{
		request: request{method: "PATCH", path: h.path(""), body: object{"start_time": at(start), "end_time": at(start.Add(2 * time.Hour))}},
		fine:    []int{200, 422},
		done: func(got reply, when span) {
			if got.status == 200 {
				h.start().replaced = when
				h.starts = append(h.starts, &schedule{at: start, set: when})
			}
		},
	}
}

func (c *client) rename(h *happening) *act {
	title := fmt.Sprintf("Ringing %s, take %d", c.name, c.rng.Int())
	return &act{
		request: request{method: "PATCH", path: h.path(""), body: object{"title": title}}, fine: []int{200},
		done: func(reply, span) { h.title = title },
	}
}

func (c *client) cancel(h *happening) *act {
	return &act{
		request: request{method: "POST", path: h.path("/cancel"), key: c.key(), body: object{"reason": "no bells"}}, fine: []int{200},
		done: func(_ reply, when span) { h.cancelled = when },
	}
}

func (c *client) drop(h *happening) *act {
	return &act{
		request: request{method: "DELETE", path: h.path("")}, fine: []int{204},
		done: func(_ reply, when span) { h.deleted = when },
	}
}
