// Package channels is the port to the providers that carry messages. A channel
// makes one attempt to send one message to one recipient and says what the
// scheduler may do next; it never tries again by itself. Adapters are
// subpackages, and package channeltest states what each of them must do.
package channels

import (
	"context"
	"time"
)

// Outcome is what the scheduler may do next; nothing else in an answer steers it.
type Outcome uint8

// The zero Outcome is Unknown, so that a forgotten branch neither doubles a
// message nor loses it in silence.
const (
	Unknown  Outcome = iota // it may have been taken: settle it, never resend it blindly
	Accepted                // the provider took it
	Later                   // certainly not taken, or a repeat does no harm as its receiver knows the id; not before Result.NotBefore
	Rejected                // this message never; the address is fine
	Gone                    // this address never again
	OptedOut                // the person said stop
	Broken                  // our credentials or set-up: pause the channel, keep the queue
)

// String is how metrics and logs name an outcome.
func (o Outcome) String() string {
	names := [...]string{"unknown", "accepted", "later", "rejected", "gone", "opted_out", "broken"}
	if int(o) >= len(names) {
		return names[Unknown]
	}
	return names[o]
}

// Kind says which address of a person a channel needs.
type Kind string

// The kinds of address.
const (
	Email Kind = "email"
	Phone Kind = "phone"
	Push  Kind = "push_token"
	// Endpoint is that of a Destined channel; no person has one.
	Endpoint Kind = "endpoint"
)

// Message is one message to one recipient.
type Message struct {
	ID      string // the notification's id: the same on every attempt; becomes Message-ID, webhook-id, Topic
	Channel string
	Attempt int // counts from 1
	To      string
	Name    string    // of the recipient, as text; may be empty
	Subject string    // plain text on one line
	Text    string    // as rendered; a channel only encodes it
	Due     time.Time // when it fell due; the same on every attempt
	Expires time.Time // past this, sending is wrong
	Event   Event     // what it is about
	// OptOut is the link by which the recipient ends such messages; a secret, as
	// it needs no token. Empty: there is none.
	OptOut string
}

// Event is what a message is about, for channels that can hand it over as more
// than text. Its texts are as somebody typed them.
type Event struct {
	UID         string // the same in every message about the event
	Sequence    int64  // grows with each change of what is here
	Changed     time.Time
	Title       string
	Description string
	Location    string
	Start, End  time.Time
	Zone        *time.Location // that the recipient reads times in; nil: UTC
	Cancelled   bool
}

// Scope is for which messages an answer holds, besides the one that was sent.
type Scope uint8

// The scopes.
const (
	ThisMessage  Scope = iota
	SameEndpoint       // all to the same endpoint; all of the channel where it has none (see Endpointed)
	SameProvider       // all that the provider carries, on whatever channel
)

// Result is a provider's answer, classified.
type Result struct {
	Outcome   Outcome
	NotBefore time.Time // with Later: not before; zero where the provider does not say
	Scope     Scope     // with Later and NotBefore: who is to wait
	Ref       string    // the provider's id of the message
	Code      string    // the provider's code
	Detail    string    // for people: no secret and no personal data in it
}

// Channel sends messages of one kind through one provider. Its methods may be
// called concurrently.
type Channel interface {
	// Check refuses a message that the provider can't take (address, size,
	// encoding), before anything is sent. It is pure.
	Check(Message) error
	// Send makes one attempt: no retry, no panic, back soon after ctx ends. A
	// message past its Expires is Rejected without a call.
	Send(ctx context.Context, m Message) Result
}

// Finder is a channel whose provider can be asked whether it took a message. It
// is found by a type assertion.
type Finder interface {
	// Find settles an Unknown of an attempt at m that began at a time of our clock:
	// Accepted, with its Ref, where the provider has the message; Later where it
	// certainly hasn't; Unknown where that can't be told, or not before NotBefore.
	// It sends nothing.
	Find(ctx context.Context, m Message, began time.Time) Result
}

// NotThere is what a Finder says whose provider was asked and shows no such message:
// notYet, with when to ask again, before settled, from when on the provider would
// show it; then that it certainly hasn't it, with detail.
func NotThere(asked, settled time.Time, notYet Result, detail string) Result {
	if asked.Before(settled) {
		notYet.NotBefore = settled
		return notYet
	}
	return Result{Outcome: Later, Code: "not_taken", Detail: detail}
}

// Endpointed is a channel whose messages go to servers that recipients name, so
// that one of those may fail while the others work. It is found by a type assertion.
type Endpointed interface {
	// Endpoint names the server that an address is at, which is shown to operators;
	// empty: it can't be told. It is pure.
	Endpoint(to string) string
}

// Destined is a channel all of whose messages go to one place, whoever they are for.
// What its provider says with Gone is about that place. It is found by a type assertion.
type Destined interface {
	// Destination is that place, a secret where whoever knows it may post there; it
	// never changes.
	Destination() string
}

// Registration is all that Belltower needs to know of a channel and who carries
// it. Several of one Name and Kind are several providers of one channel, in order
// of preference; PerSecond and RecipientEvery are then those of the first.
type Registration struct {
	Name string // as callers name it: "email", "sms", "push", …
	Kind Kind   // the address it needs
	// Elsewhere says that messages don't go to the recipient's address, which only
	// tells who is meant: what becomes of them says nothing of it, nor does its
	// owner's wish concern them.
	Elsewhere bool
	Provider  string // who carries it, as shown to operators: "console", …
	Channel   Channel
	// Timeout bounds one attempt. Zero is 15 s.
	Timeout time.Duration
	// Workers bounds the sends claimed and not concluded at once. Zero is 128.
	Workers int
	// PerSecond bounds the sends a second. Zero is no bound.
	PerSecond float64
	// ProviderPerSecond bounds what all channels together send a second through
	// registrations of the same Provider. Zero is no bound.
	ProviderPerSecond float64
	// RecipientEvery is how long one address is left alone after a message to it.
	// Zero is not at all.
	RecipientEvery time.Duration
	// Backoff is how long to wait after the first attempt that failed, the second and
	// so on; once it is used up, no other is made. Nil is the scheduler's own.
	Backoff []time.Duration
	// HoldUnknown keeps a message whose outcome is unknown as FAILED
	// (outcome_unknown) for a decision by hand, in place of sending it again.
	HoldUnknown bool
}
