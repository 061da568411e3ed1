package aggregates

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/belltower/belltower/events"
)

// EventSnapshotVersion is that of the form in which an Event is kept. It
// changes with the form, and with what Evolve makes of the same facts: a
// snapshot of another version is of no use.
const EventSnapshotVersion = 3

// partSize is how many ordinals have a part of a snapshot of their own. Only tests change it.
var partSize = 1024

// PartID names a part of a snapshot by what is in it.
type PartID [16]byte

// PartIDOf names data.
func PartIDOf(data []byte) PartID {
	sum := sha256.Sum256(data)
	return PartID(sum[:16])
}

// Part is a part of a snapshot: participants who registered one after another.
// The part before it may be kept, so that only parts that changed are written.
type Part struct {
	ID   PartID
	Data []byte // nil: as it was in the snapshot before
}

// FrozenEvent is an Event as it was once: it doesn't change with it.
type FrozenEvent struct {
	event  Event
	unread []Part   // of those that were restored and not read until then, by number
	parts  []PartID // once Parts has told them
}

// Freeze keeps e as it is now. It copies no participants, as they don't change.
func (e *Event) Freeze() *FrozenEvent {
	f := &FrozenEvent{event: *e}
	f.event.Reminders, f.event.Announcements = slices.Clone(e.Reminders), slices.Clone(e.Announcements)
	f.event.roster = roster{inOrder: slices.Clone(e.inOrder), advances: slices.Clone(e.advances)}
	if e.unread != nil {
		f.unread = slices.Clone(e.unread.parts)
	}
	return f
}

// Gone tells that e was deleted: nothing of it is to be kept.
func (e *Event) Gone() bool { return e.Deleted }

// Err tells what went wrong as e was looked at: the contact of somebody could not be
// read. What was said of e since is not to be relied on.
func (e *Event) Err() error { return e.failed }

// Parts gives the parts of a snapshot; of those that are the same in before,
// which may be nil, no more than their ids. Contacts are in no part: whoever
// restores reads them where they stand sealed.
func (f *FrozenEvent) Parts(before *FrozenEvent) []Part {
	var parts []Part
	for from := 0; from < len(f.event.inOrder); from += partSize {
		part, to := from/partSize, min(from+partSize, len(f.event.inOrder))
		one := f.unreadPart(part)
		if one.Data == nil && !f.sameSince(before, from, to) {
			data := encodePart(f.event.ID, from, f.event.inOrder[from:to])
			one = Part{ID: PartIDOf(data), Data: data}
		}
		if before != nil && part < len(before.parts) && (one.Data == nil || one.ID == before.parts[part]) {
			one = Part{ID: before.parts[part]}
		}
		parts = append(parts, one)
	}
	f.parts = make([]PartID, len(parts))
	for i, p := range parts {
		f.parts[i] = p.ID
	}
	return parts
}

// unreadPart is a part that was not read; without data where it was.
func (f *FrozenEvent) unreadPart(part int) Part {
	if part < len(f.unread) {
		return f.unread[part]
	}
	return Part{}
}

// sameSince tells whether the participants of some ordinals were the same before.
func (f *FrozenEvent) sameSince(before *FrozenEvent, from, to int) bool {
	if before == nil || len(before.event.inOrder) < to || to-from < partSize && len(before.event.inOrder) > to {
		return false
	}
	part := from / partSize
	return part < len(before.parts) && before.unreadPart(part).Data == nil &&
		slices.Equal(f.event.inOrder[from:to], before.event.inOrder[from:to])
}

// Head gives all of the snapshot but its parts.
func (f *FrozenEvent) Head() []byte {
	var w encoder
	e := &f.event
	w.id(e.ID)
	w.text(e.Title)
	w.text(e.Description)
	w.time(e.StartTime)
	w.time(e.EndTime)
	w.text(e.TimeZone)
	w.text(e.LocalStart)
	w.text(e.LocalEnd)
	w.text(e.Location)
	w.text(e.CreatorID)
	w.signed(int64(e.Capacity))
	w.texts(e.Tags)
	w.text(e.Status)
	w.flag(e.Deleted)
	w.stamp(e.Created)
	w.stamp(e.Changed)
	w.stamp(e.Own)
	w.stamp(e.Cancelled)
	w.stamp(e.Moved)
	w.count(e.MoveCount)
	w.count(len(e.Reminders))
	for _, r := range e.Reminders {
		w.id(r.ID)
		w.signed(int64(r.MinutesBefore))
		w.texts(r.Channels)
		w.text(r.Message)
		w.stamp(r.Added)
	}
	w.count(len(e.Announcements))
	for _, a := range e.Announcements {
		w.id(a.ID)
		w.text(a.Message)
		w.time(a.SendAt)
		w.texts(a.Channels)
		w.texts(a.Audience.Status)
		w.texts(a.Audience.Response)
		w.stamp(a.Made)
		w.count(a.Size)
		w.count(len(a.members))
		for _, word := range a.members {
			w.unsigned(word)
		}
	}
	w.count(len(e.inOrder))
	w.count(len(e.advances))
	for _, a := range e.advances {
		w.signed(a.behind)
		w.stamp(a.at)
	}
	return w.b
}

