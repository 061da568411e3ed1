package aggregates

import (
	"slices"
	"strings"

	"github.com/belltower/belltower/events"
)

// Register gives a participant a seat, or the last place in the line. The
// number of the key that seals the personal data is left to the caller.
func (e *Event) Register(participantID string, c ContactFields, now Now) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	var wrong faults
	wrong.requiredLine("user_id", c.UserID)
	email, digest := wrong.email(c.Email, now)
	wrong.requiredLine("name", c.Name)
	personal := events.Personal{Name: c.Name, Email: email, PushToken: c.PushToken}
	if c.Phone != "" {
		personal.Phone = wrong.phone(c.Phone, now)
	}
	wrong.line("push_token", c.PushToken, maxPushToken)
	channels := wrong.channels(c.Channels, now)
	if c.TimeZone != "" {
		wrong.zone(c.TimeZone)
	}
	if c.Locale != "" {
		wrong.locale(c.Locale)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	switch {
	case e.Status == Cancelled:
		return nil, ErrEventCancelled
	case !now.Time.Before(e.EndTime):
		return nil, ErrEventEnded
	case e.taken(participantID, c.UserID, digest):
		return nil, ErrDuplicateParticipant
	}
	return []events.Fact{events.ParticipantRegistered{
		EventID: e.ID, ParticipantID: participantID, UserID: c.UserID, Channels: channels,
		TimeZone: c.TimeZone, Locale: c.Locale, EmailDigest: digest, Waitlisted: e.full(), Personal: personal,
	}}, nil
}

// taken tells whether somebody on the event has one of these.
func (e *Event) taken(participantID, userID, digest string) bool {
	_, id := e.named(idName, participantID)
	_, user := e.named(userName, userID)
	_, address := e.named(digestName, digest)
	return id || user || address
}

func (f *faults) email(given string, now Now) (email, digest string) {
	if !f.required("email", given) {
		return "", ""
	}
	email = strings.TrimSpace(given)
	canonical, ok := CanonicalEmail(email)
	if !ok || strings.ContainsAny(given, "\r\n") {
		f.add("email", "invalid_email", "must be one e-mail address, without a name")
		return "", ""
	}
	return email, now.Digest(canonical)
}

func (f *faults) phone(given string, now Now) string {
	e164, ok := CanonicalPhone(given, now.PhoneRegion)
	if !ok {
		f.add("phone", "invalid_phone", "must be a phone number such as +1234567890")
	}
	return e164
}

// find gives the participant as it stands, or why there is none.
func (e *Event) find(participantID string) (*Participant, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	p, ok := e.Participant(participantID)
	if !ok {
		return nil, ErrParticipantNotFound
	}
	return p, nil
}

// ChangeContact changes how a participant is reached, also once the event was cancelled.
func (e *Event) ChangeContact(participantID string, c ContactPatch, now Now) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil {
		return nil, err
	}
	next := events.ParticipantContactChanged{
		EventID: e.ID, ParticipantID: p.ID, UserID: p.UserID, Channels: p.Channels,
		TimeZone: p.TimeZone, Locale: p.Locale, EmailDigest: p.EmailDigest, Personal: p.Contact,
	}
	if err := applyContact(&next, c, now); err != nil {
		return nil, err
	}
	if other, ok := e.named(digestName, next.EmailDigest); ok && int(other) != p.Ordinal {
		return nil, ErrDuplicateParticipant
	}
	if samePersonal(next.Personal, p.Contact) && slices.Equal(next.Channels, p.Channels) &&
		next.TimeZone == p.TimeZone && next.Locale == p.Locale {
		return nil, nil
	}
	return []events.Fact{next}, nil
}

// applyContact changes contact as c says.
func applyContact(contact *events.ParticipantContactChanged, c ContactPatch, now Now) error {
	var wrong faults
	if c.Name.Given && wrong.requiredLine("name", c.Name.Value) {
		contact.Personal.Name = c.Name.Value
	}
	if c.Email.Given {
		contact.Personal.Email, contact.EmailDigest = wrong.email(c.Email.Value, now)
	}
	if c.Phone.Given {
		contact.Personal.Phone = ""
		if c.Phone.Value != "" {
			contact.Personal.Phone = wrong.phone(c.Phone.Value, now)
		}
	}
	if c.PushToken.Given && wrong.line("push_token", c.PushToken.Value, maxPushToken) {
		contact.Personal.PushToken = c.PushToken.Value
	}
	if c.Channels.Given {
		contact.Channels = wrong.channels(c.Channels.Value, now)
	}
	if c.TimeZone.Given {
		if contact.TimeZone = c.TimeZone.Value; c.TimeZone.Value != "" {
			wrong.zone(c.TimeZone.Value)
		}
	}
	if c.Locale.Given {
		if contact.Locale = c.Locale.Value; c.Locale.Value != "" {
			wrong.locale(c.Locale.Value)
		}
	}
	return wrong.err()
}

func samePersonal(a, b events.Personal) bool {
	return a.Name == b.Name && a.Email == b.Email && a.Phone == b.Phone && a.PushToken == b.PushToken
}

// Respond is the participant's answer to the invitation. Declining gives the
// seat to the first of the line; coming back takes a free one or waits.
func (e *Event) Respond(participantID, response string, _ Now) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil {
		return nil, err
	}
	var wrong faults
	switch response {
	case Accepted, Declined, Tentative:
	case "":
		wrong.add("response", "required", "must be given")
	default:
		wrong.add("response", "invalid_response", "must be accepted, declined or tentative")
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if response == p.Response {
		return nil, nil
	}
	f := events.ParticipantResponded{EventID: e.ID, ParticipantID: p.ID, Response: response}
	if response == Declined {
		return append([]events.Fact{f}, e.freed(p)...), nil
	}
	f.Waitlisted = p.Status == Released && e.full()
	return []events.Fact{f}, nil
}

// OptOut ends all messages to a participant about the event, also once it was
// cancelled: who wants none is not asked why.
func (e *Event) OptOut(participantID string) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil || p.OptedOut {
		return nil, err
	}
	return []events.Fact{events.ParticipantOptedOut{EventID: e.ID, ParticipantID: p.ID}}, nil
}

// OptIn takes OptOut back.
func (e *Event) OptIn(participantID string) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil || !p.OptedOut {
		return nil, err
	}
	return []events.Fact{events.ParticipantOptedIn{EventID: e.ID, ParticipantID: p.ID}}, nil
}

// Remove takes a participant off the event and gives the seat to the first of the line.
func (e *Event) Remove(participantID string) ([]events.Fact, error) {
	p, err := e.find(participantID)
	if err != nil {
		return nil, err
	}
	f := events.ParticipantRemoved{EventID: e.ID, ParticipantID: p.ID}
	return append([]events.Fact{f}, e.freed(p)...), nil
}

// freed gives p's seat, if p has one, to the first of the line.
func (e *Event) freed(p *Participant) []events.Fact {
	if p.Status != Confirmed {
		return nil
	}
	return e.promotions(e.Capacity, e.confirmed-1)
}
