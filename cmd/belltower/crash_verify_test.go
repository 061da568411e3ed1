package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

// list reads all of a list; status 404 gives none.
func (c *crashClient) list(ctx context.Context, path string) (items []object, status int, err error) {
	for cursor := ""; ; {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		got, err := c.service.ask(ctx, "GET", path+sep+"limit=200"+cursor, c.after, nil)
		if err != nil {
			return nil, 0, errKilled
		}
		items = append(items, got.body.items()...)
		next := got.body.text("next_cursor")
		if got.status != 200 || next == "" {
			return items, got.status, nil
		}
		cursor = "&cursor=" + next
	}
}

// verify looks whether all that was acknowledged is there, and nothing else is.
func (c *crashClient) verify(ctx context.Context) error {
	for _, h := range c.events {
		if err := c.verifyEvent(ctx, h); err != nil {
			return err
		}
	}
	inHall, status, err := c.list(ctx, "/v1/events/"+c.hall+"/participants")
	if err != nil {
		return err
	}
	there := ids(inHall)
	for _, id := range c.inHall {
		if status != 200 || !there[id] {
			c.ledger.lose("participant %s of the hall: %d", id, status)
		}
	}
	return nil
}

func ids(items []object) map[string]bool {
	all := make(map[string]bool, len(items))
	for _, item := range items {
		all[item.text("id")] = true
	}
	return all
}

func (c *crashClient) verifyEvent(ctx context.Context, h *happening) error {
	got, err := c.service.ask(ctx, "GET", h.path(""), c.after, nil)
	if err != nil {
		return errKilled
	}
	c.ledger.note(func(t *tally) { t.checked++ })
	if h.deleted.is() {
		if got.status != 404 {
			c.ledger.lose("event %s was deleted and is there: %d", h.id, got.status)
		}
		return nil
	}
	start, _ := time.Parse(time.RFC3339, got.body.text("start_time"))
	if got.status != 200 || got.body.text("title") != h.title || !start.Equal(h.start().at) ||
		got.body.number("participant_count") != len(h.registered()) {
		c.ledger.lose("event %s (%s, %s, %d participants) is %d %v", h.id, h.title, h.start().at, len(h.registered()), got.status, got.body)
		return nil
	}
	people, status, err := c.list(ctx, h.path("/participants"))
	if err != nil {
		return err
	}
	var want, have []string
	for _, p := range h.registered() {
		response, status := "needs_action", "waitlisted"
		switch {
		case p.declined.is():
			response, status = "declined", "released"
		case p.confirmed.is():
			status = "confirmed"
		}
		want = append(want, fmt.Sprint(p.id, p.user, response, status))
	}
	for _, p := range people {
		have = append(have, fmt.Sprint(p.text("id"), p.text("user_id"), p.text("response"), p.text("status")))
	}
	if status != 200 || !slices.Equal(want, have) {
		c.ledger.lose("participants of event %s are %d %v, not %v", h.id, status, have, want)
	}
	reminders, status, err := c.list(ctx, h.path("/reminders"))
	if err != nil {
		return err
	}
	there := ids(reminders)
	for _, r := range h.rules() {
		if !there[r.id] {
			c.ledger.lose("reminder %s of event %s is lost", r.id, h.id)
		}
	}
	if status != 200 || len(there) != len(h.rules()) {
		c.ledger.lose("reminders of event %s are %d %v", h.id, status, there)
	}
	return nil
}

// delivered looks, once all is quiet, whether everyone who is to hear something
// has heard it, or will in days to come.
func (c *crashClient) delivered(ctx context.Context, h *happening) error {
	if h.deleted.is() {
		return nil
	}
	notifications, status, err := c.list(ctx, h.path("/notifications"))
	if err != nil || status != 200 {
		return errors.Join(err, fmt.Errorf("notifications of %s: %d", h.id, status))
	}
	statuses := map[string]string{}
	for _, n := range notifications {
		due, _ := time.Parse(time.RFC3339, n.text("scheduled_time"))
		rule := n.text("announcement_id")
		if id := n.text("reminder_id"); id != "" {
			rule = fmt.Sprint(id, due.UnixMicro())
		}
		statuses[rule+n.text("participant_id")] = n.text("status")
	}
	expect := func(what, rule string, p *person, want string) {
		c.ledger.note(func(t *tally) { t.checked++ })
		if have := statuses[rule+p.id]; have != want {
			c.ledger.lose("%s for participant %s of event %s is %q, not %s", what, p.id, h.id, have, want)
		}
	}
	for _, a := range h.announcements {
		for _, p := range a.to {
			if !p.gone().is() {
				expect("announcement "+a.id, a.id, p, "SENT")
			}
		}
	}
	start := h.start()
	for _, r := range h.rules() {
		for _, p := range h.coming() {
			if !p.confirmed.is() || !p.confirmed.to.Before(start.at) || !r.added.to.Before(start.at) || !start.set.to.Before(start.at) {
				continue // on the list too late, or perhaps too late
			}
			want := "SENT"
			if start.at.After(time.Now()) {
				want = "PENDING"
			}
			expect("reminder "+r.id, fmt.Sprint(r.id, start.at.UnixMicro()), p, want)
		}
	}
	return nil
}