// Contacts reads the contact of a participant from the fact at a revision of the
// event's stream. Where the key was erased, it has nothing but the key's number.
type Contacts func(participantID string, revision int64) (events.Personal, error)

// Restore makes e, which must be new, what was frozen. Participants are read when somebody asks
// for them, and so are their contacts; Err tells where that failed. An error leaves e unusable.
func (e *Event) Restore(head []byte, parts []Part, contacts Contacts) error {
	r := decoder{b: string(head)}
	e.ID, e.Title, e.Description = r.id(), r.text(), r.text()
	e.StartTime, e.EndTime, e.TimeZone, e.LocalStart, e.LocalEnd = r.time(), r.time(), r.text(), r.text(), r.text()
	e.Location, e.CreatorID, e.Capacity, e.Tags, e.Status = r.text(), r.text(), int(r.signed()), r.texts(), r.text()
	e.Deleted = r.flag()
	e.Created, e.Changed, e.Own, e.Cancelled, e.Moved = r.stamp(), r.stamp(), r.stamp(), r.stamp(), r.stamp()
	e.MoveCount = r.number()
	for range r.count() {
		e.Reminders = append(e.Reminders, &Reminder{
			ID: r.id(), MinutesBefore: int(r.signed()), Channels: r.texts(), Message: r.text(), Added: r.stamp(),
		})
	}
	for range r.count() {
		a := &Announcement{ID: r.id(), Message: r.text(), SendAt: r.time(), Channels: r.texts()}
		a.Audience = events.Audience{Status: r.texts(), Response: r.texts()}
		a.Made, a.Size = r.stamp(), r.number()
		for range r.count() {
			a.members = append(a.members, r.unsigned())
		}
		e.Announcements = append(e.Announcements, a)
	}
	ordinals := r.number()
	for range r.count() {
		e.advances = append(e.advances, advance{r.signed(), r.stamp()})
	}
	if err := r.end("head"); err != nil {
		return err
	}
	if len(parts) != (ordinals+partSize-1)/partSize {
		return fmt.Errorf("%d parts for %d participants: %w", len(parts), ordinals, ErrSnapshot)
	}
	return e.restoreRoster(ordinals, parts, contacts)
}

func (e *Event) restoreRoster(ordinals int, parts []Part, contacts Contacts) error {
	e.contacts = contacts
	if ordinals == 0 {
		return nil
	}
	headers, sums := make([]partHeader, len(parts)), 0
	for i, p := range parts {
		var err error
		if headers[i], err = readPartHeader(p.Data); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		sums += len(headers[i].sums) / 4
	}
	r := &e.roster
	r.inOrder = make([]*Participant, ordinals)
	r.byID, r.byUser, r.byDigest = map[string]int32{}, map[string]int32{}, map[string]int32{}
	r.unread = &unread{eventID: e.ID, parts: slices.Clone(parts), left: len(parts), names: newNameTable(sums)}
	var line []waiting
	for i, h := range headers {
		r.there, r.confirmed = r.there+h.there, r.confirmed+h.confirmed
		for _, w := range h.waiting {
			if w.offset += i * partSize; w.offset >= ordinals {
				return fmt.Errorf("part %d: %w", i, ErrSnapshot)
			}
			line = append(line, w)
		}
	}
	slices.SortFunc(line, func(a, b waiting) int { return cmp.Compare(a.line, b.line) })
	for _, w := range line {
		r.line = append(r.line, int32(w.offset))
	}
	names := r.unread.names
	for i, h := range headers {
		for sums := h.sums; len(sums) > 0; sums = sums[4:] {
			if !names.put(binary.BigEndian.Uint32(sums), i) {
				r.read(i)
				break
			}
		}
	}
	if ordinals%partSize > 0 { // the next one to come is in this part
		r.read(len(parts) - 1)
	}
	return r.failed
}

// opened is the participant of an ordinal with the contact read.
func (r *roster) opened(n int32) *Participant {
	p := r.at(n)
	if !p.unread || r.failed != nil {
		return p
	}
	contact, err := r.contacts(p.ID, p.contacted)
	if err != nil {
		r.failed = fmt.Errorf("read the contact of %s: %w", p.ID, err)
		return p
	}
	read := *p
	read.Contact, read.unread = contact, false
	// Who was erased since has no addresses any more, as if the facts were folded now.
	since(&read.emailSince, contact.Email, Stamp{})
	since(&read.phoneSince, contact.Phone, Stamp{})
	since(&read.pushSince, contact.PushToken, Stamp{})
	r.inOrder[n] = &read
	return &read
}
