package reminders

import (
	"slices"
	"strconv"
	"time"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// model is what the HTTP contract says of who is notified when, written again
// from it, without the aggregates, and without care for speed.
type model struct {
	event    string
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

type expected struct{ due, expires time.Time }

// modelOf folds the facts of an event, up to a revision.
func modelOf(log []commands.Entry, upTo int64) *model {
	m := &model{ended: -1}
	for _, entry := range log {
		if entry.Record.Stream == commands.EventStream(eventID) && entry.Record.Revision <= upTo {
			m.fold(entry.Fact, entry.Record.Revision, entry.Metadata.OccurredAt)
		}
	}
	return m
}

func (m *model) fold(f events.Fact, revision int64, at time.Time) {
	switch f := f.(type) {
	case events.EventScheduled:
		m.event, m.there, m.start, m.moved = f.EventID, true, f.StartTime, at
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
			if hit {
				a.to = append(a.to, p)
			}
		}
		m.messages = append(m.messages, a)
	case events.ParticipantRegistered:
		p := &person{id: f.ParticipantID, response: "needs_action", since: map[string]time.Time{}, chosen: map[string]time.Time{}, declined: -1}
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
	case events.ParticipantPromoted:
		m.person(f.ParticipantID).seat(false, at)
	case events.ParticipantRemoved:
		m.people = slices.DeleteFunc(m.people, func(p *person) bool { return p.id == f.ParticipantID })
	}
}

func (m *model) person(id string) *person {
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

// wants gives every notification that there is to be, sent or not.
func (m *model) wants() map[string]expected {
	all := map[string]expected{}
	if !m.there {
		return all
	}
	for _, p := range m.people {
		for _, r := range m.rules {
			if m.ended >= 0 || p.status != "confirmed" || p.response == "declined" {
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
				all[notificationID("reminder", r.id, p.id, channel, strconv.Itoa(m.moves))] = expected{due, m.start.Add(time.Minute)}
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
			if !slices.Contains(a.to, p) || out || m.ended > a.revision {
				continue
			}
			for _, channel := range p.channelsAt(a.channels, due) {
				all[notificationID("announcement", a.id, p.id, channel)] = expected{due, a.sendAt.Add(24 * time.Hour)}
			}
		}
	}
	return all
}
