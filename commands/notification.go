package commands

import (
	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// ScheduleNotification makes a notification PENDING, unless it was sent, failed
// or was cancelled by hand before.
type ScheduleNotification struct{ Fact events.NotificationScheduled }

// CancelNotification is the planner's: it changes only a PENDING one.
type CancelNotification struct{ NotificationID, Reason string }

// CancelNotificationByHand is a caller's.
type CancelNotificationByHand struct{ NotificationID string }

// StartSending claims a notification for the process Boot for ForMillis
// milliseconds. Takeover claims one whose claim by another process ran out.
type StartSending struct {
	NotificationID string
	Provider       string // who is to carry it
	Boot           string
	ForMillis      int64
	Takeover       bool
}

// CancelClaimed gives back a claim of one that is no longer wanted.
type CancelClaimed struct {
	NotificationID string
	Attempt        int
	Boot, Reason   string
}

// RecordSent concludes an attempt that the provider took.
type RecordSent struct{ Fact events.NotificationSent }

// RecordFailure concludes an attempt that failed and will be made again.
type RecordFailure struct{ Fact events.SendingFailed }

// RecordAsked writes down what a provider answered that was asked for an attempt
// whose outcome is unknown.
type RecordAsked struct{ Fact events.ProviderAsked }

// GiveUp concludes a notification that won't be sent.
type GiveUp struct{ Fact events.NotificationFailed }

// RetryNotification makes a failed notification PENDING again, by hand.
type RetryNotification struct{ NotificationID string }

func (c ScheduleNotification) Stream() string     { return NotificationStream(c.Fact.NotificationID) }
func (c CancelNotification) Stream() string       { return NotificationStream(c.NotificationID) }
func (c CancelNotificationByHand) Stream() string { return NotificationStream(c.NotificationID) }
func (c StartSending) Stream() string             { return NotificationStream(c.NotificationID) }
func (c CancelClaimed) Stream() string            { return NotificationStream(c.NotificationID) }
func (c RecordSent) Stream() string               { return NotificationStream(c.Fact.NotificationID) }
func (c RecordFailure) Stream() string            { return NotificationStream(c.Fact.NotificationID) }
func (c RecordAsked) Stream() string              { return NotificationStream(c.Fact.NotificationID) }
func (c GiveUp) Stream() string                   { return NotificationStream(c.Fact.NotificationID) }
func (c RetryNotification) Stream() string        { return NotificationStream(c.NotificationID) }

func (c ScheduleNotification) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.Schedule(c.Fact)
}

func (c CancelNotification) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.Cancel(c.Reason)
}

func (c CancelNotificationByHand) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.CancelByHand()
}

func (c StartSending) Decide(n *aggregates.Notification, now aggregates.Now) ([]events.Fact, error) {
	return n.StartSending(c.Provider, c.Boot, c.ForMillis, c.Takeover, now)
}

func (c CancelClaimed) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.CancelClaimed(c.Attempt, c.Boot, c.Reason)
}

func (c RecordSent) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.RecordSent(c.Fact)
}

func (c RecordFailure) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.RecordFailure(c.Fact)
}

func (c RecordAsked) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.RecordAsked(c.Fact)
}

func (c GiveUp) Decide(n *aggregates.Notification, _ aggregates.Now) ([]events.Fact, error) {
	return n.GiveUp(c.Fact)
}

func (c RetryNotification) Decide(n *aggregates.Notification, now aggregates.Now) ([]events.Fact, error) {
	return n.Retry(now)
}

func (CancelNotificationByHand) OwnRevision(n *aggregates.Notification) (int64, bool) {
	return n.Changed.Revision, n.Exists()
}

func (RetryNotification) OwnRevision(n *aggregates.Notification) (int64, bool) {
	return n.Changed.Revision, n.Exists()
}
