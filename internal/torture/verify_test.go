package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// list reads all of a list; status 404 gives none.
func (c *client) list(ctx context.Context, path string) (items []object, status int, err error) {
	for cursor := ""; ; {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		got, err := c.look(ctx, path+sep+"limit=200"+cursor)
		if err != nil {
			return nil, 0, err
		}
		items = append(items, got.body.items()...)
		next := got.body.text("next_cursor")
		if got.status != 200 || next == "" {
			return items, got.status, nil
		}
		cursor = "&cursor=" + next
	}
}

// look reads what is there after c's last write.
func (c *client) look(ctx context.Context, path string) (reply, error) {
	deadline := time.Now().Add(patience)
	for {
		got, err := c.api.ask(ctx, request{method: "GET", path: path, after: c.after})
		if err != nil {
			return got, errors.Join(errGone, err)
		}
		// The read models may be behind for longer than a request waits.
		if got.status != 503 || time.Now().After(deadline) {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// verify looks whether all that was acknowledged on these events is there, and nothing else is.
func (c *client) verify(ctx context.Context, events []*happening) error {
	for _, h := range events {
		if err := c.verifyEvent(ctx, h); err != nil {
			return err
		}
	}
	if c.hall == "" {
		return nil
	}
	inHall, status, err := c.list(ctx, "/v1/events/"+c.hall+"/participants")
	if err != nil {
		return err
	}
	there := ids(inHall)
	for _, id := range c.inHall {
		if status != 200 || !there[id] {
			c.ledger.blame(lost, "participant %s of the hall: %d", id, status)
		}
	}
	return nil
}

// some gives the last n events and n others: to look at all after each fault would take ever longer.
func (c *client) some(n int) []*happening {
	var plain []*happening
	for _, h := range c.events {
		if !h.crowd {
			plain = append(plain, h)
		}
	}
	last := max(0, len(plain)-n)
	chosen := slices.Clone(plain[last:])
	for range min(n, last) {
		chosen = append(chosen, plain[c.rng.IntN(last)])
	}
	return chosen
}

func ids(items []object) map[string]bool {
	all := make(map[string]bool, len(items))
	for _, item := range items {
		all[item.text("id")] = true
	}
	return all
}

func (c *client) verifyEvent(ctx context.Context, h *happening) error {
	got, err := c.look(ctx, h.path(""))
	if err != nil {
		return err
	}
	c.ledger.note(func(t *tally) { t.checked++ })
	if h.deleted.is() {
		if got.status != 404 {
			c.ledger.blame(lost, "event %s was deleted and is there: %d", h.id, got.status)
		}
		return nil
	}
	status := "scheduled"
	if h.cancelled.is() {
		status = "cancelled"
	}
	start, _ := time.Parse(time.RFC3339, got.body.text("start_time"))
	if got.status != 200 || got.body.text("title") != h.title || !start.Equal(h.start().at) || got.body.text("status") != status ||
		got.body.number("participant_count") != len(h.registered()) {
		c.ledger.blame(lost, "event %s (%s, %s, %s, %d participants) is %d %v", h.id, h.title, status, h.start().at, len(h.registered()),
			got.status, got.body)
		return nil
	}
	if err := c.verifyPeople(ctx, h); err != nil {
		return err
	}
	reminders, code, err := c.list(ctx, h.path("/reminders"))
	if err != nil {
		return err
	}
	there := ids(reminders)
	for _, r := range h.rules() {
		if !there[r.id] {
			c.ledger.blame(lost, "reminder %s of event %s is lost", r.id, h.id)
		}
	}
	if code != 200 || len(there) != len(h.rules()) {
		c.ledger.blame(lost, "reminders of event %s are %d %v", h.id, code, there)
	}
	return nil
}

func (c *client) verifyPeople(ctx context.Context, h *happening) error {
	people, code, err := c.list(ctx, h.path("/participants"))
	if err != nil {
		return err
	}
	var want, have []string
	for _, p := range h.registered() {
		response, status := "needs_action", "waitlisted"
		if len(p.away) > 0 {
			response = "accepted"
		}
		switch {
		case p.declined():
			response, status = "declined", "released"
		case p.confirmed.is():
			status = "confirmed"
		}
		want = append(want, fmt.Sprint(p.id, p.user, response, status))
	}
	for _, p := range people {
		have = append(have, fmt.Sprint(p.text("id"), p.text("user_id"), p.text("response"), p.text("status")))
	}
	if code != 200 || !slices.Equal(want, have) {
		c.ledger.blame(lost, "participants of event %s are %d %v, not %v", h.id, code, have, want)
	}
	return nil
}

// reminded looks, once all is quiet, whether everyone who is to hear something
// has heard it, or will in days to come.
func (c *client) reminded(ctx context.Context, h *happening) error {
	if h.deleted.is() || h.cancelled.is() {
		return nil
	}
	notifications, status, err := c.list(ctx, h.path("/notifications"))
	if err != nil || status != 200 {
		return errors.Join(err, fmt.Errorf("notifications of %s: %d", h.id, status))
	}
	planned := map[string][]object{} // by what it is for and participant
	for _, n := range notifications {
		of := n.text("announcement_id") + n.text("reminder_id") + n.text("participant_id")
		planned[of] = append(planned[of], n)
	}
	expect := func(what, id string, p *person, want string, due func(scheduled time.Time) bool) {
		c.ledger.note(func(t *tally) { t.checked++ })
		var have []string
		for _, n := range planned[id+p.id] {
			scheduled, _ := time.Parse(time.RFC3339, n.text("scheduled_time"))
			// An earlier start's may have been due while the last one was set.
			if due(scheduled) && n.text("status") != "CANCELLED" {
				have = append(have, n.text("status"))
			}
		}
		if !slices.Equal(have, []string{want}) {
			c.ledger.blame(lost, "%s %s for participant %s of event %s is %q, not %s: %v", what, id, p.id, h.id, have, want, planned[id+p.id])
		}
	}
	for _, a := range h.announcements {
		for _, p := range a.to {
			if p.coming() && len(p.away) == 0 {
				expect("announcement", a.id, p, "SENT", func(time.Time) bool { return true })
			}
		}
	}
	start := h.start()
	for _, r := range h.rules() {
		for _, p := range h.coming() {
			by := start.due(r)
			if start.set.from.After(by) {
				by = start.set.from
			}
			if !p.confirmed.is() || !p.confirmed.to.Before(by) || !r.added.to.Before(by) || !start.set.to.Before(start.at) {
				continue // on the list too late, or perhaps too late
			}
			want := "SENT"
			if start.due(r).After(time.Now()) {
				want = "PENDING"
			}
			expect("reminder", r.id, p, want, func(scheduled time.Time) bool { return start.planned(r, p, scheduled) })
		}
	}
	return nil
}

// quiet waits until everything due is final and shown, without a hole.
func (r *run) quiet(v *service) {
	within(r.t, v, 10*time.Minute, "everything due is final", func() bool { return v.atRest(r.t) })
	if stats := v.does(r.t, 200, "GET", "/v1/stats", nil); stats.inner("conservation").number("holes") != 0 {
		r.ledger.blame(lost, "the auditor found holes: %v", stats)
	}
}

// atRest tells whether everything due is final and shown.
func (v *service) atRest(t *testing.T) bool {
	caughtUp := v.does(t, 200, "GET", "/v1/stats", nil)
	for _, reader := range caughtUp.list("projections") {
		if reader.text("position") != caughtUp.inner("store").text("position") {
			return false
		}
	}
	soon := v.does(t, 200, "GET", "/v1/notifications?status=PENDING&due_before="+at(time.Now().Add(30*time.Minute)), nil)
	stats := v.does(t, 200, "GET", "/v1/stats", nil)
	statuses := stats.inner("notifications").inner("by_status")
	return len(soon.items()) == 0 && statuses.number("READY") == 0 && statuses.number("SENDING") == 0 &&
		stats.inner("processor").number("due") == 0 && stats.inner("processor").number("in_flight") == 0 &&
		stats.inner("store").text("position") == caughtUp.inner("store").text("position")
}
