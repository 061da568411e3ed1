package commands

import (
	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// ScheduleEvent makes an event.
type ScheduleEvent struct {
	EventID string
	Fields  aggregates.EventFields
}

// ChangeEvent changes an event; Notify, where given, is announced to those
// confirmed in the same write, under AnnouncementID.
type ChangeEvent struct {
	EventID        string
	Patch          aggregates.EventPatch
	Notify         *string
	AnnouncementID string
}

// CancelEvent cancels an event; Notify as for ChangeEvent.
type CancelEvent struct {
	EventID        string
	Reason         string
	Notify         *string
	AnnouncementID string
}

// DeleteEvent removes an event from every read model.
type DeleteEvent struct{ EventID string }

// PromoteWaiting gives free seats to the first of the line, as many as one
// write takes; it changes nothing where no seat is free or nobody waits.
type PromoteWaiting struct{ EventID string }

// AddReminder adds a reminder to an event.
type AddReminder struct {
	EventID    string
	ReminderID string
	Fields     aggregates.ReminderFields
}

// RemoveReminder ends a reminder.
type RemoveReminder struct{ EventID, ReminderID string }

// Announce makes an announcement.
type Announce struct {
	EventID        string
	AnnouncementID string
	Fields         aggregates.AnnouncementFields
}

func (c ScheduleEvent) Stream() string  { return EventStream(c.EventID) }
func (c ChangeEvent) Stream() string    { return EventStream(c.EventID) }
func (c CancelEvent) Stream() string    { return EventStream(c.EventID) }
func (c DeleteEvent) Stream() string    { return EventStream(c.EventID) }
func (c PromoteWaiting) Stream() string { return EventStream(c.EventID) }
func (c AddReminder) Stream() string    { return EventStream(c.EventID) }
func (c RemoveReminder) Stream() string { return EventStream(c.EventID) }
func (c Announce) Stream() string       { return EventStream(c.EventID) }

func (c ScheduleEvent) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Schedule(c.EventID, c.Fields, now)
}

func (c ChangeEvent) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Change(c.Patch, c.AnnouncementID, c.Notify, now)
}

func (c CancelEvent) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Cancel(c.Reason, c.AnnouncementID, c.Notify, now)
}

func (c DeleteEvent) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.Delete()
}

func (c PromoteWaiting) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.PromoteWaiting()
}

func (c AddReminder) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.AddReminder(c.ReminderID, c.Fields, now)
}

func (c RemoveReminder) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.RemoveReminder(c.ReminderID)
}

func (c Announce) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Announce(c.AnnouncementID, c.Fields, now)
}

func (ChangeEvent) OwnRevision(e *aggregates.Event) (int64, bool) { return e.Own.Revision, e.Exists() }
func (CancelEvent) OwnRevision(e *aggregates.Event) (int64, bool) { return e.Own.Revision, e.Exists() }
func (DeleteEvent) OwnRevision(e *aggregates.Event) (int64, bool) { return e.Own.Revision, e.Exists() }

func (c RemoveReminder) OwnRevision(e *aggregates.Event) (int64, bool) {
	r, ok := e.Reminder(c.ReminderID)
	if !ok {
		return 0, false
	}
	return r.Added.Revision, true
}
