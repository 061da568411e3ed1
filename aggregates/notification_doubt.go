package aggregates

import "github.com/belltower/belltower/events"

// Doubtful gives the attempts whose outcome is unknown, the first made first.
func (n *Notification) Doubtful() (attempts []Attempt) {
	for _, a := range n.Log {
		if a.Outcome == OutcomeUnknown {
			attempts = append(attempts, a)
		}
	}
	return attempts
}

// RecordAsked writes down what a provider answered that was asked for an attempt.
// It changes nothing once the attempt is settled, another is under way, or nothing
// is to be sent any more.
func (n *Notification) RecordAsked(f events.ProviderAsked) ([]events.Fact, error) {
	if !n.Exists() {
		return nil, ErrNotificationNotFound
	}
	made := n.attempt(f.Attempt)
	if n.Status != NotificationPending || made == nil || made.Outcome != OutcomeUnknown || made.AskedOut {
		return nil, nil
	}
	f.InDoubt = f.Answer == events.AnswerUnknown || len(n.Doubtful()) > 1
	return []events.Fact{f}, nil
}

func (n *Notification) asked(f events.ProviderAsked) {
	if a := n.attempt(f.Attempt); a != nil && a.Outcome == OutcomeUnknown {
		a.Asked++
		a.AskedOut = f.Last
		a.Error = f.Error
		if f.Answer == events.AnswerNotTaken {
			a.Outcome = OutcomeFailed
		}
	}
	n.NextAttempt, n.LastError = f.NextAttempt, f.Error
}

// retriedByHand lets what is in doubt be asked for once more, and then be sent.
func (n *Notification) retriedByHand() {
	for i := range n.Log {
		if n.Log[i].Outcome == OutcomeUnknown {
			n.Log[i].ByHand, n.Log[i].AskedOut = true, false
		}
	}
}
