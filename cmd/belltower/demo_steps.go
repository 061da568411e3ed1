package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/internal/terminal"
)

const (
	reminderLead = 15 * time.Minute
	demoZone     = "Europe/Vienna"
)

func (s *show) schedule() (err error) {
	start := time.Now().Add(3 * time.Hour)
	s.meeting, err = s.do(201, "POST", "/v1/events", object{
		"title": "Bell-ringing course", "description": "Rounds and call changes, for beginners",
		"start_time": at(start), "end_time": at(start.Add(2 * time.Hour)),
		"time_zone": demoZone, "location": "The tower", "capacity": 2, "tags": []string{"course"},
	})
	if err != nil {
		return err
	}
	s.out.Say("   %q on %s (%s), %d seats\n", s.meeting.text("title"), when(s.meeting.text("start_time")), demoZone, s.meeting.number("capacity"))
	return nil
}

func (s *show) event() string { return "/v1/events/" + s.meeting.text("id") }

func (s *show) refusals() error {
	soon, later := at(time.Now().Add(time.Hour)), at(time.Now().Add(2*time.Hour))
	past := at(time.Now().Add(-time.Hour))
	event := func(change object) object {
		e := object{"title": "A", "description": "B", "start_time": soon, "end_time": later}
		for field, value := range change {
			e[field] = value
		}
		return e
	}
	person := func(change object) object {
		p := object{"user_id": "u", "name": "N", "email": "n@example.org"}
		for field, value := range change {
			p[field] = value
		}
		return p
	}
	participants, reminders, announcements := s.event()+"/participants", s.event()+"/reminders", s.event()+"/announcements"
	for _, r := range []struct {
		status           int
		code, what, path string
		body             object
	}{
		{422, "required", "an event without a title", "/v1/events", event(object{"title": " "})},
		{422, "required", "an event without a description", "/v1/events", event(object{"description": ""})},
		{422, "required", "an event without a creator", "/v1/events", event(object{"creator_id": " "})},
		{422, "before_start", "an event that ends before it starts", "/v1/events", event(object{"start_time": later, "end_time": soon})},
		{422, "in_past", "an event in the past", "/v1/events", event(object{"start_time": past})},
		{422, "unknown_time_zone", "a time zone that nobody knows", "/v1/events", event(object{"time_zone": "Europe/Nowhere"})},
		{422, "required", "a participant without a name", participants, person(object{"name": ""})},
		{422, "invalid_email", "an e-mail address that is none", participants, person(object{"email": "not an address"})},
		{422, "invalid_phone", "a phone number that is none", participants, person(object{"phone": "12"})},
		{422, "unknown_channel", "a channel that there isn't", participants, person(object{"channels": []string{"pigeon"}})},
		{422, "in_past", "a reminder whose time is over", reminders, object{"minutes_before": 600}},
		{422, "out_of_range", "a reminder after the start", reminders, object{"minutes_before": -5}},
		{422, "invalid_template", "a template with an unknown variable", announcements, object{"message": "{{ event.secret }}"}},
		{422, "required", "an empty announcement", announcements, object{"message": " "}},
		{400, "unknown_field", "a field that nobody knows", "/v1/events", event(object{"tilte": "A"})},
		{404, "event_not_found", "a participant of an event that there isn't", "/v1/events/" + uuid.NewString() + "/participants", person(nil)},
	} {
		if err := s.refused(r.status, r.code, r.what, "POST", r.path, r.body); err != nil {
			return err
		}
	}
	stranger := demoClient{url: s.client.url, token: "guessed"}
	return s.refusedTo(stranger, 401, "unauthorized", "someone with a wrong token", "GET", "/v1/events", nil)
}

func (s *show) register(user, name, email string) (object, error) {
	p, err := s.do(201, "POST", s.event()+"/participants", object{
		"user_id": user, "name": name, "email": email, "phone": "+43 1 234 5678", "time_zone": demoZone,
	})
	if err == nil {
		s.out.Say("   %s is %s\n", name, p.text("status"))
	}
	return p, err
}

func (s *show) participants() (err error) {
	if s.ann, err = s.register("u-1", "Ann", "ann@example.org"); err != nil {
		return err
	}
	if s.bob, err = s.register("u-2", "Bob", "bob@example.org"); err != nil {
		return err
	}
	if _, err = s.register("u-3", "Cem", "cem@example.org"); err != nil {
		return err
	}
	if err := s.refused(409, "duplicate_participant", "Ann a second time, her address in capitals", "POST", s.event()+"/participants",
		object{"user_id": "u-9", "name": "Ann", "email": "ANN@EXAMPLE.ORG"}); err != nil {
		return err
	}
	return s.refused(409, "capacity_below_confirmed", "fewer seats than are taken", "PATCH", s.event(), object{"capacity": 1})
}

