package aggregates

import (
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// What a provider says of the message of an attempt, after it was handed over.
const (
	ReceiptTaken     = "taken"
	ReceiptDelivered = "delivered"
	ReceiptBounced   = "bounced"
)

// Receipt is what a provider says of the message of an attempt.
type Receipt struct {
	News    string    // one of the Receipt… constants
	Attempt int       // 0: the last that the provider can mean
	ID      string    // the same when it is told again; may be empty
	At      time.Time // by the provider's clock; zero: it isn't told
	Ref     string    // the provider's id of the message; may be empty
	To      string    // masked; may be empty
	Error   string    // why it bounced, for people; no personal data
}

// What is known of an attempt only ever grows, so that receipts lead to the same
// in whatever order they come. A bounce is the last word: mail that another server
// took may bounce from there, and nothing that bounced arrives afterwards.
const (
	rankUntaken = iota
	rankTaken
	rankDelivered
	rankBounced
)

var receiptRanks = map[string]int{ReceiptTaken: rankTaken, ReceiptDelivered: rankDelivered, ReceiptBounced: rankBounced}

// rank is what is known of an attempt's message.
func (a *Attempt) rank() int {
	switch a.Outcome {
	case OutcomeSent:
		return rankTaken
	case OutcomeDelivered:
		return rankDelivered
	case OutcomeBounced:
		return rankBounced
	}
	return rankUntaken
}

// RecordReceipt writes down what a provider says of an attempt's message, whatever
// n's state: a receipt proves that the message was taken, also where our own
// conclusion is still to come, was lost or was another. What is known already, and
// what has been overtaken by what is, changes nothing.
//
// A notification is DELIVERED while the message of some attempt was delivered and
// has not bounced, else SENT while one was taken that has not bounced.
func (n *Notification) RecordReceipt(r Receipt, now Now) ([]events.Fact, error) {
	if !n.Exists() {
		return nil, ErrNotificationNotFound
	}
	a := n.attempt(r.Attempt)
	if r.Attempt == 0 {
		a = n.lastHandedOver()
	}
	if a == nil {
		return nil, ErrNotificationState // nothing has been handed over
	}
	if a.rank() >= receiptRanks[r.News] || r.ID != "" && slices.Contains(n.Receipts, r.ID) {
		return nil, nil
	}
	if r.News == ReceiptBounced && n.takenBut(a) {
		return []events.Fact{events.AttemptBounced{NotificationID: n.ID, EventID: n.EventID, Attempt: a.Number, Error: r.Error, Receipt: r.ID}}, nil
	}
	var facts []events.Fact
	if a.rank() < rankTaken {
		facts = append(facts, events.NotificationSent{
			NotificationID: n.ID, EventID: n.EventID, Attempt: a.Number, SentTime: a.StartedAt,
			ProviderMessageID: r.Ref, To: r.To, Late: !n.sendingAt(a.Number),
		})
	}
	switch r.News {
	case ReceiptDelivered:
		at := r.At
		if at.IsZero() || at.After(now.Time) {
			at = now.Time
		}
		facts = append(facts, events.NotificationDelivered{
			NotificationID: n.ID, EventID: n.EventID, Attempt: a.Number, DeliveredTime: micros(at), Receipt: r.ID,
		})
	case ReceiptBounced:
		facts = append(facts, events.NotificationFailed{
			NotificationID: n.ID, EventID: n.EventID, Attempt: a.Number, Reason: events.FailedBounced, Error: r.Error, Receipt: r.ID,
		})
	}
	return facts, nil
}

// lastHandedOver is the attempt that a receipt means which names none: the last
// whose message was taken, else the last that may have been, else the last.
func (n *Notification) lastHandedOver() *Attempt {
	var last *Attempt
	likely := func(a *Attempt) int {
		switch {
		case a.rank() >= rankTaken:
			return 2
		case a.Outcome == OutcomeInFlight, a.Outcome == OutcomeUnknown:
			return 1
		}
		return 0
	}
	for i := range n.Log {
		if a := &n.Log[i]; last == nil || likely(a) >= likely(last) {
			last = a
		}
	}
	return last
}

// takenBut tells whether the message of another attempt than a was taken and has
// not bounced.
func (n *Notification) takenBut(a *Attempt) bool {
	for i := range n.Log {
		if b := &n.Log[i]; b.Number != a.Number && (b.rank() == rankTaken || b.rank() == rankDelivered) {
			return true
		}
	}
	return false
}

func (n *Notification) delivered(f events.NotificationDelivered) {
	n.noted(f.Receipt)
	if a := n.attempt(f.Attempt); a != nil {
		a.Outcome, a.Error = OutcomeDelivered, ""
	}
	n.Status = NotificationDelivered
}

// bounced leaves n DELIVERED only while the message of another attempt is.
func (n *Notification) bounced(attempt int, why, receipt string) {
	n.noted(receipt)
	if a := n.attempt(attempt); a != nil {
		a.Outcome, a.Error = OutcomeBounced, why
	}
	arrived := slices.ContainsFunc(n.Log, func(a Attempt) bool { return a.Outcome == OutcomeDelivered })
	if n.Status == NotificationDelivered && !arrived {
		n.Status = NotificationSent
	}
}

func (n *Notification) noted(receipt string) {
	if receipt != "" {
		n.Receipts = append(n.Receipts, receipt)
	}
}
