package events

import "time"

// EventScheduled opens an event. Capacity 0 is no limit.
type EventScheduled struct {
	EventID     string `json:"event_id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Times
	Location  string   `json:"location,omitempty"`
	CreatorID string   `json:"creator_id"`
	Capacity  int      `json:"capacity,omitempty"`
	Tags      []string `json:"tags,omitempty"`
}

// EventDetailsChanged holds the fields that changed and no others; an empty
// Location or Tags is a cleared one.
type EventDetailsChanged struct {
	EventID     string    `json:"event_id"`
	Title       *string   `json:"title,omitempty"`
	Description *string   `json:"description,omitempty"`
	Location    *string   `json:"location,omitempty"`
	CreatorID   *string   `json:"creator_id,omitempty"`
	Tags        *[]string `json:"tags,omitempty"`
}

// EventRescheduled changes the start, the end or the time zone. Only another
// StartTime is a move, which reminders follow.
type EventRescheduled struct {
	EventID string `json:"event_id"`
	Times
}

// EventCapacityChanged sets the number of seats; 0 is no limit.
type EventCapacityChanged struct {
	EventID  string `json:"event_id"`
	Capacity int    `json:"capacity"`
}

// EventCancelled says that the event won't take place. It stays readable.
type EventCancelled struct {
	EventID string `json:"event_id"`
	Reason  string `json:"reason,omitempty"`
}

// EventDeleted removes the event, its participants and its notifications from every read model.
type EventDeleted struct {
	EventID string `json:"event_id"`
}

// ReminderAdded asks for a notification to each confirmed participant who has
// not declined, MinutesBefore the start. No Channels: each participant's own.
type ReminderAdded struct {
	EventID       string   `json:"event_id"`
	ReminderID    string   `json:"reminder_id"`
	MinutesBefore int      `json:"minutes_before"`
	Channels      []string `json:"channels,omitempty"`
	Message       string   `json:"message,omitempty"` // a template; none: the built-in one
}

// ReminderRemoved ends a reminder.
type ReminderRemoved struct {
	EventID    string `json:"event_id"`
	ReminderID string `json:"reminder_id"`
}

// AnnouncementMade asks for one notification to each participant of the roster
// at this revision who is in the audience, on each channel, at SendAt.
type AnnouncementMade struct {
	EventID        string    `json:"event_id"`
	AnnouncementID string    `json:"announcement_id"`
	Message        string    `json:"message"` // a template
	SendAt         time.Time `json:"send_at"`
	Channels       []string  `json:"channels,omitempty"`
	Audience       Audience  `json:"audience"`
}

// Audience narrows a roster: an empty list allows all, and both lists empty
// are all who have not declined.
type Audience struct {
	Status   []string `json:"status,omitempty"`
	Response []string `json:"response,omitempty"`
}

func (EventScheduled) Name() string       { return "EventScheduled" }
func (EventDetailsChanged) Name() string  { return "EventDetailsChanged" }
func (EventRescheduled) Name() string     { return "EventRescheduled" }
func (EventCapacityChanged) Name() string { return "EventCapacityChanged" }
func (EventCancelled) Name() string       { return "EventCancelled" }
func (EventDeleted) Name() string         { return "EventDeleted" }
func (ReminderAdded) Name() string        { return "ReminderAdded" }
func (ReminderRemoved) Name() string      { return "ReminderRemoved" }
func (AnnouncementMade) Name() string     { return "AnnouncementMade" }
