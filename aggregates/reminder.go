package aggregates

import (
	"fmt"
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// What a reminder's minutes_before may be.
const (
	defaultMinutesBefore = 60
	maxMinutesBefore     = 525_600 // a year
)

// Reminder is a rule of the event.
type Reminder struct {
	ID            string
	MinutesBefore int
	Channels      []string // sorted set; empty: each participant's own
	Message       string   // empty: DefaultReminderMessage
	Added         Stamp
}

// Reminder finds one by id.
func (e *Event) Reminder(id string) (*Reminder, bool) {
	for _, r := range e.Reminders {
		if r.ID == id {
			return r, true
		}
	}
	return nil, false
}

func (e *Event) reminderAdded(f events.ReminderAdded, at Stamp) {
	e.Reminders = append(e.Reminders, &Reminder{
		ID: f.ReminderID, MinutesBefore: f.MinutesBefore, Channels: f.Channels, Message: f.Message, Added: at,
	})
}

func (e *Event) reminderRemoved(f events.ReminderRemoved) {
	e.Reminders = slices.DeleteFunc(e.Reminders, func(r *Reminder) bool { return r.ID == f.ReminderID })
	if len(e.Reminders) == 0 {
		e.Reminders = nil
	}
}

// AddReminder adds a rule that holds for participants of now and of later.
func (e *Event) AddReminder(id string, r ReminderFields, now Now) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	f := events.ReminderAdded{EventID: e.ID, ReminderID: id, MinutesBefore: defaultMinutesBefore}
	if r.MinutesBefore != nil {
		f.MinutesBefore = *r.MinutesBefore
	}
	var wrong faults
	if f.MinutesBefore < 0 || f.MinutesBefore > maxMinutesBefore {
		wrong.add("minutes_before", "out_of_range", fmt.Sprintf("must be between 0 and %d", maxMinutesBefore))
	} else if e.StartTime.Add(-time.Duration(f.MinutesBefore) * time.Minute).Before(now.Time) {
		wrong.add("minutes_before", "in_past", "would have been due already")
	}
	f.Channels = set(wrong.channels(r.Channels, now))
	if r.Message != nil && wrong.template("message", ReminderTemplate, *r.Message) {
		f.Message = *r.Message
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if e.Status == Cancelled {
		return nil, ErrEventCancelled
	}
	for _, other := range e.Reminders {
		if other.ID == id || other.MinutesBefore == f.MinutesBefore && slices.Equal(other.Channels, f.Channels) {
			return nil, ErrDuplicateReminder
		}
	}
	return []events.Fact{f}, nil
}

// RemoveReminder ends a reminder.
func (e *Event) RemoveReminder(id string) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	if _, ok := e.Reminder(id); !ok {
		return nil, ErrReminderNotFound
	}
	if e.Status == Cancelled {
		return nil, ErrEventCancelled
	}
	return []events.Fact{events.ReminderRemoved{EventID: e.ID, ReminderID: id}}, nil
}
