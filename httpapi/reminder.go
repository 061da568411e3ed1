package httpapi

import (
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/projections"
)

// reminderResource is what is shown of r on the event.
func reminderResource(eventID string, r *aggregates.Reminder) projections.Reminder {
	return shownReminder(projections.Reminder{
		ID: r.ID, EventID: eventID, MinutesBefore: r.MinutesBefore,
		Channels: texts(r.Channels), Message: r.Message, Revision: r.Added.Revision,
	})
}

// shownReminder has the built-in message where none was given: no row holds
// it, so that another version may have another.
func shownReminder(r projections.Reminder) projections.Reminder {
	if r.Message == "" {
		r.Message = aggregates.DefaultReminderMessage
	}
	return r
}

func (s *server) postReminder(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	f := aggregates.ReminderFields{
		MinutesBefore: optional(b, "minutes_before", asInteger),
		Channels:      plain(b, "channels", asTexts),
		Message:       optional(b, "message", asText),
	}
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	eventID, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	id := s.o.Commands.NewID(by, "reminder")
	cmd := commands.AddReminder{EventID: eventID, ReminderID: id, Fields: f}
	a, err := do(s, c, judged(b, cmd), by, func(e *aggregates.Event, _ time.Time) *answer {
		r, _ := e.Reminder(id) // just added
		return resource(http.StatusCreated, reminderResource(e.ID, r), r.Added.Revision)
	})
	if err != nil {
		return nil, err
	}
	a.location = "/v1/events/" + eventID + "/reminders/" + id
	return a, nil
}

func (s *server) getReminders(c *call) (*answer, error) {
	q := c.query()
	page, until := q.page(), q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	if until != nil {
		return s.remindersAsOf(c, id, *until, page)
	}
	l, err := s.o.Models.Reminders(c.Context(), id, page)
	if err != nil {
		return nil, missing(err, aggregates.ErrEventNotFound)
	}
	for i := range l.Items {
		l.Items[i] = shownReminder(l.Items[i])
	}
	return listed(l.Items, l.NextCursor), nil
}

// getReminder answers from the event's stream: no list holds so many reminders
// that a query of its own would be worth it.
func (s *server) getReminder(c *call) (*answer, error) {
	q := c.query()
	until := q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	eventID, id, err := s.reminderIn(c)
	if err != nil {
		return nil, err
	}
	see := func(e *aggregates.Event) (*answer, error) {
		if !e.Exists() {
			return nil, aggregates.ErrEventNotFound
		}
		r, ok := e.Reminder(id)
		if !ok {
			return nil, aggregates.ErrReminderNotFound
		}
		return resource(http.StatusOK, reminderResource(eventID, r), r.Added.Revision), nil
	}
	if until != nil {
		return eventAt(c, s, eventID, *until, see)
	}
	var refusal error
	a, err := commands.View(c.Context(), s.o.Commands, commands.EventStream(eventID), func(e *aggregates.Event, _ int64) (a *answer) {
		a, refusal = see(e)
		return a
	})
	if err != nil {
		return nil, err
	}
	return a, refusal
}

func (s *server) reminderIn(c *call) (eventID, id string, err error) {
	eventID, ok := c.uuid("id")
	if !ok {
		return "", "", aggregates.ErrEventNotFound
	}
	if id, ok = c.uuid("rid"); !ok {
		return "", "", aggregates.ErrReminderNotFound
	}
	return eventID, id, nil
}

func (s *server) deleteReminder(c *call) (*answer, error) {
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	eventID, id, err := s.reminderIn(c)
	if err != nil {
		return nil, err
	}
	return do(s, c, commands.RemoveReminder{EventID: eventID, ReminderID: id}, by, gone)
}
