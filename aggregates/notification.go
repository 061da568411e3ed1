package aggregates

import (
	"time"

	"github.com/belltower/belltower/events"
)

// NotificationStatus is where a notification stands.
type NotificationStatus string

// The statuses. READY is never stored: it is PENDING whose time has come.
const (
	NotificationPending   NotificationStatus = "PENDING"
	NotificationReady     NotificationStatus = "READY"
	NotificationSending   NotificationStatus = "SENDING"
	NotificationSent      NotificationStatus = "SENT"
	NotificationDelivered NotificationStatus = "DELIVERED"
	NotificationFailed    NotificationStatus = "FAILED"
	NotificationCancelled NotificationStatus = "CANCELLED"
)

// Outcomes of an attempt.
const (
	OutcomeInFlight  = "in_flight"
	OutcomeSent      = "sent"
	OutcomeFailed    = "failed"
	OutcomeUnknown   = "unknown" // perhaps sent
	OutcomeCancelled = "cancelled"
	OutcomeDelivered = "delivered"
	OutcomeBounced   = "bounced"
)

// Notification is one message to one participant on one channel. The zero
// Notification has not been scheduled.
type Notification struct {
	ID             string
	EventID        string
	ParticipantID  string
	ReminderID     string
	AnnouncementID string
	Channel        string
	FallbackOf     string // the notification that it follows on in a chain of channels; empty: none
	ScheduledTime  time.Time
	Expires        time.Time

	Status       NotificationStatus
	Attempts     int
	Boot         string // boot id of the claim while SENDING
	ClaimMillis  int64
	ClaimedAt    Stamp
	NextAttempt  time.Time // zero: at ScheduledTime
	CancelReason string
	LastError    string
	Tries        int  // attempts that failed, temporarily or with an unknown outcome, since it was last made PENDING by a plan or by hand
	InDoubt      bool // another attempt was made while an earlier one's outcome was unknown

	SentTime          time.Time
	ProviderMessageID string
	To                string // masked
	Message           string // as rendered; empty once erased

	Created Stamp
	Changed Stamp
	Log     []Attempt

	Receipts []string // ids of the receipts that were recorded
}

// Attempt is one try to send.
type Attempt struct {
	Number    int
	StartedAt time.Time
	Provider  string // who was to carry it; empty in old facts
	Outcome   string
	Error     string

	// Of one whose outcome is unknown.
	Asked    int  // how often the provider was asked without settling it
	AskedOut bool // it is not asked again
	ByHand   bool // somebody has decided since that it may be sent again
}

// Exists tells whether n has been scheduled.
func (n *Notification) Exists() bool { return n.Status != "" }

// Final tells whether nothing more is to be done for n unless somebody asks.
func (n *Notification) Final() bool {
	switch n.Status {
	case NotificationSent, NotificationDelivered, NotificationFailed, NotificationCancelled:
		return true
	}
	return false
}

// Evolve applies f, which happened at at.
func (n *Notification) Evolve(f events.Fact, at Stamp) {
	switch f := f.(type) {
	case events.NotificationScheduled:
		n.scheduled(f, at)
	case events.NotificationCancelled:
		if n.Status == NotificationSending {
			n.conclude(n.Attempts, OutcomeCancelled, f.Reason)
		}
		n.Status, n.CancelReason, n.NextAttempt = NotificationCancelled, f.Reason, time.Time{}
	case events.SendingStarted:
		n.started(f, at)
	case events.NotificationSent:
		n.sent(f)
	case events.SendingFailed:
		outcome := OutcomeFailed
		if f.Class == events.ClassUnknown {
			outcome = OutcomeUnknown
		}
		if f.Class == events.ClassUnknown || f.Class == events.ClassTemporary {
			n.Tries++
		}
		n.conclude(f.Attempt, outcome, f.Error)
		n.Status, n.NextAttempt, n.LastError = NotificationPending, f.NextAttempt, f.Error
	case events.ProviderAsked:
		n.asked(f)
	case events.NotificationFailed:
		n.failed(f)
	case events.NotificationDelivered:
		n.delivered(f)
	case events.AttemptBounced:
		n.bounced(f.Attempt, f.Error, f.Receipt)
	case events.NotificationRetried:
		n.Status, n.NextAttempt, n.Tries = NotificationPending, time.Time{}, 0
		n.retriedByHand()
	default:
		return
	}
	if n.Status != NotificationSending {
		n.Boot, n.ClaimMillis, n.ClaimedAt = "", 0, Stamp{}
	}
	n.Changed = at
}

