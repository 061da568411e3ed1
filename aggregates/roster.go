package aggregates

import (
	"iter"
	"slices"
	"sort"

	"github.com/belltower/belltower/events"
)

// MaxPromotions is how many are promoted in one write; PromoteWaiting does the rest.
const MaxPromotions = 200

// roster is who is on the event, who has a seat and who waits for one. A
// participant who changes is put there anew: what inOrder points to never
// changes, so that whoever copies the pointers has all as it was.
type roster struct {
	byID      map[string]int32 // ordinals
	byUser    map[string]int32
	byDigest  map[string]int32
	inOrder   []*Participant // by ordinal; nil where one was removed, or is in an unread part
	unread    *unread        // nil: all parts are read
	there     int            // participants, in unread parts too
	confirmed int
	line      []int32 // ordinals, by Participant.Line
	advances  advances

	contacts Contacts // of those who were restored without theirs
	failed   error    // of contacts, or of a part that was read
}

// Participant finds one by id. What it points to must not be changed, and is
// as of now: after the next fact, ask again.
func (r *roster) Participant(id string) (*Participant, bool) {
	n, ok := r.named(idName, id)
	if !ok {
		return nil, false
	}
	return r.shown(r.opened(n)), true
}

// Participants are all who are on the event, in order of registration.
func (r *roster) Participants() iter.Seq[*Participant] { return r.ParticipantsFrom(0) }

// ParticipantsFrom are those of that ordinal and later, in order of registration.
func (r *roster) ParticipantsFrom(ordinal int) iter.Seq[*Participant] {
	return func(yield func(*Participant) bool) {
		for n := ordinal; n < len(r.inOrder); n++ {
			if r.at(int32(n)) != nil && !yield(r.shown(r.opened(int32(n)))) {
				return
			}
		}
	}
}

// Line are those who wait behind a place, the first of the line first.
func (r *roster) Line(behind int64) iter.Seq[*Participant] {
	return func(yield func(*Participant) bool) {
		from := sort.Search(len(r.line), func(i int) bool { return r.at(r.line[i]).Line > behind })
		for _, n := range r.line[from:] {
			if !yield(r.shown(r.opened(n))) {
				return
			}
		}
	}
}

// shown is p with the stamp of the last advance of the line, which is not
// written to all who wait, as there may be 100,000 of them.
func (r *roster) shown(p *Participant) *Participant {
	if p.Status != Waitlisted {
		return p
	}
	at, ok := r.advances.of(p)
	if !ok || p.Changed.Revision >= at.Revision {
		return p
	}
	moved := *p
	moved.Changed = at
	return &moved
}

// ParticipantCount is how many are on the event, whatever their status.
func (r *roster) ParticipantCount() int { return r.there }

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
	i := sort.Search(len(r.line), func(i int) bool { return r.at(r.line[i]).Line >= p.Line })
	return i, i < len(r.line) && int(r.line[i]) == p.Ordinal
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
	for _, ordinal := range e.line[:n] {
		facts = append(facts, events.ParticipantPromoted{EventID: e.ID, ParticipantID: e.at(ordinal).ID})
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

// change puts a participant there anew, changed at at, and gives what of it may be written to.
func (r *roster) change(id string, at Stamp) (p *Participant, ok bool) {
	n, ok := r.named(idName, id)
	if !ok {
		return nil, false
	}
	changed := *r.inOrder[n]
	changed.Changed, changed.Own = at, at
	r.inOrder[n] = &changed
	return &changed, true
}

func (r *roster) registered(f events.ParticipantRegistered, at Stamp) {
	if r.byID == nil {
		r.byID, r.byUser, r.byDigest = map[string]int32{}, map[string]int32{}, map[string]int32{}
	}
	p := &Participant{
		ID: f.ParticipantID, EventID: f.EventID, UserID: f.UserID, Response: NeedsAction,
		Ordinal: len(r.inOrder), Registered: at, Changed: at, Own: at,
	}
	p.contact(f.Personal, f.Channels, f.TimeZone, f.Locale, f.EmailDigest, at)
	n := int32(p.Ordinal)
	r.inOrder = append(r.inOrder, p)
	r.there++
	r.byID[p.ID], r.byUser[p.UserID] = n, n
	if p.EmailDigest != "" {
		r.byDigest[p.EmailDigest] = n
	}
	r.admit(p, f.Waitlisted, at)
}

func (r *roster) contactChanged(f events.ParticipantContactChanged, at Stamp) {
	p, ok := r.change(f.ParticipantID, at)
	if !ok {
		return
	}
	if p.EmailDigest != f.EmailDigest {
		forget(r.byDigest, p.EmailDigest, p)
		if f.EmailDigest != "" {
			r.byDigest[f.EmailDigest] = int32(p.Ordinal)
		}
	}
	p.contact(f.Personal, f.Channels, f.TimeZone, f.Locale, f.EmailDigest, at)
}

// forget takes p out of an index, unless another stands in its place.
func forget(index map[string]int32, name string, p *Participant) {
	if n, ok := index[name]; ok && int(n) == p.Ordinal {
		delete(index, name)
	}
}

func (r *roster) responded(f events.ParticipantResponded, at Stamp) {
	p, ok := r.change(f.ParticipantID, at)
	if !ok {
		return
	}
	p.Response, p.Answered = f.Response, at
	if f.Response == Declined {
		p.LastDeclined = at
		r.release(p, at)
	} else if p.Status == Released {
		p.Returned = at
		r.admit(p, f.Waitlisted, at)
	}
}

func (r *roster) optedOut(id string, at Stamp) {
	if p, ok := r.change(id, at); ok {
		p.OptedOut, p.LastOptedOut = true, at
	}
}

// optedIn lets p be reminded of what was due meanwhile, as one who comes back does.
func (r *roster) optedIn(id string, at Stamp) {
	p, ok := r.change(id, at)
	if !ok {
		return
	}
	p.OptedOut, p.OptedIn = false, at
	if p.Status == Confirmed {
		p.Entitled = at
	}
}

func (r *roster) promoted(id string, at Stamp) {
	if n, ok := r.named(idName, id); !ok || r.inOrder[n].Status != Waitlisted {
		return
	}
	p, _ := r.change(id, at)
	r.release(p, at)
	r.admit(p, false, at)
}

func (r *roster) removed(id string, at Stamp) {
	p, ok := r.change(id, at)
	if !ok {
		return
	}
	r.release(p, at)
	r.inOrder[p.Ordinal] = nil
	r.there--
	delete(r.byID, id)
	forget(r.byUser, p.UserID, p)
	forget(r.byDigest, p.EmailDigest, p)
}

// admit gives p a seat or the last place in the line.
func (r *roster) admit(p *Participant, waitlisted bool, at Stamp) {
	if waitlisted {
		p.Status, p.Line = Waitlisted, at.Revision
		r.line = append(r.line, int32(p.Ordinal))
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
	if !found {
		return
	}
	before, behind := int64(0), i < len(r.line)-1
	if i > 0 {
		before = r.at(r.line[i-1]).Line
	}
	r.advances.left(p.Line, before, behind, at)
	if i == 0 {
		r.line = r.line[1:]
	} else {
		r.line = slices.Delete(r.line, i, i+1)
	}
	if len(r.line) == 0 {
		r.line = nil
	}
}
