package aggregates

import (
	"github.com/belltower/belltower/events"
)

// Schedule makes n PENDING: at first, and again where it was cancelled but not by hand.
func (n *Notification) Schedule(f events.NotificationScheduled) ([]events.Fact, error) {
	again := n.Status == NotificationCancelled && n.CancelReason != events.CancelledByHand
	if n.Exists() && !again {
		return nil, nil
	}
	return []events.Fact{f}, nil
}

// Cancel is the planner's: it leaves alone what is being sent, as whoever sends it looks again.
func (n *Notification) Cancel(reason string) ([]events.Fact, error) {
	if n.Status != NotificationPending {
		return nil, nil
	}
	return n.cancelled(reason), nil
}

// CancelByHand is for good.
func (n *Notification) CancelByHand() ([]events.Fact, error) {
	switch n.Status {
	case "":
		return nil, ErrNotificationNotFound
	case NotificationPending:
		return n.cancelled(events.CancelledByHand), nil
	case NotificationCancelled:
		return nil, nil
	}
	return nil, ErrNotificationState
}

// CancelClaimed is for the owner of the claim, who has looked and found that
// it is no longer wanted. One who has lost the claim changes nothing.
func (n *Notification) CancelClaimed(attempt int, boot, reason string) ([]events.Fact, error) {
	if !n.sendingAt(attempt) || n.Boot != boot {
		return nil, nil
	}
	return n.cancelled(reason), nil
}

func (n *Notification) cancelled(reason string) []events.Fact {
	return []events.Fact{events.NotificationCancelled{NotificationID: n.ID, EventID: n.EventID, Reason: reason}}
}

// StartSending claims n, to be carried by a provider. With takeover the caller has found that the claim of
// another boot has run out.
func (n *Notification) StartSending(provider, boot string, forMillis int64, takeover bool, now Now) ([]events.Fact, error) {
	if !n.Exists() {
		return nil, ErrNotificationNotFound
	}
	overtaking := n.Status == NotificationSending && takeover && n.Boot != boot
	if !overtaking && !n.due(now) {
		return nil, ErrNotificationState
	}
	return []events.Fact{events.SendingStarted{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts + 1, Provider: provider, Boot: boot, ForMillis: forMillis,
		InDoubt: overtaking || n.unknown(),
	}}, nil
}

// due tells whether an attempt may begin.
func (n *Notification) due(now Now) bool {
	return n.Status == NotificationPending && !n.ScheduledTime.After(now.Time) && !n.NextAttempt.After(now.Time) && !n.expired(now)
}

// expired tells whether the end of n's life has passed.
func (n *Notification) expired(now Now) bool { return now.Time.After(n.Expires) }

func (n *Notification) sendingAt(attempt int) bool {
	return n.Status == NotificationSending && n.Attempts == attempt
}

// RecordSent writes down that the provider took an attempt's message, whenever
// that becomes known: what was sent was sent. Where a receipt came first, it adds
// the text that was sent.
func (n *Notification) RecordSent(f events.NotificationSent) ([]events.Fact, error) {
	if !n.Exists() {
		return nil, ErrNotificationNotFound
	}
	made := n.attempt(f.Attempt)
	switch {
	case n.taken() && (made == nil || made.rank() < rankTaken || n.Message != "" || f.Personal.Message == ""):
		return nil, nil
	case made == nil:
		return nil, ErrNotificationState
	case made.Outcome == OutcomeBounced:
		return nil, nil
	}
	f.Late = !n.sendingAt(f.Attempt)
	return []events.Fact{f}, nil
}

// RecordFailure ends an attempt after which another is made.
func (n *Notification) RecordFailure(f events.SendingFailed) ([]events.Fact, error) {
	if !n.sendingAt(f.Attempt) {
		return nil, nil
	}
	return []events.Fact{f}, nil
}

// GiveUp ends what is PENDING, or, where f names an attempt, what is being sent
// at that attempt. Missed becomes outcome_unknown where an earlier attempt may have
// been sent.
func (n *Notification) GiveUp(f events.NotificationFailed) ([]events.Fact, error) {
	if !n.sendingAt(f.Attempt) && (f.Attempt != 0 || n.Status != NotificationPending) {
		return nil, nil
	}
	if f.Reason == events.FailedMissed && n.unknown() {
		f.Reason = events.FailedOutcomeUnknown
	}
	return []events.Fact{f}, nil
}

// Retry makes a failed notification PENDING again, by hand, while it has not expired.
func (n *Notification) Retry(now Now) ([]events.Fact, error) {
	switch {
	case !n.Exists():
		return nil, ErrNotificationNotFound
	case n.Status != NotificationFailed:
		return nil, ErrNotificationState
	case n.expired(now):
		return nil, ErrNotificationExpired
	}
	return []events.Fact{events.NotificationRetried{NotificationID: n.ID, EventID: n.EventID}}, nil
}
