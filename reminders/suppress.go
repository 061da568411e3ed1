package reminders

import (
	"context"
	"errors"
	"fmt"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

var errSuppressed = errors.New("nothing is sent to this address")

// address is what a carrier's provider speaks of: where all its messages go, or the
// recipient's address. ok is false where it is told nothing of an address.
func (c *carrier) address(to string) (kind aggregates.AddressKind, address string, ok bool) {
	if d, is := c.Channel.(channels.Destined); is {
		return aggregates.Endpoint, d.Destination(), true
	}
	return aggregates.AddressKind(c.Kind), to, !c.Elsewhere
}

// maySend looks whether an address is suppressed, at the end of its stream.
func (s *sender) maySend(ctx context.Context, c *carrier, to string) error {
	kind, address, ok := c.address(to)
	if !ok {
		return nil
	}
	known, err := s.commands.Suppression(ctx, kind, address)
	if err == nil && known.Active {
		err = fmt.Errorf("%w: %s", errSuppressed, known.Reason)
	}
	return err
}

// suppress keeps what a provider's answer says of an address, for the messages to
// come. They would be answered likewise, so that nothing is lost where it can't be kept.
func (s *sender) suppress(ctx context.Context, c *carrier, n aggregates.Notification, to string, r channels.Result) {
	reason := ""
	switch r.Outcome {
	case channels.Gone:
		reason = events.SuppressedGone
	case channels.OptedOut:
		reason = events.SuppressedStop
	}
	kind, address, ok := c.address(to)
	if reason == "" || !ok {
		return
	}
	id, ok := s.commands.SuppressionID(kind, address)
	if !ok {
		return
	}
	_, err := commands.Do(ctx, s.commands, commands.SuppressAddress{Fact: events.AddressSuppressed{
		SuppressionID: id, Kind: string(kind), To: channels.Mask(channels.Kind(kind), address), Reason: reason, Provider: c.Provider, Code: r.Code,
	}}, system(n.ID), nothing[*aggregates.Suppression])
	if err != nil {
		s.logger.Warn("that an address is not to be sent to could not be recorded", "notification", n.ID, "error", err)
	}
}
