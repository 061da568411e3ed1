package model

import (
	"slices"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// MoveOf names a row of the state table.
func MoveOf(n *aggregates.Notification, f events.Fact) string {
	from := string(n.Status)
	if from == "" {
		from = "–"
	}
	what := f.Name()
	switch f := f.(type) {
	case events.NotificationFailed:
		if f.Reason == events.FailedMissed || f.Reason == events.FailedOutcomeUnknown || f.Reason == events.FailedBounced {
			what += " (" + f.Reason + ")"
		}
	case events.NotificationSent:
		if f.Late {
			what += " (late)"
		}
	}
	return from + " · " + what
}

// StateTable is every move that design allows.
var StateTable = []string{
	"– · NotificationScheduled",
	"PENDING · SendingStarted",
	"PENDING · NotificationCancelled",
	"PENDING · NotificationFailed (missed)",
	"SENDING · NotificationSent",
	"SENDING · SendingFailed",
	"PENDING · ProviderAsked",
	"SENDING · NotificationFailed",
	"SENDING · NotificationCancelled",
	"SENDING · SendingStarted",
	"SENDING · NotificationSent (late)",
	"FAILED · NotificationSent (late)",
	"CANCELLED · NotificationSent (late)",
	"CANCELLED · NotificationScheduled",
	"FAILED · NotificationRetried",
	"SENT · NotificationDelivered",
	"SENT · NotificationFailed (bounced)",
	"DELIVERED · NotificationFailed (bounced)",
}

// Allowed tells whether the rules of delivery have a row: those of StateTable,
// and what is a case of one of them.
func Allowed(row string) bool {
	switch row {
	case "PENDING · NotificationSent (late)", "PENDING · NotificationFailed (outcome_unknown)", "SENDING · NotificationFailed (outcome_unknown)", "SENDING · NotificationFailed (missed)",
		"SENT · NotificationSent (late)", "DELIVERED · NotificationSent (late)", // the text behind a receipt, or another attempt's message
		"DELIVERED · NotificationDelivered", "SENT · AttemptBounced", "DELIVERED · AttemptBounced": // of another attempt
		return true
	}
	return slices.Contains(StateTable, row)
}

// ScheduledFor gives the time that an attempt's notification was scheduled for when it began.
func ScheduledFor(log []commands.Entry, id string, attempt int) (due time.Time) {
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.NotificationScheduled:
			if f.NotificationID == id {
				due = f.ScheduledTime
			}
		case events.SendingStarted:
			if f.NotificationID == id && f.Attempt == attempt {
				return due
			}
		}
	}
	return due
}

// AllowedAgain tells whether an attempt was rightly made though an earlier one
// may have been sent: in doubt, before anything was known to be sent, or by hand
// after it had bounced.
func AllowedAgain(log []commands.Entry, id string, attempt int) bool {
	known := false
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.NotificationSent:
			known = known || f.NotificationID == id
		case events.NotificationRetried:
			if f.NotificationID == id && known {
				return true
			}
		case events.SendingStarted:
			if f.NotificationID == id && f.Attempt == attempt {
				return f.InDoubt && !known
			}
		}
	}
	return false
}
