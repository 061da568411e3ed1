package aggregates

import (
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// Participant statuses and responses.
const (
	Confirmed  = "confirmed"
	Waitlisted = "waitlisted"
	Released   = "released" // declined: holds no seat and no place in the line

	NeedsAction = "needs_action"
	Accepted    = "accepted"
	Declined    = "declined"
	Tentative   = "tentative"
)

// Participant is somebody on an event.
type Participant struct {
	ID          string
	EventID     string
	UserID      string
	Contact     events.Personal // Name, Email, Phone, PushToken; empty once erased
	Channels    []string        // in the order they were given; empty: e-mail
	TimeZone    string
	Locale      string
	EmailDigest string
	Response    string
	Status      string
	OptedOut    bool  // wants no messages about the event
	Ordinal     int   // order of registration, never reused
	Line        int64 // while waitlisted: revision of the fact that put it in the line

	Registered   Stamp
	Changed      Stamp // last fact that changes anything the participant shows, its place in the line too
	Own          Stamp // last fact about the participant's own fields
	Entitled     Stamp // when it last became confirmed and not declined: reminders due before are due then
	Answered     Stamp // when it last said whether it comes; zero if never
	LastDeclined Stamp // zero if never
	Returned     Stamp // when it last took a declining back; zero if never
	LastOptedOut Stamp // zero if never
	OptedIn      Stamp // when it last took an opting out back; zero if never

	// When each address came, and each channel of the participant's own choice.
	emailSince, phoneSince, pushSince time.Time
	chosen                            []time.Time

	contacted int64 // revision of the fact that Contact stands in
	unread    bool  // restored from a snapshot, and Contact not yet read from there
}

// channels is p's own choice: those given, or e-mail.
func (p *Participant) channels() []string {
	if len(p.Channels) == 0 {
		return defaultChannels
	}
	return p.Channels
}

var defaultChannels = []string{"email"}

// contact sets all that says how p is reached, and notes what is new of it.
func (p *Participant) contact(c events.Personal, channels []string, zone, locale, digest string, at Stamp) {
	since(&p.emailSince, c.Email, at)
	since(&p.phoneSince, c.Phone, at)
	since(&p.pushSince, c.PushToken, at)
	p.contacted, p.unread = at.Revision, false
	before, chosen := p.channels(), p.chosen
	p.Contact, p.Channels, p.TimeZone, p.Locale, p.EmailDigest = c, channels, zone, locale, digest
	p.chosen = make([]time.Time, len(p.channels()))
	for i, channel := range p.channels() {
		p.chosen[i] = at.At
		if was := slices.Index(before, channel); was >= 0 && was < len(chosen) {
			p.chosen[i] = chosen[was]
		}
	}
}

// since keeps when an address came: not when it was exchanged for another.
func since(t *time.Time, address string, at Stamp) {
	if address == "" {
		*t = time.Time{}
	} else if t.IsZero() {
		*t = at.At
	}
}

// ReachableSince is when the participant last came to have an address of this
// kind; not ok where there is none.
func (p *Participant) ReachableSince(kind AddressKind) (at time.Time, ok bool) {
	switch kind {
	case EmailAddress:
		at = p.emailSince
	case PhoneNumber:
		at = p.phoneSince
	case PushToken:
		at = p.pushSince
	}
	return at, !at.IsZero()
}

// ChosenSince is when the participant's own choice of channels last came to
// include channel; zero where it doesn't.
func (p *Participant) ChosenSince(channel string) time.Time {
	if i := slices.Index(p.channels(), channel); i >= 0 {
		return p.chosen[i]
	}
	return time.Time{}
}
