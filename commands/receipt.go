package commands

import (
	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// RecordReceipt writes down what a provider says of a notification's message.
type RecordReceipt struct {
	NotificationID string
	Receipt        aggregates.Receipt
}

func (c RecordReceipt) Stream() string { return NotificationStream(c.NotificationID) }

func (c RecordReceipt) Decide(n *aggregates.Notification, now aggregates.Now) ([]events.Fact, error) {
	return n.RecordReceipt(c.Receipt, now)
}