func (s *show) repeat() error {
	client := s.client
	client.key = "dora-1"
	dora := object{"user_id": "u-4", "name": "Dora", "email": "dora@example.org", "phone": "+43 1 234 5679", "time_zone": demoZone}
	first, err := s.ask(client, 201, "POST", s.event()+"/participants", dora)
	if err != nil {
		return err
	}
	again, err := s.ask(client, 201, "POST", s.event()+"/participants", dora)
	if err != nil {
		return err
	}
	if again.body.text("id") != first.body.text("id") || again.header.Get("Idempotent-Replayed") != "true" {
		return errors.New("the repeated request was done again")
	}
	s.out.Say("   Dora is %s, and asked for twice with the same Idempotency-Key she is there once\n", again.body.text("status"))
	dora["name"] = "Theodora"
	if err := s.refusedTo(client, 422, "idempotency_key_reused", "the same key for another request", "POST", s.event()+"/participants", dora); err != nil {
		return err
	}
	if _, err := s.do(204, "DELETE", "/v1/participants/"+first.body.text("id"), nil); err != nil {
		return err
	}
	s.out.Say("   Dora is removed\n")
	return nil
}

func (s *show) announce() error {
	made, err := s.do(202, "POST", s.event()+"/announcements", object{
		"message": "{{ participant.name }}, please bring soft shoes to {{ event.location | downcase }}.", "channels": []string{"email", "sms"},
	})
	if err != nil {
		return err
	}
	s.out.Say("   to %d participants, by e-mail and SMS\n", made.number("recipients"))
	_, err = s.until("all are sent", s.event()+"/notifications", all("SENT", 6))
	return err
}

func (s *show) remind() error {
	if err := s.addReminderDueSoon(); err != nil {
		return err
	}
	if err := s.refused(409, "duplicate_reminder", "the same reminder twice", "POST", s.event()+"/reminders",
		object{"minutes_before": int(reminderLead.Minutes())}); err != nil {
		return err
	}
	for _, p := range []object{s.ann, s.bob} {
		path := "/v1/notifications?participant_id=" + p.text("id") + "&status=SENT&limit=200"
		sent, err := s.until("the reminders are sent", path, func(list object) bool { return s.reminder(list) != nil })
		if err != nil {
			return err
		}
		n := s.reminder(sent)
		due, err := time.Parse(time.RFC3339, n.text("scheduled_time"))
		if err != nil {
			return err
		}
		began, err := time.Parse(time.RFC3339, n.text("sent_time"))
		if err != nil {
			return err
		}
		s.out.Say("   %s's was due at %s and sent %s later\n", p.text("name"), due.Format("15:04:05.000 MST"), began.Sub(due).Round(time.Millisecond))
	}
	return nil
}

// addReminderDueSoon moves the event so that its reminder is due in some seconds:
// in more of them where the machine takes longer than that to ask for it.
func (s *show) addReminderDueSoon() error {
	for soon := 3 * time.Second; ; soon *= 3 {
		start := time.Now().Add(reminderLead + soon)
		if _, err := s.do(200, "PATCH", s.event(), object{"start_time": at(start), "end_time": at(start.Add(2 * time.Hour))}); err != nil {
			return err
		}
		got, err := s.client.ask(s.ctx, "POST", s.event()+"/reminders", s.after, object{"minutes_before": int(reminderLead.Minutes())})
		switch {
		case err != nil:
			return err
		case got.status == 201:
			s.after = got.token()
			s.out.Say("   the course is moved, so that it is due in %s\n", soon)
			return nil
		case got.status != 422 || soon > time.Minute:
			return fmt.Errorf("a reminder due in %s was answered with %d: %v", soon, got.status, got.body)
		}
	}
}

// reminder gives the first of a list that comes from a reminder.
func (s *show) reminder(list object) object {
	for _, n := range list.items() {
		if n.text("reminder_id") != "" {
			return n
		}
	}
	return nil
}

func (s *show) move() error {
	start := time.Now().Add(26 * time.Hour)
	moved, err := s.do(200, "PATCH", s.event(), object{"start_time": at(start), "end_time": at(start.Add(2 * time.Hour))})
	if err != nil {
		return err
	}
	pending, err := s.until("both reminders are planned anew", s.event()+"/notifications?status=PENDING", all("PENDING", 2))
	if err != nil {
		return err
	}
	s.out.Say("   it is now on %s; the two reminders go out on %s\n", when(moved.text("start_time")), when(pending.items()[0].text("scheduled_time")))
	return nil
}

