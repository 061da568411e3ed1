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

// reaches names the channel that sends to an address of a kind. Others, such as
// slack and webhook, need an address to know who is meant, and send elsewhere: what
// becomes of their messages says nothing of the address, nor does its owner's wish
// concern them.
var reaches = map[channels.Kind]string{channels.Email: "email", channels.Phone: "sms", channels.Push: "push"}

// maySend looks whether an address is suppressed, at the end of its stream.
func (s *sender) maySend(ctx context.Context, c *carrier, to string) error {
	if reaches[c.Kind] != c.Name {
		return nil
	}
	reason, err := s.commands.Suppressed(ctx, aggregates.AddressKind(c.Kind), to)
	if err == nil && reason != "" {
		err = fmt.Errorf("%w: %s", errSuppressed, reason)
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
	id, ok := s.commands.SuppressionID(aggregates.AddressKind(c.Kind), to)
	if reason == "" || !ok || reaches[c.Kind] != c.Name {
		return
	}
	_, err := commands.Do(ctx, s.commands, commands.SuppressAddress{Fact: events.AddressSuppressed{
		SuppressionID: id, Kind: string(c.Kind), To: channels.Mask(c.Kind, to), Reason: reason, Provider: c.Provider, Code: r.Code,
	}}, system(n.ID), nothing[*aggregates.Suppression])
	if err != nil {
		s.logger.Warn("that an address is not to be sent to could not be recorded", "notification", n.ID, "error", err)
	}
}
