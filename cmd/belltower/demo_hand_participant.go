package main

import (
	"fmt"
	"net/http"
	"strings"
)

func participantForm(p object) []*formField {
	return []*formField{
		{name: "name", title: "Name", text: p.text("name")},
		{name: "email", title: "E-mail", text: p.text("email")},
		{name: "phone", title: "Phone", hint: "with + and country; may be empty", text: p.text("phone")},
		{name: "channels", title: "Channels", hint: "email, sms, push; empty: e-mail", text: strings.Join(p.texts("channels"), ", "), read: list},
		{name: "time_zone", title: "Time zone", hint: "may be empty", text: p.text("time_zone")},
	}
}

func (h *hand) register(path string) error {
	user := &formField{name: "user_id", title: "User id", hint: "your own name for the person"}
	fields := append([]*formField{user}, participantForm(nil)...)
	p, err := h.submit("Register a participant", http.MethodPost, path+"/participants", fields, func() (object, error) { return filled(fields) })
	if err == nil {
		h.out.Say("   %s\n", participantLine(p))
	}
	return err
}

func participantLine(p object) string {
	line := fmt.Sprintf("%s <%s>, %s", p.text("name"), p.text("email"), p.text("status"))
	if place := p.number("waitlist_position"); place > 0 {
		line += fmt.Sprintf(" at place %d", place)
	}
	if response := p.text("response"); response != "needs_action" {
		line += ", has " + strings.ReplaceAll(response, "tentative", "accepted tentatively")
	}
	return line
}

func (h *hand) participants(path string) error {
	all, err := h.all(path + "/participants")
	if err != nil {
		return err
	}
	p, err := h.one("Which participant?", "nobody is registered", all, participantLine)
	if err != nil || p == nil {
		return err
	}
	return h.participant("/v1/participants/" + p.text("id"))
}

func (h *hand) participant(path string) error {
	removed := false
	return h.menu("What about this participant?", func() ([]choice, error) {
		if removed {
			return nil, nil
		}
		p, ok, err := h.call(http.MethodGet, path, nil)
		if err != nil || !ok {
			return nil, err
		}
		h.out.Say("\n%s\n", participantLine(p))
		return []choice{
			{"Change how they are reached", func() error {
				form := participantForm(p)
				before := texts(form)
				_, err := h.submit("Change how they are reached", http.MethodPatch, path, form, func() (object, error) { return changes(form, before) })
				return err
			}},
			{"Answer for them", func() error {
				answers := []string{"accepted", "declined", "tentative"}
				chosen, err := h.ask.choose("Their answer", answers)
				if err != nil {
					return err
				}
				_, _, err = h.call(http.MethodPost, path+"/rsvp", object{"response": answers[chosen]})
				return err
			}},
			{"List their messages", func() error { return h.messages("/v1/notifications?participant_id=" + p.text("id")) }},
			{"Remove them", func() (err error) {
				_, removed, err = h.call(http.MethodDelete, path, nil)
				if removed {
					h.out.Say("   removed\n")
				}
				return err
			}},
			{"Back", nil},
		}, nil
	})
}
