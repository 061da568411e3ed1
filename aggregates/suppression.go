package aggregates

import (
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// Suppression is whether an address may be written to. The zero Suppression is that
// of an address of which nothing has been told: it may.
type Suppression struct {
	ID       string // a keyed digest
	Kind     string
	To       string // masked
	Active   bool
	Reason   string
	Provider string
	Code     string
	Since    Stamp
	Changed  Stamp

	told     time.Time // of the newest news, by the provider's clock
	receipts []string
}

// Evolve applies f, which happened at at.
func (s *Suppression) Evolve(f events.Fact, at Stamp) {
	switch f := f.(type) {
	case events.AddressSuppressed:
		if !s.Active {
			s.Since = at
		}
		s.ID, s.Kind, s.To, s.Active = f.SuppressionID, f.Kind, f.To, true
		s.Reason, s.Provider, s.Code = f.Reason, f.Provider, f.Code
		s.heard(f.Receipt, f.Told)
	case events.AddressReleased:
		s.ID, s.Kind, s.Active = f.SuppressionID, f.Kind, false
		s.Reason, s.Provider, s.Code = "", "", ""
		s.heard(f.Receipt, f.Told)
	default:
		return
	}
	s.Changed = at
}

func (s *Suppression) heard(receipt string, told time.Time) {
	if receipt != "" {
		s.receipts = append(s.receipts, receipt)
	}
	if told.After(s.told) {
		s.told = told
	}
}

// Suppress ends what is sent to the address. What was told before, or is older than
// what is known, changes nothing.
func (s *Suppression) Suppress(f events.AddressSuppressed) ([]events.Fact, error) {
	f.Told = micros(f.Told)
	if s.known(f.Receipt, f.Told) || s.Active && (f.Reason == s.Reason || s.Reason == events.SuppressedByHand) && !f.Told.After(s.told) {
		return nil, nil
	}
	return []events.Fact{f}, nil
}

// Release takes that back. By its owner's word alone, an address that was suppressed
// by hand stays so. News that is newer than any suppression is kept, so that
// an older one that comes later doesn't count.
func (s *Suppression) Release(f events.AddressReleased) ([]events.Fact, error) {
	f.Told = micros(f.Told)
	byOwner := f.Reason == events.ReleasedAsked
	switch {
	case s.known(f.Receipt, f.Told),
		byOwner && s.Active && s.Reason == events.SuppressedByHand,
		!s.Active && !f.Told.After(s.told):
		return nil, nil
	}
	return []events.Fact{f}, nil
}

// known tells whether news was told before, or is older than what is known.
func (s *Suppression) known(receipt string, told time.Time) bool {
	return receipt != "" && slices.Contains(s.receipts, receipt) || !told.IsZero() && told.Before(s.told)
}
