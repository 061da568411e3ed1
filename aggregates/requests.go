package aggregates

import (
	"time"

	"github.com/belltower/belltower/events"
)

// EventFields is what an event is scheduled with; a zero time is one that was not given.
type EventFields struct {
	Title       string
	Description string
	CreatorID   string
	StartTime   time.Time
	EndTime     time.Time
	TimeZone    string
	Location    string
	Capacity    *int // nil: no limit
	Tags        []string
}

// EventPatch changes an event; Null clears an optional field.
type EventPatch struct {
	Title       Patch[string]    `json:"title"`
	Description Patch[string]    `json:"description"`
	CreatorID   Patch[string]    `json:"creator_id"`
	StartTime   Patch[time.Time] `json:"start_time"`
	EndTime     Patch[time.Time] `json:"end_time"`
	TimeZone    Patch[string]    `json:"time_zone"`
	Location    Patch[string]    `json:"location"`
	Capacity    Patch[int]       `json:"capacity"`
	Tags        Patch[[]string]  `json:"tags"`
}

// ContactFields is what a participant is registered with.
type ContactFields struct {
	UserID    string
	Name      string
	Email     string
	Phone     string
	PushToken string
	Channels  []string
	TimeZone  string
	Locale    string
}

// ContactPatch changes how a participant is reached; Null clears an optional field.
type ContactPatch struct {
	Name      Patch[string]   `json:"name"`
	Email     Patch[string]   `json:"email"`
	Phone     Patch[string]   `json:"phone"`
	PushToken Patch[string]   `json:"push_token"`
	Channels  Patch[[]string] `json:"channels"`
	TimeZone  Patch[string]   `json:"time_zone"`
	Locale    Patch[string]   `json:"locale"`
}

// ReminderFields is what a reminder is added with.
type ReminderFields struct {
	MinutesBefore *int // nil: 60
	Channels      []string
	Message       *string // nil: the built-in one
}

// AnnouncementFields is what an announcement is made with.
type AnnouncementFields struct {
	Message  string
	SendAt   *time.Time // nil: now
	Channels []string
	Audience events.Audience
}
