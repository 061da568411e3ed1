package events

// ParticipantRegistered gives a seat or, Waitlisted, the last place in the line.
type ParticipantRegistered struct {
	EventID       string   `json:"event_id"`
	ParticipantID string   `json:"participant_id"`
	UserID        string   `json:"user_id"`
	Channels      []string `json:"channels,omitempty"`
	TimeZone      string   `json:"time_zone,omitempty"`
	Locale        string   `json:"locale,omitempty"`
	EmailDigest   string   `json:"email_digest,omitempty"` // keyed: tells equal addresses apart from others, and nothing else
	Waitlisted    bool     `json:"waitlisted,omitempty"`
	Personal      Personal `json:"personal"`
}

// ParticipantContactChanged holds the whole contact as it is from now on.
type ParticipantContactChanged struct {
	EventID       string   `json:"event_id"`
	ParticipantID string   `json:"participant_id"`
	UserID        string   `json:"user_id"`
	Channels      []string `json:"channels,omitempty"`
	TimeZone      string   `json:"time_zone,omitempty"`
	Locale        string   `json:"locale,omitempty"`
	EmailDigest   string   `json:"email_digest,omitempty"`
	Personal      Personal `json:"personal"`
}

// ParticipantResponded is an answer to the invitation. Declining gives up the
// seat or the place in the line; any other answer of one who had declined takes
// a seat again or, Waitlisted, the last place in the line.
type ParticipantResponded struct {
	EventID       string `json:"event_id"`
	ParticipantID string `json:"participant_id"`
	Response      string `json:"response"`
	Waitlisted    bool   `json:"waitlisted,omitempty"`
}

// ParticipantPromoted gives the first of the line a seat that was freed.
type ParticipantPromoted struct {
	EventID       string `json:"event_id"`
	ParticipantID string `json:"participant_id"`
}

// ParticipantRemoved takes a participant off the event.
type ParticipantRemoved struct {
	EventID       string `json:"event_id"`
	ParticipantID string `json:"participant_id"`
}

// ParticipantOptedOut ends all messages to a participant about the event, by the
// link in one of them. The participant keeps seat and answer.
type ParticipantOptedOut struct {
	EventID       string `json:"event_id"`
	ParticipantID string `json:"participant_id"`
}

// ParticipantOptedIn takes ParticipantOptedOut back.
type ParticipantOptedIn struct {
	EventID       string `json:"event_id"`
	ParticipantID string `json:"participant_id"`
}

func (ParticipantRegistered) Name() string     { return "ParticipantRegistered" }
func (ParticipantContactChanged) Name() string { return "ParticipantContactChanged" }
func (ParticipantResponded) Name() string      { return "ParticipantResponded" }
func (ParticipantPromoted) Name() string       { return "ParticipantPromoted" }
func (ParticipantRemoved) Name() string        { return "ParticipantRemoved" }
func (ParticipantOptedOut) Name() string       { return "ParticipantOptedOut" }
func (ParticipantOptedIn) Name() string        { return "ParticipantOptedIn" }
