// Package aggregates holds the rules and nothing else: no clock, no context, no
// I/O. A rule is a method on a state that returns the facts that follow from a
// request, no facts when there is nothing left to do, or a *Refusal or *Invalid.
// A rule never changes the state; only Evolve does.
package aggregates

import (
	"time"

	"github.com/belltower/belltower/events"
)

// Now is what a decision may know of the world outside its stream.
type Now struct {
	Time time.Time // UTC, microseconds
	// Digest tells equal e-mail addresses from others without showing them.
	Digest func(canonicalEmail string) string
	// PhoneRegion is the ISO 3166 region that phone numbers without + are read
	// in; empty: they are refused.
	PhoneRegion string
	// Channels are the configured channels, each with the kind of address it needs.
	Channels map[string]AddressKind
}

// AddressKind is what a channel needs to know of a participant.
type AddressKind string

// The kinds of address.
const (
	EmailAddress AddressKind = "email"
	PhoneNumber  AddressKind = "phone"
	PushToken    AddressKind = "push_token"
	// Endpoint is where all messages of a channel go; no participant has one.
	Endpoint AddressKind = "endpoint"
)

// Stamp is where and when a fact happened.
type Stamp struct {
	Revision int64
	At       time.Time
}

// Event statuses.
const (
	Scheduled = "scheduled"
	Cancelled = "cancelled"
)

// Event is a scheduled event with its participants, reminders and
// announcements: the boundary within which seats, the waiting list and unique
// participants are decided. The zero Event has not been scheduled.
type Event struct {
	ID          string
	Title       string
	Description string
	events.Times
	Location  string
	CreatorID string
	Capacity  int // 0 is no limit
	Tags      []string
	Status    string
	Deleted   bool

	Created   Stamp
	Changed   Stamp // last fact that changes anything the event shows, participant_count too
	Own       Stamp // last fact about the event's own fields
	Cancelled Stamp // zero unless Status is Cancelled
	Moved     Stamp // last change of StartTime; at first, Created
	// MoveCount is how often the start has moved: the schedule number that
	// notification ids are derived from.
	MoveCount int

	Reminders     []*Reminder     // in the order they were added
	Announcements []*Announcement // in the order they were made

	roster // participants, seats and the line
}

// Exists tells whether e has been scheduled and not deleted.
func (e *Event) Exists() bool { return e.ID != "" && !e.Deleted }

// Evolve applies f, which happened at at. It cannot refuse: f has happened.
// Nothing else changes an Event, and it changes in place, so that folding n
// facts costs n steps.
func (e *Event) Evolve(f events.Fact, at Stamp) {
	switch f := f.(type) {
	case events.EventScheduled:
		e.scheduled(f, at)
	case events.EventDetailsChanged:
		e.detailsChanged(f)
		e.Changed, e.Own = at, at
	case events.EventRescheduled:
		if !f.StartTime.Equal(e.StartTime) {
			e.Moved = at
			e.MoveCount++
		}
		e.Times = f.Times
		e.Changed, e.Own = at, at
	case events.EventCapacityChanged:
		e.Capacity = f.Capacity
		e.Changed, e.Own = at, at
	case events.EventCancelled:
		e.Status = Cancelled
		e.Cancelled, e.Changed, e.Own = at, at, at
	case events.EventDeleted:
		e.Deleted = true
		e.Reminders, e.Announcements, e.roster = nil, nil, roster{}
	case events.ReminderAdded:
		e.reminderAdded(f, at)
	case events.ReminderRemoved:
		e.reminderRemoved(f)
	case events.AnnouncementMade:
		e.announcementMade(f, at)
	case events.ParticipantRegistered:
		e.registered(f, at)
		e.Changed = at
	case events.ParticipantRemoved:
		e.removed(f.ParticipantID, at)
		e.Changed = at
	case events.ParticipantContactChanged:
		e.contactChanged(f, at)
	case events.ParticipantResponded:
		e.responded(f, at)
	case events.ParticipantOptedOut:
		e.optedOut(f.ParticipantID, at)
	case events.ParticipantOptedIn:
		e.optedIn(f.ParticipantID, at)
	case events.ParticipantPromoted:
		e.promoted(f.ParticipantID, at)
	}
}

func (e *Event) scheduled(f events.EventScheduled, at Stamp) {
	e.ID, e.Title, e.Description, e.Times = f.EventID, f.Title, f.Description, f.Times
	e.Location, e.CreatorID, e.Capacity, e.Tags = f.Location, f.CreatorID, f.Capacity, f.Tags
	e.Status = Scheduled
	e.Created, e.Changed, e.Own, e.Moved = at, at, at, at
}

func (e *Event) detailsChanged(f events.EventDetailsChanged) {
	assign(&e.Title, f.Title)
	assign(&e.Description, f.Description)
	assign(&e.Location, f.Location)
	assign(&e.CreatorID, f.CreatorID)
	assign(&e.Tags, f.Tags)
}

// assign sets *to where there is something to set it to.
func assign[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
