package events

import "time"

// AddressSuppressed says that nothing is to be sent to an address any more,
// whoever carries it. Which one it is, only a keyed digest tells.
type AddressSuppressed struct {
	SuppressionID string    `json:"suppression_id"` // the digest, of kind and address
	Kind          string    `json:"kind"`           // as channels.Kind
	To            string    `json:"to"`             // masked
	Reason        string    `json:"reason"`         // one of the Suppressed… reasons
	Provider      string    `json:"provider,omitempty"`
	Code          string    `json:"code,omitempty"`    // the provider's
	Receipt       string    `json:"receipt,omitempty"` // the provider's id of the news
	Told          time.Time `json:"told,omitzero"`     // when it happened, by the provider's clock, where it tells
}

// Why an address is suppressed.
const (
	SuppressedStop      = "stop"      // its owner wants nothing more
	SuppressedComplaint = "complaint" // its owner called a message unwanted
	SuppressedGone      = "gone"      // there is nobody at it
	SuppressedByHand    = "by_hand"
)

// AddressReleased takes AddressSuppressed back.
type AddressReleased struct {
	SuppressionID string    `json:"suppression_id"`
	Kind          string    `json:"kind"`
	Reason        string    `json:"reason"` // one of the Released… reasons
	Provider      string    `json:"provider,omitempty"`
	Receipt       string    `json:"receipt,omitempty"`
	Told          time.Time `json:"told,omitzero"`
}

// Why an address was released.
const (
	ReleasedAsked  = "asked" // by its owner
	ReleasedByHand = "by_hand"
)

func (AddressSuppressed) Name() string { return "AddressSuppressed" }
func (AddressReleased) Name() string   { return "AddressReleased" }
