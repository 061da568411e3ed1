package aggregates

import (
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// Announcement is one message to the audience that the roster had when it was made.
type Announcement struct {
	ID       string
	Message  string
	SendAt   time.Time
	Channels []string // sorted set; empty: each participant's own
	Audience events.Audience
	Made     Stamp
	Size     int    // participants in the audience
	members  bitset // ordinals of those participants
}

// Includes tells whether p was in the audience when the announcement was made.
func (a *Announcement) Includes(p *Participant) bool { return a.members.has(p.Ordinal) }

// Announcement finds one by id.
func (e *Event) Announcement(id string) (*Announcement, bool) {
	for _, a := range e.Announcements {
		if a.ID == id {
			return a, true
		}
	}
	return nil, false
}

func (e *Event) announcementMade(f events.AnnouncementMade, at Stamp) {
	a := &Announcement{
		ID: f.AnnouncementID, Message: f.Message, SendAt: f.SendAt, Channels: f.Channels,
		Audience: f.Audience, Made: at,
	}
	for n := range e.inOrder {
		if p := e.at(int32(n)); p != nil && reaches(f.Audience, p) {
			a.members.add(p.Ordinal)
			a.Size++
		}
	}
	e.Announcements = append(e.Announcements, a)
}

// reaches tells whether p is in the audience as p is now.
func reaches(a events.Audience, p *Participant) bool {
	if p.OptedOut {
		return false
	}
	if len(a.Status) == 0 && len(a.Response) == 0 {
		return p.Response != Declined
	}
	return (len(a.Status) == 0 || slices.Contains(a.Status, p.Status)) &&
		(len(a.Response) == 0 || slices.Contains(a.Response, p.Response))
}

// Announce makes a message to the roster as it is now, also once the event was cancelled.
func (e *Event) Announce(id string, a AnnouncementFields, now Now) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	f := events.AnnouncementMade{EventID: e.ID, AnnouncementID: id, Message: a.Message, SendAt: micros(now.Time)}
	var wrong faults
	wrong.template("message", AnnouncementTemplate, a.Message)
	if a.SendAt != nil && wrong.year("send_at", *a.SendAt) {
		if f.SendAt = micros(*a.SendAt); f.SendAt.Before(micros(now.Time)) {
			wrong.add("send_at", "in_past", "must not be in the past")
		}
	}
	f.Channels = set(wrong.channels(a.Channels, now))
	f.Audience.Status = wrong.oneOf("audience.status", a.Audience.Status, Confirmed, Waitlisted, Released)
	f.Audience.Response = wrong.oneOf("audience.response", a.Audience.Response, NeedsAction, Accepted, Declined, Tentative)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return []events.Fact{f}, nil
}

// bitset holds small numbers.
type bitset []uint64

func (b *bitset) add(n int) {
	for len(*b) <= n/64 {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitset) has(n int) bool { return n/64 < len(b) && b[n/64]&(1<<(n%64)) != 0 }
