package httpapi

import (
	"cmp"
	"slices"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/projections"
)

// suppression is whether an address is sent to. It is asked for by the address
// itself, in a body, as what stands in a URL is written into logs on its way.
type suppression struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	To         string     `json:"to"` // masked
	Suppressed bool       `json:"suppressed"`
	Reason     *string    `json:"reason"`
	Provider   *string    `json:"provider"`
	Code       *string    `json:"code"`
	Since      *time.Time `json:"since"`
	Revision   int64      `json:"revision"` // -1: nothing is known of the address
}

// addressed is an address that a request names.
type addressed struct {
	id, kind, to string
}

func (a addressed) resource(s *aggregates.Suppression) suppression {
	shown := suppression{ID: a.id, Kind: a.kind, To: a.to, Suppressed: s.Active, Revision: -1}
	if s.ID != "" {
		shown.Revision = s.Changed.Revision
	}
	if s.To != "" {
		shown.To = s.To // as it was spelt then
	}
	if s.Active {
		shown.Reason, shown.Provider, shown.Code, shown.Since = textOrNil(s.Reason), textOrNil(s.Provider), textOrNil(s.Code), timeOrNil(s.Since.At)
	}
	return shown
}

func (a addressed) see(s *aggregates.Suppression, _ time.Time) *answer { return ok(a.resource(s)) }

// readAddress reads kind and address. What is wrong with them goes into b.
func (s *server) readAddress(b *body) (a addressed, err error) {
	a.kind = plain(b, "kind", asText)
	address := plain(b, "address", asText)
	if err := b.end(); err != nil {
		return a, err
	}
	var wrong []aggregates.Fault
	if slices.Contains(addressKinds, a.kind) {
		id, ok := s.o.Commands.SuppressionID(aggregates.AddressKind(a.kind), address)
		if !ok {
			wrong = append(wrong, fault("address", "invalid_address", "must be an address of this kind"))
		}
		a.id, a.to = id, channels.Mask(channels.Kind(a.kind), address)
	} else {
		wrong = append(wrong, fault("kind", "unknown_kind", "must be email, phone, push_token or endpoint"))
	}
	if len(wrong) > 0 {
		return a, &aggregates.Invalid{Faults: wrong}
	}
	return a, nil
}

// postSuppressionLookup tells whether an address is sent to, as of now.
func (s *server) postSuppressionLookup(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	a, err := s.readAddress(b)
	if err != nil {
		return nil, err
	}
	shown, err := commands.View(c.Context(), s.o.Commands, commands.SuppressionStream(a.id), func(p *aggregates.Suppression, _ int64) suppression {
		return a.resource(p)
	})
	if err != nil {
		return nil, err
	}
	return ok(shown), nil
}

// postSuppression ends what is sent to an address, by hand.
func (s *server) postSuppression(c *call) (*answer, error) {
	a, by, err := s.onAddress(c)
	if err != nil {
		return nil, err
	}
	return do(s, c, commands.SuppressAddress{Fact: events.AddressSuppressed{
		SuppressionID: a.id, Kind: a.kind, To: a.to, Reason: events.SuppressedByHand,
	}}, by, a.see)
}

// postSuppressionRelease takes that back, whoever did it.
func (s *server) postSuppressionRelease(c *call) (*answer, error) {
	a, by, err := s.onAddress(c)
	if err != nil {
		return nil, err
	}
	return do(s, c, commands.ReleaseAddress{Fact: events.AddressReleased{
		SuppressionID: a.id, Kind: a.kind, Reason: events.ReleasedByHand,
	}}, by, a.see)
}

// onAddress reads a request to change what is sent to an address. A key belongs to
// its caller and route, whichever address is asked for: that is noted before the
// address's stream decides, where a request which repeats another is looked for too.
func (s *server) onAddress(c *call) (a addressed, by commands.Caller, err error) {
	b, err := c.body()
	if err != nil {
		return a, by, err
	}
	a, wrong := s.readAddress(b)
	if by, err = c.keyed(b); err != nil || by.Key == nil {
		return a, by, cmp.Or(err, wrong)
	}
	note := commands.NoteRequest{ID: s.o.Commands.NewID(by, "request")}
	_, err = do(s, c, unless(wrong, note), by, func(*commands.Noted, time.Time) *answer { return &answer{} })
	return a, by, err
}

// The values that a list of suppressed addresses is narrowed by.
var (
	addressKinds       = []string{string(channels.Email), string(channels.Phone), string(channels.Push), string(channels.Endpoint)}
	suppressionReasons = []string{events.SuppressedStop, events.SuppressedComplaint, events.SuppressedGone, events.SuppressedByHand}
)

// getSuppressions lists the addresses that nothing is sent to. None of them is shown
// in clear, to nobody: they are kept as digests.
func (s *server) getSuppressions(c *call) (*answer, error) {
	q := c.query()
	f := projections.SuppressionFilter{Kind: q.oneOf("kind", addressKinds...), Reason: q.oneOf("reason", suppressionReasons...), Provider: q.filter("provider")}
	page := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	l, err := s.o.Models.Suppressions(c.Context(), f, page)
	if err != nil {
		return nil, err
	}
	return listed(l.Items, l.NextCursor), nil
}
