package aggregates

import (
	"iter"
	"slices"
	"sort"

	"github.com/belltower/belltower/events"
)

// MaxPromotions is how many are promoted in one write; PromoteWaiting does the rest.
const MaxPromotions = 200

// roster is who is on the event, who has a seat and who waits for one.
type roster struct {
	byID      map[string]*Participant
	byUser    map[string]*Participant
	byDigest  map[string]*Participant
	inOrder   []*Participant // by ordinal; nil where one was removed
	confirmed int
	line      []*Participant // by Participant.Line
	// advanced is when the first of the line last left it. Everybody who was
	// behind moved up then: see shown.
	advanced Stamp
}

// Participant finds one by id. What it points to must not be changed, and is
// as of now: after the next fact, ask again.
func (r *roster) Participant(id string) (*Participant, bool) {
	p, ok := r.byID[id]
	return r.shown(p), ok
}

// Participants are all who are on the event, in order of registration.
func (r *roster) Participants() iter.Seq[*Participant] {
	return func(yield func(*Participant) bool) {
		for _, p := range r.inOrder {
			if p != nil && !yield(r.shown(p)) {
				return
			}
		}
	}
}

// shown is p with the stamp of the last advance of the line, which is not
// written to all who wait, as there may be 100,000 of them.
func (r *roster) shown(p *Participant) *Participant {
	if p == nil || p.Status != Waitlisted || p.Changed.Revision >= r.advanced.Revision {
		return p
	}
	moved := *p
	moved.Changed = r.advanced
	return &moved
}

// ParticipantCount is how many are on the event, whatever their status.
func (r *roster) ParticipantCount() int { return len(r.byID) }

// ConfirmedCount is how many have a seat.
func (r *roster) ConfirmedCount() int { return r.confirmed }

// WaitingCount is how long the line is.
func (r *roster) WaitingCount() int { return len(r.line) }

// Place is p's place in the line, from 1; 0 when p is not in it.
func (r *roster) Place(p *Participant) int {
	if p == nil || p.Status != Waitlisted {
		return 0
	}
	if i, found := r.place(p); found {
		return i + 1
	}
	return 0
}

func (r *roster) place(p *Participant) (int, bool) {
	i := sort.Search(len(r.line), func(i int) bool { return r.line[i].Line >= p.Line })
	return i, i < len(r.line) && r.line[i].ID == p.ID
}

// full tells whether the next to come has to wait.
func (e *Event) full() bool {
	return e.Capacity > 0 && (e.confirmed >= e.Capacity || len(e.line) > 0)
}

// promotions gives the seats that are free, when so many of capacity are
// confirmed, to the first of the line.
func (e *Event) promotions(capacity, confirmed int) []events.Fact {
	n := min(len(e.line), MaxPromotions)
	if capacity > 0 {
		n = min(n, max(capacity-confirmed, 0))
	}
	var facts []events.Fact
	for _, p := range e.line[:n] {
		facts = append(facts, events.ParticipantPromoted{EventID: e.ID, ParticipantID: p.ID})
	}
	return facts
}

// PromoteWaiting gives free seats to the first of the line, MaxPromotions at a
// time. It is asked until nothing is left to do.
func (e *Event) PromoteWaiting() ([]events.Fact, error) {
	if !e.Exists() {
		return nil, nil
	}
	return e.promotions(e.Capacity, e.confirmed), nil
}

func (r *roster) registered(f events.ParticipantRegistered, at Stamp) {
	if r.byID == nil {
		r.byID, r.byUser, r.byDigest = map[string]*Participant{}, map[string]*Participant{}, map[string]*Participant{}
	}
	p := &Participant{
		ID: f.ParticipantID, EventID: f.EventID, UserID: f.UserID, Response: NeedsAction,
		Ordinal: len(r.inOrder), Registered: at, Changed: at, Own: at,
	}
	p.contact(f.Personal, f.Channels, f.TimeZone, f.Locale, f.EmailDigest, at)
	r.byID[p.ID], r.byUser[p.UserID] = p, p
	if p.EmailDigest != "" {
		r.byDigest[p.EmailDigest] = p
	}
	r.inOrder = append(r.inOrder, p)
	r.admit(p, f.Waitlisted, at)
}

func (r *roster) contactChanged(f events.ParticipantContactChanged, at Stamp) {
	p, ok := r.byID[f.ParticipantID]
	if !ok {
		return
	}
	if p.EmailDigest != f.EmailDigest {
		if r.byDigest[p.EmailDigest] == p {
			delete(r.byDigest, p.EmailDigest)
		}
		if f.EmailDigest != "" {
			r.byDigest[f.EmailDigest] = p
		}
	}
	p.contact(f.Personal, f.Channels, f.TimeZone, f.Locale, f.EmailDigest, at)
	p.Changed, p.Own = at, at
}

func (r *roster) responded(f events.ParticipantResponded, at Stamp) {
	p, ok := r.byID[f.ParticipantID]
	if !ok {
		return
	}
	p.Response = f.Response
	if f.Response == Declined {
		p.LastDeclined = at
		r.release(p, at)
	} else if p.Status == Released {
		p.Returned = at
		r.admit(p, f.Waitlisted, at)
	}
	p.Changed, p.Own = at, at
}

func (r *roster) promoted(id string, at Stamp) {
	p, ok := r.byID[id]
	if !ok || p.Status != Waitlisted {
		return
	}
	r.release(p, at)
	r.admit(p, false, at)
	p.Changed, p.Own = at, at
}

func (r *roster) removed(id string, at Stamp) {
	p, ok := r.byID[id]
	if !ok {
		return
	}
	r.release(p, at)
	r.inOrder[p.Ordinal] = nil
	delete(r.byID, id)
	if r.byUser[p.UserID] == p {
		delete(r.byUser, p.UserID)
	}
	if r.byDigest[p.EmailDigest] == p {
		delete(r.byDigest, p.EmailDigest)
	}
}

// admit gives p a seat or the last place in the line.
func (r *roster) admit(p *Participant, waitlisted bool, at Stamp) {
	if waitlisted {
		p.Status, p.Line = Waitlisted, at.Revision
		r.line = append(r.line, p)
		return
	}
	p.Status, p.Entitled = Confirmed, at
	r.confirmed++
}

// release takes p's seat or place in the line.
func (r *roster) release(p *Participant, at Stamp) {
	switch p.Status {
	case Confirmed:
		r.confirmed--
	case Waitlisted:
		r.leaveLine(p, at)
	}
	p.Status, p.Entitled, p.Line = Released, Stamp{}, 0
}

func (r *roster) leaveLine(p *Participant, at Stamp) {
	i, found := r.place(p)
	switch {
	case !found:
	case i == 0:
		r.line[0] = nil
		r.line = r.line[1:]
		r.advanced = at
	default:
		for _, behind := range r.line[i+1:] {
			behind.Changed = at
		}
		r.line = slices.Delete(r.line, i, i+1)
	}
}
