// Package projections folds the log into SQL tables, the read models that
// queries answer from. They are disposable: whatever is in them comes from the
// log and can be built anew.
package projections

import "time"

// The row types are the resources of the HTTP contract, encoded as they are.
// Times are in UTC with microseconds.

// Event is a scheduled event.
type Event struct {
	ID               string    `json:"id"`
	Title            string    `json:"title"`
	Description      string    `json:"description"`
	StartTime        time.Time `json:"start_time"`
	EndTime          time.Time `json:"end_time"`
	TimeZone         string    `json:"time_zone"`
	Location         *string   `json:"location"`
	CreatorID        string    `json:"creator_id"`
	Capacity         *int      `json:"capacity"`
	Tags             []string  `json:"tags"` // never nil
	Status           string    `json:"status"`
	ParticipantCount int       `json:"participant_count"`
	Revision         int64     `json:"revision"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
}

// Participant is somebody on an event.
type Participant struct {
	ID               string    `json:"id"`
	EventID          string    `json:"event_id"`
	UserID           string    `json:"user_id"`
	Name             string    `json:"name"`
	Email            string    `json:"email"`
	Phone            *string   `json:"phone"`
	Channels         []string  `json:"channels"` // never nil; empty: e-mail
	TimeZone         *string   `json:"time_zone"`
	Locale           *string   `json:"locale"`
	Response         string    `json:"response"`
	OptedOut         bool      `json:"opted_out,omitempty"` // wants no messages about the event
	Status           string    `json:"status"`
	WaitlistPosition *int      `json:"waitlist_position,omitempty"`
	Revision         int64     `json:"revision"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
}

// Reminder is a rule of an event.
type Reminder struct {
	ID            string   `json:"id"`
	EventID       string   `json:"event_id"`
	MinutesBefore int      `json:"minutes_before"`
	Channels      []string `json:"channels"` // never nil; empty: each participant's own
	Message       string   `json:"message"`
	Revision      int64    `json:"revision"`
}

// Notification is one message to one participant on one channel.
type Notification struct {
	ID                string     `json:"id"`
	EventID           string     `json:"event_id"`
	ReminderID        *string    `json:"reminder_id"`
	AnnouncementID    *string    `json:"announcement_id"`
	ParticipantID     string     `json:"participant_id"`
	Channel           string     `json:"channel"`
	FallbackOf        *string    `json:"fallback_of,omitempty"` // the notification that it follows on in a chain of channels
	Status            string     `json:"status"`                // READY is made when reading: PENDING and due
	Message           *string    `json:"message"`
	ScheduledTime     time.Time  `json:"scheduled_time"`
	SentTime          *time.Time `json:"sent_time"`
	NextAttemptTime   *time.Time `json:"next_attempt_time,omitempty"`
	Attempts          int        `json:"attempts"`
	LastError         *string    `json:"last_error"`
	InDoubt           bool       `json:"in_doubt"` // an attempt's outcome was unknown when another was made
	ProviderMessageID *string    `json:"provider_message_id"`
	Revision          int64      `json:"revision"`
	AttemptLog        []Attempt  `json:"attempt_log,omitempty"` // on a single notification only
}

// Attempt is one try to send a notification.
type Attempt struct {
	Number    int       `json:"number"`
	StartedAt time.Time `json:"started_at"`
	Provider  *string   `json:"provider"` // who carried it, or was to
	Outcome   string    `json:"outcome"`
	Error     *string   `json:"error"`
}
