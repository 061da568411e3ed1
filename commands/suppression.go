package commands

import (
	"context"
	"fmt"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// SuppressAddress ends what is sent to an address, which its fact names by SuppressionID.
type SuppressAddress struct{ Fact events.AddressSuppressed }

// ReleaseAddress takes that back.
type ReleaseAddress struct{ Fact events.AddressReleased }

// SuppressionStream names the stream of an address, by its SuppressionID.
func SuppressionStream(id string) string { return ofSuppressions + id }

func (c SuppressAddress) Stream() string { return SuppressionStream(c.Fact.SuppressionID) }
func (c ReleaseAddress) Stream() string  { return SuppressionStream(c.Fact.SuppressionID) }

// NoteRequest keeps for what a keyed request is, before it is decided: where its
// body says which stream decides, only the key itself can tell that it was used with
// another body. ID is derived from the key (Handler.NewID).
type NoteRequest struct{ ID string }

func (c NoteRequest) Stream() string { return ofRequests + c.ID }

func (NoteRequest) Decide(*Noted, aggregates.Now) ([]events.Fact, error) { return nil, nil }

// Noted is the state of a stream that has nothing but a NoteRequest.
type Noted struct{}

// Evolve has nothing to keep: requests are kept by their keys.
func (*Noted) Evolve(events.Fact, aggregates.Stamp) {}

func (c SuppressAddress) Decide(s *aggregates.Suppression, _ aggregates.Now) ([]events.Fact, error) {
	return s.Suppress(c.Fact)
}

func (c ReleaseAddress) Decide(s *aggregates.Suppression, _ aggregates.Now) ([]events.Fact, error) {
	return s.Release(c.Fact)
}

// SuppressionID is a keyed digest of an address, the same however it is spelt; ok is
// false where it is no address of its kind.
func (h *Handler) SuppressionID(kind aggregates.AddressKind, address string) (id string, ok bool) {
	switch kind {
	case aggregates.EmailAddress:
		address, ok = aggregates.CanonicalEmail(address)
	case aggregates.PhoneNumber:
		address, ok = aggregates.CanonicalPhone(address, h.o.PhoneRegion)
	case aggregates.PushToken, aggregates.Endpoint:
		ok = address != ""
	}
	if !ok {
		return "", false
	}
	return shortDigest(h.o.Keys, "suppressed-address", fmt.Appendf(nil, "%s %s", kind, address)), true
}

// Suppression tells what is known of an address, as of now. Most addresses have no
// stream, which the store knows without reading.
func (h *Handler) Suppression(ctx context.Context, kind aggregates.AddressKind, address string) (aggregates.Suppression, error) {
	id, ok := h.SuppressionID(kind, address)
	if !ok {
		return aggregates.Suppression{}, nil
	}
	if _, ok, err := h.o.Store.ReadLast(ctx, SuppressionStream(id)); err != nil {
		return aggregates.Suppression{}, fmt.Errorf("look whether the address is suppressed: %w", err)
	} else if !ok {
		return aggregates.Suppression{}, nil
	}
	return View(ctx, h, SuppressionStream(id), func(s *aggregates.Suppression, _ int64) aggregates.Suppression { return *s })
}
