package main

import (
	"fmt"
	"net/http"
	"strings"
)

func (h *hand) createEvent() error {
	form := eventForm(object{"time_zone": demoZone})
	form.start.text, form.end.text = "+2h", "+3h"
	event, err := h.submit("Create an event", http.MethodPost, "/v1/events", form.fields(), func() (object, error) { return filled(form.fields()) })
	if err != nil {
		return err
	}
	h.out.Say("   created: %s\n", eventLine(event))
	return h.event(event.text("id"))
}

func (h *hand) chooseEvent() error {
	events, err := h.all("/v1/events")
	if err != nil {
		return err
	}
	event, err := h.one("Which event?", "there are no events yet", events, eventLine)
	if err != nil || event == nil {
		return err
	}
	return h.event(event.text("id"))
}

func eventLine(e object) string {
	line := fmt.Sprintf("%s, %s (%s), %d registered", e.text("title"), whenIn(e.text("start_time"), e.text("time_zone")), e.text("time_zone"), e.number("participant_count"))
	if seats := e.number("capacity"); seats > 0 {
		line += fmt.Sprintf(" for %d seats", seats)
	}
	if e.text("status") == "cancelled" {
		line += ", cancelled"
	}
	return line
}

// event shows the menu of one, until it is deleted or left.
func (h *hand) event(id string) error {
	path, deleted := "/v1/events/"+id, false
	return h.menu("What about this event?", func() ([]choice, error) {
		if deleted {
			return nil, nil
		}
		event, ok, err := h.call(http.MethodGet, path, nil)
		if err != nil || !ok {
			return nil, err
		}
		h.out.Say("\n%s\n", eventLine(event))
		return []choice{
			{"Change it", func() error { return h.changeEvent(path, event) }},
			{"Register a participant", func() error { return h.register(path) }},
			{"List participants, and choose one", func() error { return h.participants(path) }},
			{"Add a reminder", func() error { return h.addReminder(path) }},
			{"List reminders, and choose one to remove", func() error { return h.reminders(path) }},
			{"Announce something at once", func() error { return h.announce(path) }},
			{"List its messages", func() error { return h.messages(path + "/notifications") }},
			{"Show its history", func() error { return h.history(path) }},
			{"Cancel it", func() error { return h.cancelEvent(path) }},
			{"Delete it, with all that belongs to it", func() error {
				sure, err := h.ask.confirm("Delete "+event.text("title")+"?", false)
				if err != nil || !sure {
					return err
				}
				_, deleted, err = h.call(http.MethodDelete, path, nil)
				if deleted {
					h.out.Say("   deleted\n")
				}
				return err
			}},
			{"Back", nil},
		}, nil
	})
}

func (h *hand) changeEvent(path string, event object) error {
	form := eventForm(event)
	before := texts(form.fields())
	changed, err := h.submit("Change the event", http.MethodPatch, path, form.fields(), func() (object, error) { return changes(form.fields(), before) })
	if err == nil {
		h.out.Say("   now: %s\n", eventLine(changed))
	}
	return err
}

func (h *hand) cancelEvent(path string) error {
	fields := []*formField{
		{name: "reason", title: "Why"},
		{name: "notify", title: "What those confirmed are told", hint: "empty: nothing", text: `{{ participant.name }}, "{{ event.title }}" is off.`},
	}
	_, err := h.submit("Cancel the event", http.MethodPost, path+"/cancel", fields, func() (object, error) { return filled(fields) })
	return err
}

func (h *hand) history(path string) error {
	facts, err := h.all(path + "/history")
	for _, f := range facts {
		h.out.Say("   %s  %-25s by %s\n", when(f.text("occurred_at")), f.text("type"), f.text("actor"))
	}
	return err
}

func (h *hand) announce(path string) error {
	message := &formField{name: "message", title: "Message", text: "{{ participant.name }}, please bring soft shoes."}
	to := &formField{name: "channels", title: "Channels", hint: "email, sms, push; empty: each participant's own", read: list}
	fields := []*formField{message, to}
	made, err := h.submit("Announce something", http.MethodPost, path+"/announcements", fields, func() (object, error) { return filled(fields) })
	if err == nil {
		h.out.Say("   on its way; recipients: %d\n", made.number("recipients"))
	}
	return err
}

func (h *hand) addReminder(path string) error {
	fields := []*formField{
		{name: "minutes_before", title: "Minutes before the start", text: "60", read: whole},
		{name: "channels", title: "Channels", hint: "email, sms, push; empty: each participant's own", read: list},
		{name: "message", title: "Message", hint: "empty: the built-in one"},
	}
	_, err := h.submit("Add a reminder", http.MethodPost, path+"/reminders", fields, func() (object, error) { return filled(fields) })
	if err == nil {
		h.out.Say("   added\n")
	}
	return err
}

func (h *hand) reminders(path string) error {
	all, err := h.all(path + "/reminders")
	if err != nil {
		return err
	}
	reminder, err := h.one("Which one is to be removed?", "there are no reminders", all, func(r object) string {
		line := fmt.Sprintf("%d minutes before", r.number("minutes_before"))
		if by := strings.Join(r.texts("channels"), ", "); by != "" {
			line += " by " + by
		}
		return line
	})
	if err != nil || reminder == nil {
		return err
	}
	_, ok, err := h.call(http.MethodDelete, path+"/reminders/"+reminder.text("id"), nil)
	if ok {
		h.out.Say("   removed\n")
	}
	return err
}
