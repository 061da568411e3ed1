// Package model is what the HTTP contract and the rules of delivery say, written
// once more from them: it shares no rule with the aggregates or the planner, and
// tests hold what happened against it.
package model

import (
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// Event is what the contract says of who is notified when, for one event. Fold
// it a fact at a time, in the order of its stream.
type Event struct {
	there    bool
	ended    int64 // revision of the cancelling; -1
	start    time.Time
	moved    time.Time
	moves    int
	people   []*person
	rules    []rule
	messages []message
}

type person struct {
	id, status, response string
	channels             []string
	since                map[string]time.Time // of each address, by kind
	chosen               map[string]time.Time // of each channel of their own choice
	entitled             time.Time            // confirmed and not declined since
	declined             int64                // revision of the last declining; -1
	returned             time.Time            // when it was taken back
	optedOut             bool
	left                 int64     // revision of the last opting out; -1
	backIn               time.Time // when that was taken back
}

type rule struct {
	id       string
	minutes  int
	channels []string
	added    time.Time
}

type message struct {
	id       string
	revision int64
	made     time.Time
	sendAt   time.Time
	channels []string
	to       []*person
}

// Expected says from when until when a notification may be sent, both included, for
// what and whom, and by which channel.
type Expected struct {
	Due, Expires time.Time
	For          string // the reminder or announcement
	To           string // the participant
	Channel      string
}

// New is an event of which nothing has happened.
func New() *Event { return &Event{ended: -1} }

// Of folds what a log has of an event, up to a revision.
func Of(log []commands.Entry, event string, upTo int64) *Event {
	m := New()
	for _, entry := range log {
		if entry.Record.Stream == commands.EventStream(event) && entry.Record.Revision <= upTo {
			m.Fold(entry)
		}
	}
	return m
}

// Fold applies what happened next.
func (m *Event) Fold(entry commands.Entry) {
	revision, at := entry.Record.Revision, entry.Metadata.OccurredAt
	switch f := entry.Fact.(type) {
	case events.EventScheduled:
		m.there, m.start, m.moved = true, f.StartTime, at
	case events.EventRescheduled:
		if !f.StartTime.Equal(m.start) {
			m.start, m.moved, m.moves = f.StartTime, at, m.moves+1
		}
	case events.EventCancelled:
		m.ended = revision
	case events.EventDeleted:
		m.there = false
	case events.ReminderAdded:
		m.rules = append(m.rules, rule{f.ReminderID, f.MinutesBefore, f.Channels, at})
	case events.ReminderRemoved:
		m.rules = slices.DeleteFunc(m.rules, func(r rule) bool { return r.id == f.ReminderID })
	case events.AnnouncementMade:
		a := message{id: f.AnnouncementID, revision: revision, made: at, sendAt: f.SendAt, channels: f.Channels}
		for _, p := range m.people {
			hit := p.response != "declined"
			if len(f.Audience.Status)+len(f.Audience.Response) > 0 {
				hit = (len(f.Audience.Status) == 0 || slices.Contains(f.Audience.Status, p.status)) &&
					(len(f.Audience.Response) == 0 || slices.Contains(f.Audience.Response, p.response))
			}
			if hit && !p.optedOut {
				a.to = append(a.to, p)
			}
		}
		m.messages = append(m.messages, a)
	case events.ParticipantRegistered:
		p := &person{id: f.ParticipantID, response: "needs_action", since: map[string]time.Time{}, chosen: map[string]time.Time{}, declined: -1, left: -1}
		p.reach(f.Personal, f.Channels, at)
		p.seat(f.Waitlisted, at)
		m.people = append(m.people, p)
	case events.ParticipantContactChanged:
		m.person(f.ParticipantID).reach(f.Personal, f.Channels, at)
	case events.ParticipantResponded:
		p := m.person(f.ParticipantID)
		p.response = f.Response
		if f.Response == "declined" {
			p.status, p.declined = "released", revision
		} else if p.status == "released" {
			p.returned = at
			p.seat(f.Waitlisted, at)
		}
	case events.ParticipantOptedOut:
		p := m.person(f.ParticipantID)
		p.optedOut, p.left = true, revision
	case events.ParticipantOptedIn:
		p := m.person(f.ParticipantID)
		if p.optedOut, p.backIn = false, at; p.status == "confirmed" {
			p.entitled = at
		}
	case events.ParticipantPromoted:
		m.person(f.ParticipantID).seat(false, at)
	case events.ParticipantRemoved:
		m.people = slices.DeleteFunc(m.people, func(p *person) bool { return p.id == f.ParticipantID })
	}
}

func (m *Event) person(id string) *person {
	for _, p := range m.people {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (p *person) seat(waitlisted bool, at time.Time) {
	p.status, p.entitled = "confirmed", at
	if waitlisted {
		p.status = "waitlisted"
	}
}

func (p *person) reach(c events.Personal, channels []string, at time.Time) {
	for kind, address := range map[string]string{"email": c.Email, "sms": c.Phone, "push": c.PushToken} {
		if _, had := p.since[kind]; address == "" {
			delete(p.since, kind)
		} else if !had {
			p.since[kind] = at
		}
	}
	if len(channels) == 0 {
		channels = []string{"email"}
	}
	before := p.chosen
	p.chosen = map[string]time.Time{}
	for _, channel := range channels {
		p.chosen[channel] = at
		if since, had := before[channel]; had {
			p.chosen[channel] = since
		}
	}
	p.channels = channels
}

// channelsAt are those that somebody was reached on when something was due.
func (p *person) channelsAt(rule []string, due time.Time) (all []string) {
	channels := rule
	if len(rule) == 0 {
		channels = p.channels
	}
	for _, channel := range channels {
		since, reachable := p.since[channel]
		late := since.After(due) || (len(rule) == 0 && p.chosen[channel].After(due))
		if reachable && !late {
			all = append(all, channel)
		}
	}
	return all
}

// Wants gives every notification that there is to be, sent or not, by id.
func (m *Event) Wants() map[string]Expected {
	all := map[string]Expected{}
	if !m.there {
		return all
	}
	for _, p := range m.people {
		for _, r := range m.rules {
			if m.ended >= 0 || p.optedOut || p.status != "confirmed" || p.response == "declined" {
				continue
			}
			due := m.start.Add(-time.Duration(r.minutes) * time.Minute)
			asked := p.entitled
			for _, t := range []time.Time{m.moved, r.added} {
				if t.After(asked) {
					asked = t
				}
			}
			if asked.After(due) {
				if due = asked; !due.Before(m.start) {
					continue
				}
			}
			for _, channel := range p.channelsAt(r.channels, due) {
				all[notificationID("reminder", r.id, p.id, channel, strconv.Itoa(m.moves))] = Expected{due, m.start.Add(time.Minute), r.id, p.id, channel}
			}
		}
	}
	for _, a := range m.messages {
		for _, p := range m.people {
			due := a.sendAt
			if a.made.After(due) {
				due = a.made
			}
			out := p.declined > a.revision && (p.status == "released" || p.returned.After(due))
			out = out || p.optedOut || (p.left > a.revision && p.backIn.After(due))
			if !slices.Contains(a.to, p) || out || m.ended > a.revision {
				continue
			}
			for _, channel := range p.channelsAt(a.channels, due) {
				all[notificationID("announcement", a.id, p.id, channel)] = Expected{due, a.sendAt.Add(24 * time.Hour), a.id, p.id, channel}
			}
		}
	}
	return all
}

// space is the name space of notification ids, which are part of what is stored
// and so never change.
var space = uuid.MustParse("0f0f6a4e-6a55-4a57-8f6e-0f3a1f7c7b60")

func notificationID(parts ...string) string {
	var name []byte
	for _, part := range parts {
		name = append(append(name, part...), 0)
	}
	return uuid.NewSHA1(space, name).String()
}

// Start is when the event starts.
func (m *Event) Start() time.Time { return m.start }
