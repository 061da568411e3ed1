package aggregates

import (
	"slices"

	"github.com/belltower/belltower/events"
)

// pushChannel is what a participant who subscribes to pushes wants to hear by.
const pushChannel = "push"

// SubscribePush has pushes to a participant go to token, and the channel for them
// join those that the participant is reached by.
func (e *Event) SubscribePush(participantID, token string, now Now) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil {
		return nil, err
	}
	channels := p.channels()
	if !slices.Contains(channels, pushChannel) {
		channels = append(slices.Clone(channels), pushChannel)
	}
	return e.ChangeContact(participantID, ContactPatch{
		PushToken: Patch[string]{Given: true, Value: token}, Channels: Patch[[]string]{Given: true, Value: channels},
	}, now)
}

// UnsubscribePush takes SubscribePush back. Who was reached by pushes alone is
// reached by e-mail then.
func (e *Event) UnsubscribePush(participantID string, now Now) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil {
		return nil, err
	}
	channels := slices.DeleteFunc(slices.Clone(p.Channels), func(name string) bool { return name == pushChannel })
	return e.ChangeContact(participantID, ContactPatch{
		PushToken: Patch[string]{Given: true}, Channels: Patch[[]string]{Given: true, Value: channels},
	}, now)
}
