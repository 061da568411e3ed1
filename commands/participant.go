package commands

import (
	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// RegisterParticipant asks for a place on an event.
type RegisterParticipant struct {
	EventID       string
	ParticipantID string
	Contact       aggregates.ContactFields
}

// ChangeContact changes how a participant is reached.
type ChangeContact struct {
	EventID       string
	ParticipantID string
	Patch         aggregates.ContactPatch
}

// Respond answers the invitation for a participant.
type Respond struct{ EventID, ParticipantID, Response string }

// RemoveParticipant takes a participant off an event.
type RemoveParticipant struct{ EventID, ParticipantID string }

// OptOut ends all messages to a participant about an event.
type OptOut struct{ EventID, ParticipantID string }

// OptIn takes OptOut back.
type OptIn struct{ EventID, ParticipantID string }

// SubscribePush has pushes to a participant go to Token.
type SubscribePush struct{ EventID, ParticipantID, Token string }

// UnsubscribePush takes SubscribePush back.
type UnsubscribePush struct{ EventID, ParticipantID string }

func (c RegisterParticipant) Stream() string { return EventStream(c.EventID) }
func (c ChangeContact) Stream() string       { return EventStream(c.EventID) }
func (c Respond) Stream() string             { return EventStream(c.EventID) }
func (c RemoveParticipant) Stream() string   { return EventStream(c.EventID) }
func (c OptOut) Stream() string              { return EventStream(c.EventID) }
func (c OptIn) Stream() string               { return EventStream(c.EventID) }
func (c SubscribePush) Stream() string       { return EventStream(c.EventID) }
func (c UnsubscribePush) Stream() string     { return EventStream(c.EventID) }

func (c RegisterParticipant) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Register(c.ParticipantID, c.Contact, now)
}

func (c ChangeContact) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.ChangeContact(c.ParticipantID, c.Patch, now)
}

func (c Respond) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.Respond(c.ParticipantID, c.Response, now)
}

func (c RemoveParticipant) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.Remove(c.ParticipantID)
}

func (c OptOut) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.OptOut(c.ParticipantID)
}

func (c OptIn) Decide(e *aggregates.Event, _ aggregates.Now) ([]events.Fact, error) {
	return e.OptIn(c.ParticipantID)
}

func (c SubscribePush) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.SubscribePush(c.ParticipantID, c.Token, now)
}

func (c UnsubscribePush) Decide(e *aggregates.Event, now aggregates.Now) ([]events.Fact, error) {
	return e.UnsubscribePush(c.ParticipantID, now)
}

func (c ChangeContact) OwnRevision(e *aggregates.Event) (int64, bool) {
	return ownOf(e, c.ParticipantID)
}

func (c Respond) OwnRevision(e *aggregates.Event) (int64, bool) {
	return ownOf(e, c.ParticipantID)
}

func (c RemoveParticipant) OwnRevision(e *aggregates.Event) (int64, bool) {
	return ownOf(e, c.ParticipantID)
}

func ownOf(e *aggregates.Event, participantID string) (int64, bool) {
	p, ok := e.Participant(participantID)
	if !ok {
		return 0, false
	}
	return p.Own.Revision, true
}