func (s *show) decline() error {
	answered, err := s.do(200, "POST", "/v1/participants/"+s.bob.text("id")+"/rsvp", object{"response": "declined"})
	if err != nil {
		return err
	}
	line, err := s.do(200, "GET", s.event()+"/participants?status=confirmed", nil)
	if err != nil {
		return err
	}
	var confirmed []string
	for _, p := range line.items() {
		confirmed = append(confirmed, p.text("name"))
	}
	s.out.Say("   Bob's seat is %s; confirmed are %s\n", answered.text("status"), strings.Join(confirmed, " and "))
	cancelled, err := s.until("Bob's reminder is cancelled", "/v1/notifications?participant_id="+s.bob.text("id")+"&status=CANCELLED",
		func(list object) bool { return len(list.items()) > 0 })
	if err != nil {
		return err
	}
	s.out.Say("   Bob's reminder on %s is cancelled\n", when(cancelled.items()[0].text("scheduled_time")))
	_, err = s.until("the next in line has a reminder", s.event()+"/notifications?status=PENDING", all("PENDING", 2))
	return err
}

func (s *show) stopAndSend() error {
	stopped, err := s.do(200, "POST", "/v1/processor/stop", nil)
	if err != nil {
		return err
	}
	if _, err := s.do(202, "POST", s.event()+"/announcements", object{
		"message": "The course starts {{ event.starts_in }}.", "audience": object{"status": []string{"confirmed"}},
	}); err != nil {
		return err
	}
	if _, err := s.until("two are due", s.event()+"/notifications?status=READY", all("READY", 2)); err != nil {
		return err
	}
	s.out.Say("   the processor is %s; two messages are due and wait\n", stopped.text("state"))
	swept, err := s.do(200, "POST", "/v1/notifications/send-due", nil)
	if err != nil {
		return err
	}
	s.out.Say("   by hand: sent %d, failed %d, still due %d\n", swept.number("sent"), swept.number("failed"), swept.number("still_due"))
	if swept.number("sent") != 2 {
		return fmt.Errorf("sent %d by hand, not 2", swept.number("sent"))
	}
	started, err := s.do(200, "POST", "/v1/processor/start", object{"check_interval_seconds": 30})
	if err != nil {
		return err
	}
	s.out.Say("   the processor is %s\n", started.text("state"))
	return nil
}

func (s *show) cancel() error {
	sent := s.event() + "/notifications?status=SENT&limit=200"
	before, err := s.do(200, "GET", sent, nil)
	if err != nil {
		return err
	}
	if _, err := s.do(200, "POST", s.event()+"/cancel", object{
		"reason": "The tower is being repaired", "notify": "{{ participant.name }}, the course is off: the tower is being repaired.",
	}); err != nil {
		return err
	}
	if _, err := s.until("nothing is pending", s.event()+"/notifications?status=PENDING", all("PENDING", 0)); err != nil {
		return err
	}
	if _, err := s.until("both are told", sent, all("SENT", len(before.items())+2)); err != nil {
		return err
	}
	s.out.Say("   the two pending reminders are cancelled\n")
	return s.refused(409, "event_cancelled", "a change to a cancelled event", "PATCH", s.event(), object{"title": "Another"})
}

func (s *show) statistics() error {
	stats, err := s.until("nothing is in flight", "/v1/stats", func(stats object) bool {
		return stats.inner("processor").number("in_flight") == 0 && stats.inner("processor").number("due") == 0
	})
	if err != nil {
		return err
	}
	sayStatistics(s.out, stats)
	if holes := stats.inner("conservation").number("holes"); holes != 0 {
		return fmt.Errorf("%d notifications are nowhere", holes)
	}
	return nil
}

// sayStatistics shows what /v1/stats has answered.
func sayStatistics(out *terminal.Lines, stats object) {
	participants, notifications := stats.inner("participants"), stats.inner("notifications")
	for _, line := range []struct{ name, counts string }{
		{"events", counts(stats.inner("events"), "total", "upcoming", "ongoing", "past", "cancelled")},
		{"participants", counts(participants, "total") + ": " + counts(participants.inner("by_status"), "confirmed", "waitlisted", "released")},
		{"responses", counts(participants.inner("by_response"), "accepted", "declined", "tentative", "needs_action")},
		{"notifications", counts(notifications, "total") + ": " + counts(notifications.inner("by_status"),
			"PENDING", "READY", "SENDING", "SENT", "DELIVERED", "FAILED", "CANCELLED")},
		{"conservation", counts(stats.inner("conservation"), "due", "final", "in_flight", "holes")},
	} {
		out.Say("   %-13s  %s\n", line.name, line.counts)
	}
}

func (s *show) clean() error {
	cleared, err := s.do(200, "DELETE", "/v1/notifications?older_than_days=0", nil)
	if err != nil {
		return err
	}
	s.out.Say("   %d notifications that are final are cleared\n", cleared.number("removed"))
	if cleared.number("removed") == 0 {
		return errors.New("nothing was cleared")
	}
	if _, err := s.do(204, "DELETE", s.event(), nil); err != nil {
		return err
	}
	if err := s.refused(404, "event_not_found", "a look at the deleted event", "GET", s.event(), nil); err != nil {
		return err
	}
	s.out.Say("   the event is deleted; all this took %s\n", time.Since(s.began).Round(100*time.Millisecond))
	return nil
}
