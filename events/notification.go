package events

import "time"

// NotificationScheduled makes a notification PENDING. Exactly one of ReminderID
// and AnnouncementID is set.
type NotificationScheduled struct {
	NotificationID string    `json:"notification_id"`
	EventID        string    `json:"event_id"`
	ParticipantID  string    `json:"participant_id"`
	ReminderID     string    `json:"reminder_id,omitempty"`
	AnnouncementID string    `json:"announcement_id,omitempty"`
	Channel        string    `json:"channel"`
	FallbackOf     string    `json:"fallback_of,omitempty"` // the notification that it follows on in a chain of channels
	ScheduledTime  time.Time `json:"scheduled_time"`
	Expires        time.Time `json:"expires"`
}

// NotificationCancelled says why nothing is to be sent: one of the Cancelled… reasons.
type NotificationCancelled struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	Reason         string `json:"reason"`
}

// Why a notification was cancelled. Only one that was cancelled by hand stays so when it is wanted again.
const (
	CancelledSuperseded     = "superseded" // the event moved, the reminder went or the channel changed
	CancelledDeclined       = "declined"
	CancelledRemoved        = "removed"
	CancelledOptedOut       = "opted_out"
	CancelledEventCancelled = "event_cancelled"
	CancelledEventDeleted   = "event_deleted"
	CancelledReceived       = "received" // one before it in its chain of channels arrived or was answered
	CancelledByHand         = "by_hand"
)

// SendingStarted claims a notification: for as long as the claim holds, nobody
// but the claimer calls the provider.
type SendingStarted struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	Attempt        int    `json:"attempt"`            // counts from 1
	Provider       string `json:"provider,omitempty"` // who is to carry it
	Boot           string `json:"boot"`               // the claimer's boot id
	ForMillis      int64  `json:"for_ms"`             // how long the claim holds
	InDoubt        bool   `json:"in_doubt,omitempty"` // an earlier attempt's outcome is unknown
}

// NotificationSent says that the provider took the message: by its answer, or, where
// that was not there yet or was lost, by a receipt of its. Then there is no text.
type NotificationSent struct {
	NotificationID    string    `json:"notification_id"`
	EventID           string    `json:"event_id"`
	Attempt           int       `json:"attempt"`
	SentTime          time.Time `json:"sent_time"` // when the provider call began
	ProviderMessageID string    `json:"provider_message_id,omitempty"`
	To                string    `json:"to"`                  // masked
	Late              bool      `json:"late,omitempty"`      // it came after its claim had been given up
	Found             bool      `json:"found,omitempty"`     // the provider said so when it was asked
	Overtaken         bool      `json:"overtaken,omitempty"` // a change was acknowledged while this was being handed over
	Personal          Personal  `json:"personal"`            // the rendered text
}

// SendingFailed says that an attempt failed and when the next one may begin.
type SendingFailed struct {
	NotificationID string    `json:"notification_id"`
	EventID        string    `json:"event_id"`
	Attempt        int       `json:"attempt"`
	Class          string    `json:"class"` // one of the Class… constants
	Error          string    `json:"error"` // for people; no personal data
	NextAttempt    time.Time `json:"next_attempt"`
}

// Why an attempt failed that is made again. Only temporary and unknown ones use
// up the attempts that a notification has.
const (
	ClassTemporary   = "temporary"
	ClassRateLimited = "rate_limited"
	ClassUnknown     = "unknown"   // it may have been sent
	ClassBroken      = "broken"    // our set-up, not the message
	ClassPostponed   = "postponed" // the provider was not called
)

// ProviderAsked says what a provider answered that was asked whether it had taken
// the message of an attempt whose outcome was unknown. That it had is a
// NotificationSent.
type ProviderAsked struct {
	NotificationID string    `json:"notification_id"`
	EventID        string    `json:"event_id"`
	Attempt        int       `json:"attempt"`
	Answer         string    `json:"answer"`             // one of the Answer… constants
	Error          string    `json:"error"`              // for people; no personal data
	Last           bool      `json:"last,omitempty"`     // it is not asked again
	InDoubt        bool      `json:"in_doubt,omitempty"` // some attempt's outcome is unknown still
	NextAttempt    time.Time `json:"next_attempt"`       // when it is asked again, or the message may be sent again
}

// What a provider answered that was asked.
const (
	AnswerNotTaken = "not_taken" // it certainly hasn't taken the message
	AnswerUnknown  = "unknown"   // it can't be told, or not yet
)

// NotificationFailed gives up. Attempt is 0 where none was under way.
type NotificationFailed struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	Attempt        int    `json:"attempt,omitempty"`
	Reason         string `json:"reason"` // one of the Failed… reasons
	Error          string `json:"error,omitempty"`
	Receipt        string `json:"receipt,omitempty"` // the provider's id of the news that it bounced
}

// Why a notification was given up.
const (
	FailedMissed         = "missed"          // unsent when it expired
	FailedOutcomeUnknown = "outcome_unknown" // perhaps sent; never settled
	FailedRejected       = "rejected"        // the provider refused it for good
	FailedExhausted      = "attempts_exhausted"
	FailedBounced        = "bounced"
	FailedUnrenderable   = "unrenderable"
	FailedSuppressed     = "suppressed" // nothing is sent to its address
)

// NotificationDelivered is the provider's word that the message of an attempt arrived.
type NotificationDelivered struct {
	NotificationID string    `json:"notification_id"`
	EventID        string    `json:"event_id"`
	Attempt        int       `json:"attempt"`
	DeliveredTime  time.Time `json:"delivered_time"`    // by the provider's clock, where it tells
	Receipt        string    `json:"receipt,omitempty"` // the provider's id of the news
}

// AttemptBounced is the provider's word that the message of an attempt did not
// arrive, while that of another was taken or is under way.
type AttemptBounced struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	Attempt        int    `json:"attempt"`
	Error          string `json:"error,omitempty"`
	Receipt        string `json:"receipt,omitempty"` // the provider's id of the news
}

// NotificationRetried makes a failed notification PENDING again, by hand.
type NotificationRetried struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
}

// OfAttempt tells of a fact's name whether it says that an attempt was begun or
// how one ended: of many messages at once these are most of the log.
func OfAttempt(name string) bool {
	switch name {
	case SendingStarted{}.Name(), NotificationSent{}.Name(), SendingFailed{}.Name():
		return true
	}
	return false
}

func (NotificationScheduled) Name() string { return "NotificationScheduled" }
func (NotificationCancelled) Name() string { return "NotificationCancelled" }
func (SendingStarted) Name() string        { return "SendingStarted" }
func (NotificationSent) Name() string      { return "NotificationSent" }
func (SendingFailed) Name() string         { return "SendingFailed" }
func (ProviderAsked) Name() string         { return "ProviderAsked" }
func (NotificationFailed) Name() string    { return "NotificationFailed" }
func (NotificationDelivered) Name() string { return "NotificationDelivered" }
func (AttemptBounced) Name() string        { return "AttemptBounced" }
func (NotificationRetried) Name() string   { return "NotificationRetried" }
