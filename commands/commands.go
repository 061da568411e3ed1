// Package commands is the way in: whatever changes Belltower passes through Do.
// A command is plain data with a Decide of one line; the rules are in aggregates.
package commands

import (
	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Command asks the aggregate S for a change. It is plain data, so that tests
// and the process manager can compare commands.
type Command[S any] interface {
	// Stream is the stream of the aggregate that decides.
	Stream() string
	Decide(state S, now aggregates.Now) ([]events.Fact, error)
}

// conditional is a command for a resource that If-Match can be checked against.
// ok is false where the resource doesn't exist: then Decide says so.
type conditional[S any] interface {
	OwnRevision(state S) (revision int64, ok bool)
}

// State is an aggregate that a stream's facts are folded into; T is its zero.
type State[T any] interface {
	*T
	Evolve(f events.Fact, at aggregates.Stamp)
}

// Caller says for whom a command is done.
type Caller struct {
	Actor         string
	CorrelationID string
	CausationID   string
	Key           *Key   // nil: not keyed
	IfMatch       *Match // nil: unconditional
}

// Key makes a request idempotent: the same Value of the same actor on the same
// Route is decided once. Body is the request's body in a canonical form.
type Key struct {
	Route string
	Value string
	Body  []byte
}

// Match is what If-Match allows: any revision, or one at which nothing newer
// has happened to the resource's own fields.
type Match struct {
	Any       bool
	Revisions []int64
}

func (m Match) allows(own, last int64) bool {
	if m.Any {
		return true
	}
	for _, r := range m.Revisions {
		if own <= r && r <= last {
			return true
		}
	}
	return false
}

// Answer is what became of a command.
type Answer[V any] struct {
	View     V                   // of the state right after the command's own facts
	Revision int64               // of the stream's last fact then
	Position eventstore.Position // of that fact or one soon after it
	Replayed bool                // an earlier request with the same key was answered again
	Appended int                 // facts
}

const (
	ofEvents        = "event-"
	ofNotifications = "notification-"
	ofSuppressions  = "suppression-"
	ofRequests      = "request-"

	// ProcessorStream is the stream of the processor.
	ProcessorStream = "processor"
)

// StreamPrefixes are how the names of all streams begin that commands write to.
var StreamPrefixes = []string{ofEvents, ofNotifications, ofSuppressions, ofRequests, ProcessorStream}

// EventStream names the stream of an event.
func EventStream(id string) string { return ofEvents + id }

// NotificationStream names the stream of a notification.
func NotificationStream(id string) string { return ofNotifications + id }