// stories folds every notification from the log, deleted events' too.
func stories(t *testing.T, folder string) map[string]*aggregates.Notification {
	log, err := embedded.Open(t.Context(), folder, embedded.Options{})
	require.NoError(t, err)
	defer log.Close()
	ring, err := keys.Open(t.Context(), folder, keys.Existing())
	require.NoError(t, err)
	defer ring.Close()
	sub, err := log.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	all := map[string]*aggregates.Notification{}
	for caughtUp := false; !caughtUp; {
		batch, err := sub.Next(t.Context())
		require.NoError(t, err)
		caughtUp = batch.CaughtUp
		for _, r := range batch.Records {
			id, ok := strings.CutPrefix(r.Stream, commands.NotificationStream(""))
			if !ok {
				continue
			}
			fact, err := events.Decode(ring, r.ID, r.Type, r.Data)
			require.NoError(t, err)
			var meta events.Metadata
			require.NoError(t, json.Unmarshal(r.Metadata, &meta))
			s := all[id]
			if s == nil {
				require.NoError(t, uuid.Validate(id))
				s = &aggregates.Notification{}
				all[id] = s
			}
			s.Evolve(fact, aggregates.Stamp{Revision: r.Revision, At: meta.OccurredAt})
		}
	}
	return all
}

// carried is a line of the console channel and the start of the service that wrote it.
type carried struct {
	sentLine
	boot int64
}

// audit holds what was carried against what the log says of it.
func audit(t *testing.T, all map[string]*aggregates.Notification, lines []carried) (doubled int) {
	seen := map[string][]int{}
	for _, l := range lines {
		s := all[l.NotificationID]
		require.NotNil(t, s, "%+v was carried and never scheduled", l)
		require.NotContains(t, seen[l.NotificationID], l.Attempt, "%+v was carried twice", l)
		seen[l.NotificationID] = append(seen[l.NotificationID], l.Attempt)
		require.LessOrEqual(t, l.Attempt, len(s.Log), "%+v was never claimed", l)
		outcome := s.Log[l.Attempt-1].Outcome
		require.Contains(t, []string{aggregates.OutcomeSent, aggregates.OutcomeUnknown}, outcome, "%+v: %+v", l, s.Log)
	}
	for id, attempts := range seen {
		if len(attempts) == 1 {
			continue
		}
		doubled++
		s := all[id]
		require.Greater(t, s.Attempts, 1, id)
		for _, number := range attempts[:len(attempts)-1] {
			require.Equal(t, aggregates.OutcomeUnknown, s.Log[number-1].Outcome, "%s was carried by attempts %v: %+v", id, attempts, s.Log)
		}
	}
	for id, s := range all {
		switch s.Status {
		case aggregates.NotificationSent:
			made := slices.IndexFunc(s.Log, func(a aggregates.Attempt) bool { return a.Outcome == aggregates.OutcomeSent })
			require.GreaterOrEqual(t, made, 0, "%s: %+v", id, s.Log)
			require.Contains(t, seen[id], s.Log[made].Number, "%s is SENT and was not carried", id)
		case aggregates.NotificationPending:
			require.True(t, s.ScheduledTime.After(time.Now()), "%s is due and waits: %+v", id, *s)
		case aggregates.NotificationCancelled:
		default:
			require.Fail(t, "not where it should be", "%s: %+v", id, *s)
		}
	}
	return doubled
}

// superseded finds what was carried although an earlier start of the service had
// acknowledged what makes it unwanted.
func superseded(all map[string]*aggregates.Notification, lines []carried, happenings []*happening) (wrong []string) {
	type about struct {
		h *happening
		p *person
	}
	people := map[string]about{}
	for _, h := range happenings {
		for _, p := range h.people {
			people[p.id] = about{h, p}
		}
	}
	for _, l := range lines {
		s := all[l.NotificationID]
		a, ok := people[s.ParticipantID]
		if !ok {
			continue
		}
		before := func(what string, done span) {
			if done.is() && done.boot < l.boot {
				wrong = append(wrong, fmt.Sprintf("%+v, and %s by start %d: %+v", l, what, done.boot, *s))
			}
		}
		before("the event was deleted", a.h.deleted)
		before("the participant was gone", a.p.gone())
		for _, r := range a.h.reminders {
			if r.id == s.ReminderID {
				before("the reminder was removed", r.removed)
			}
		}
		for _, start := range a.h.starts {
			if s.ReminderID != "" && start.at.Equal(s.ScheduledTime) {
				before("the event was moved", start.replaced)
			}
		}
	}
	return wrong
}