func (n *Notification) scheduled(f events.NotificationScheduled, at Stamp) {
	if !n.Exists() {
		n.Created = at
	}
	n.ID, n.EventID, n.ParticipantID = f.NotificationID, f.EventID, f.ParticipantID
	n.ReminderID, n.AnnouncementID, n.Channel = f.ReminderID, f.AnnouncementID, f.Channel
	n.FallbackOf = f.FallbackOf
	n.ScheduledTime, n.Expires = f.ScheduledTime, f.Expires
	n.Status, n.CancelReason, n.NextAttempt, n.Tries = NotificationPending, "", time.Time{}, 0
}

func (n *Notification) started(f events.SendingStarted, at Stamp) {
	n.unsettled()
	n.Log = append(n.Log, Attempt{Number: f.Attempt, StartedAt: at.At, Provider: f.Provider, Outcome: OutcomeInFlight})
	n.Status, n.Attempts, n.InDoubt, n.NextAttempt = NotificationSending, f.Attempt, f.InDoubt, time.Time{}
	n.Boot, n.ClaimMillis, n.ClaimedAt = f.Boot, f.ForMillis, at
}

func (n *Notification) sent(f events.NotificationSent) {
	n.conclude(f.Attempt, OutcomeSent, "")
	n.unsettled()
	if n.taken() && (n.Message != "" || f.Personal.Message == "") {
		return // what was sent first goes on being shown
	}
	if !n.taken() {
		n.Status = NotificationSent
	}
	if f.ProviderMessageID != "" || n.ProviderMessageID == "" {
		n.ProviderMessageID = f.ProviderMessageID
	}
	n.SentTime, n.To, n.Message = f.SentTime, f.To, f.Personal.Message
	n.CancelReason, n.LastError, n.NextAttempt = "", "", time.Time{}
}

// taken tells whether a provider has a message of n, as far as is known.
func (n *Notification) taken() bool {
	return n.Status == NotificationSent || n.Status == NotificationDelivered
}

func (n *Notification) failed(f events.NotificationFailed) {
	n.LastError = f.Reason
	switch f.Reason {
	case events.FailedBounced:
		if f.Error != "" {
			n.LastError = f.Error
		}
		n.bounced(f.Attempt, f.Error, f.Receipt)
	case events.FailedOutcomeUnknown:
		n.unsettled()
	case events.FailedMissed:
		n.conclude(f.Attempt, OutcomeFailed, f.Reason)
	default:
		if f.Error != "" {
			n.LastError = f.Error
		}
		n.conclude(f.Attempt, OutcomeFailed, n.LastError)
	}
	n.Status, n.NextAttempt = NotificationFailed, time.Time{}
}

// conclude writes down how attempt number ended. One that is over stays as it
// is, but that it may turn out to have been sent.
func (n *Notification) conclude(number int, outcome, why string) {
	a := n.attempt(number)
	if a == nil || a.Outcome == OutcomeDelivered || a.Outcome == OutcomeBounced {
		return
	}
	if a.Outcome == OutcomeInFlight || outcome == OutcomeSent {
		a.Outcome, a.Error = outcome, why
	}
}

// unsettled notes that whoever made the attempts in flight lost the claim on them.
func (n *Notification) unsettled() {
	for i := range n.Log {
		if n.Log[i].Outcome == OutcomeInFlight {
			n.Log[i].Outcome = OutcomeUnknown
		}
	}
}

func (n *Notification) attempt(number int) *Attempt {
	for i := range n.Log {
		if n.Log[i].Number == number {
			return &n.Log[i]
		}
	}
	return nil
}

// unknown tells whether an attempt that is over may have been sent.
func (n *Notification) unknown() bool {
	for _, a := range n.Log {
		if a.Outcome == OutcomeUnknown {
			return true
		}
	}
	return false
}
