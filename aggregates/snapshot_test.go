package aggregates_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// contactIn reads contacts in a history; of erased participants nothing is left.
func contactIn(history facts, erased map[string]bool) aggregates.Contacts {
	return func(id string, revision int64) (events.Personal, error) {
		var p events.Personal
		switch f := history[revision].(type) {
		case events.ParticipantRegistered:
			p = f.Personal
		case events.ParticipantContactChanged:
			p = f.Personal
		default:
			return p, fmt.Errorf("no contact at %d", revision)
		}
		if erased[id] {
			p = events.Personal{Key: p.Key}
		}
		return p, nil
	}
}

// kept is what a snapshot would be made of.
type kept struct {
	head  []byte
	parts map[aggregates.PartID][]byte
	ids   []aggregates.PartID
}

func keep(f, before *aggregates.FrozenEvent, stored map[aggregates.PartID][]byte) kept {
	k := kept{parts: stored}
	for _, p := range f.Parts(before) {
		if p.Data != nil {
			stored[p.ID] = p.Data
		}
		k.ids = append(k.ids, p.ID)
	}
	k.head = f.Head()
	return k
}

func (k kept) restore(contacts aggregates.Contacts) (*aggregates.Event, error) {
	var parts []aggregates.Part
	for _, id := range k.ids {
		parts = append(parts, aggregates.Part{ID: id, Data: k.parts[id]})
	}
	e := new(aggregates.Event)
	return e, e.Restore(k.head, parts, contacts)
}

// someHistory is one that the rules allow.
func someHistory(t *rapid.T, most int) facts {
	e, history, joined := new(aggregates.Event), facts{}, 0
	step := func(fs facts, err error) {
		for _, f := range fs {
			if r, ok := f.(events.ParticipantRegistered); ok {
				r.Personal.Key = int64(joined)
				f = r
			}
			e.Evolve(f, stamp(len(history)))
			history = append(history, f)
		}
	}
	somebody := func() string { return fmt.Sprint("p", rapid.IntRange(0, joined).Draw(t, "who")) }
	template := aggregates.AnnouncementFields{Message: "Hi", Channels: rapid.SampledFrom([][]string{nil, {"sms", "email"}}).Draw(t, "by")}
	step(facts{scheduled(rapid.IntRange(0, 4).Draw(t, "capacity"))}, nil)
	for range rapid.IntRange(1, most).Draw(t, "length") {
		switch rapid.IntRange(0, 16).Draw(t, "what") {
		case 0:
			title := rapid.StringN(1, 5, 20).Draw(t, "title")
			step(e.Change(aggregates.EventPatch{Title: value(title), Tags: value([]string{"a", "b"})}, "", nil, now))
		case 1:
			hours := time.Duration(rapid.IntRange(1, 100).Draw(t, "hours")) * time.Hour
			step(e.Change(aggregates.EventPatch{StartTime: value(noon.Add(hours)), EndTime: value(noon.Add(hours + time.Hour)), TimeZone: value("Europe/Berlin")}, "", nil, now))
		case 2:
			minutes := rapid.IntRange(0, 500).Draw(t, "minutes")
			step(e.AddReminder(fmt.Sprint("r", len(history)), aggregates.ReminderFields{MinutesBefore: &minutes, Channels: []string{"email"}}, now))
		case 3:
			if len(e.Reminders) > 0 {
				step(e.RemoveReminder(e.Reminders[0].ID))
			}
		case 4:
			step(e.Announce(fmt.Sprint("00000000-0000-4000-8000-", fmt.Sprintf("%012d", len(history))), template, now))
		case 5:
			seats := aggregates.EventPatch{Capacity: value(rapid.IntRange(1, 6).Draw(t, "seats"))}
			step(e.Change(seats, "", nil, now))
		case 6:
			step(e.Respond(somebody(), "declined", now))
		case 7:
			step(e.Respond(somebody(), rapid.SampledFrom([]string{"accepted", "tentative"}).Draw(t, "response"), now))
		case 8:
			step(e.OptOut(somebody()))
		case 9:
			step(e.OptIn(somebody()))
		case 10:
			step(e.Remove(somebody()))
		case 11:
			step(e.ChangeContact(somebody(), aggregates.ContactPatch{
				Email: value(somebody() + "@y.org"), Phone: value(rapid.SampledFrom([]string{"", "+4930123456"}).Draw(t, "phone")),
				Channels: value(rapid.SampledFrom([][]string{nil, {"sms"}, {"email", "sms"}}).Draw(t, "channels")),
			}, now))
		case 12:
			if rapid.IntRange(0, 9).Draw(t, "end") == 0 {
				step(e.Cancel("why", "", nil, now))
			}
		case 13:
			if rapid.IntRange(0, 19).Draw(t, "end") == 0 {
				step(e.Delete())
			}
		default:
			joined++
			c := contact(fmt.Sprint("p", joined))
			c.TimeZone, c.Locale = rapid.SampledFrom([]string{"", "Asia/Tokyo"}).Draw(t, "zone"), rapid.SampledFrom([]string{"", "de"}).Draw(t, "locale")
			step(e.Register(fmt.Sprint("p", joined), c, now))
		}
	}
	return history
}

// decisions is what an event says to a bit of everything.
func decisions(e *aggregates.Event) (said []any) {
	say := func(fs facts, err error) { said = append(said, fs, fmt.Sprint(err)) }
	people := []string{"nobody"}
	for p := range e.Participants() {
		people = append(people, p.ID)
		said = append(said, e.Place(p), p.ChosenSince("sms"))
		for _, kind := range []aggregates.AddressKind{"email", "phone", "push_token"} {
			at, ok := p.ReachableSince(kind)
			said = append(said, at, ok)
		}
		for _, a := range e.Announcements {
			said = append(said, a.Includes(p))
		}
	}
	for _, id := range people {
		say(e.Register(id, contact(id), now))
		say(e.Register("new", contact(id), now))
		say(e.ChangeContact(id, aggregates.ContactPatch{Email: value("p1@x.org"), Name: value("p2")}, now))
		say(e.Respond(id, "declined", now))
		say(e.Respond(id, "accepted", now))
		say(e.Remove(id))
		say(e.OptOut(id))
		say(e.OptIn(id))
	}
	say(e.PromoteWaiting())
	say(e.Change(aggregates.EventPatch{Capacity: value(7)}, "", nil, now))
	say(e.Cancel("", "", nil, now))
	return append(said, e.ParticipantCount(), e.ConfirmedCount(), e.WaitingCount())
}

// Whatever happened, and wherever a snapshot is made of it: the snapshot and the
// facts behind it give the same as all facts; whoever is asked for first, in however many parts
// they are, and whether the snapshot was made of a state that came out of one.
func TestSnapshotAndTheRestAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defer aggregates.InPartsOf(rapid.SampledFrom([]int{1, 2, 3, 7, 1024}).Draw(t, "in a part"))()
		history := someHistory(t, 60)
		cut := rapid.IntRange(0, len(history)).Draw(t, "cut")
		first := rapid.IntRange(0, cut).Draw(t, "an earlier cut")
		e := new(aggregates.Event)
		stored := map[aggregates.PartID][]byte{}
		var before, frozen *aggregates.FrozenEvent
		var k kept
		for i, f := range history {
			if i == first {
				before = e.Freeze()
				k = keep(before, nil, stored)
				if rapid.Bool().Draw(t, "goes on from it") {
					var err error
					e, err = k.restore(contactIn(history, nil))
					require.NoError(t, err)
				}
			}
			if i == cut {
				frozen = e.Freeze()
			}
			e.Evolve(f, stamp(i))
		}
		if frozen == nil {
			frozen = e.Freeze()
		}
		k = keep(frozen, before, stored) // only now: what was frozen doesn't change

		erased := map[string]bool{}
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 20), 0, 3).Draw(t, "erased") {
			erased[fmt.Sprint("p", n)] = true
		}
		contacts := contactIn(history, erased)
		whole := new(aggregates.Event)
		for i, f := range history {
			whole.Evolve(forgotten(f, i, contacts), stamp(i))
		}
		part, err := k.restore(contacts)
		require.NoError(t, err)
		again, err := k.restore(contacts)
		require.NoError(t, err)
		for i := cut; i < len(history); i++ {
			part.Evolve(forgotten(history[i], i, contacts), stamp(i))
			again.Evolve(forgotten(history[i], i, contacts), stamp(i))
		}
		require.Equal(t, decisions(whole), decisions(part))
		require.NoError(t, part.Err())
		require.Equal(t, whole, again.Opened())
	})
}

// forgotten is the fact as it is read now.
func forgotten(f events.Fact, revision int, contacts aggregates.Contacts) events.Fact {
	switch fact := f.(type) {
	case events.ParticipantRegistered:
		fact.Personal, _ = contacts(fact.ParticipantID, int64(revision))
		return fact
	case events.ParticipantContactChanged:
		fact.Personal, _ = contacts(fact.ParticipantID, int64(revision))
		return fact
	}
	return f
}

// A snapshot whose form changes without another version would be taken for one
// of the form before. When this fails, raise EventSnapshotVersion, and put the new sum here.
func TestSnapshotVersion(t *testing.T) {
	const version, sum = 3, "4b0af70a4b06d84ada67fd18ba89fb17ff94533c7962bceb0192cb141b8f3336"
	history := facts{scheduled(3)}
	add := func(f events.Fact) { history = append(history, f) }
	add(events.ReminderAdded{EventID: "e", ReminderID: "0b5e7a38-0c33-4f36-8d34-6c1c5d5a1f10", MinutesBefore: 60, Channels: []string{"sms"}, Message: "Soon"})
	for i := range 1030 {
		f := registered(number(i), i >= 3)
		f.TimeZone, f.Locale, f.Personal.Phone = "Asia/Tokyo", "ja", "+4930123456"
		f.Channels = [][]string{nil, {"email"}, {"sms", "email"}}[i%3]
		f.EmailDigest = fmt.Sprintf("%022d", i)
		add(f)
	}
	add(responded(number(0), "declined", false))
	add(promoted(number(3)))
	add(responded(number(0), "accepted", true))
	add(removed(number(7)))
	add(events.ParticipantOptedOut{EventID: "e", ParticipantID: number(1)})
	add(events.ParticipantOptedIn{EventID: "e", ParticipantID: number(1)})
	add(events.ParticipantOptedOut{EventID: "e", ParticipantID: number(2)})
	add(events.ParticipantContactChanged{EventID: "e", ParticipantID: number(9), UserID: "u", Personal: events.Personal{Email: "x@x.org"}, Channels: []string{"push"}})
	add(events.AnnouncementMade{EventID: "e", AnnouncementID: "a", Message: "Hi", SendAt: noon, Audience: events.Audience{Status: []string{"waitlisted"}, Response: []string{"accepted", "needs_action"}}})
	add(events.EventRescheduled{EventID: "e", Times: events.TimesIn(noon.Add(time.Hour), noon.Add(2*time.Hour), time.FixedZone("X", 3600))})
	add(events.EventDetailsChanged{EventID: "e", Tags: &[]string{"t"}})
	add(events.EventCancelled{EventID: "e", Reason: "rain"})
	frozen := fold(history...).Freeze()
	k := keep(frozen, nil, map[aggregates.PartID][]byte{})
	all := slices.Clone(k.head)
	for _, id := range k.ids {
		all = append(all, k.parts[id]...)
	}
	got := sha256.Sum256(all)
	require.Equal(t, version, aggregates.EventSnapshotVersion)
	require.Equal(t, sum, hex.EncodeToString(got[:]), "the form of snapshots changed: raise the version")
}

// Parts that hold nobody who changed are not written again.
func TestSnapshotWritesWhatChanged(t *testing.T) {
	history := facts{scheduled(0)}
	for i := range 3000 {
		history = append(history, registered(number(i), false))
	}
	e := fold(history...)
	first := e.Freeze()
	require.Len(t, first.Parts(nil), 3)
	e.Evolve(responded(number(1500), "accepted", false), stamp(len(history)))
	e.Evolve(registered(number(3000), false), stamp(len(history)+1))
	second := e.Freeze()
	written := []bool{}
	for _, p := range second.Parts(first) {
		written = append(written, p.Data != nil)
	}
	require.Equal(t, []bool{false, true, true}, written)
}

// Damage is refused, never a panic, and never taken for something else that is whole.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defer aggregates.InPartsOf(rapid.SampledFrom([]int{2, 1024}).Draw(t, "in a part"))()
		history := someHistory(t, 30)
		k := keep(fold(history...).Freeze(), nil, map[aggregates.PartID][]byte{})
		for id, data := range k.parts {
			k.parts[id] = data[:rapid.IntRange(0, len(data)-1).Draw(t, "left")]
		}
		if len(k.parts) == 0 {
			k.head = k.head[:rapid.IntRange(0, len(k.head)-1).Draw(t, "left")]
		}
		e, err := k.restore(contactIn(history, nil))
		if err == nil { // the part is read only once somebody asks for who is in it
			decisions(e)
			err = e.Err()
		}
		require.ErrorIs(t, err, aggregates.ErrSnapshot)
	})
}

// A contact that can't be read makes the state one not to go on with.
func TestContactThatCantBeRead(t *testing.T) {
	k := keep(fold(scheduled(0), registered("a", false)).Freeze(), nil, map[aggregates.PartID][]byte{})
	broken := errors.New("broken")
	e, err := k.restore(func(string, int64) (events.Personal, error) { return events.Personal{}, broken })
	require.NoError(t, err)
	_, err = e.Register("b", contact("b"), now)
	require.NoError(t, err)
	require.NoError(t, e.Err(), "nobody's contact was asked for")
	_, ok := e.Participant("a")
	require.True(t, ok)
	require.ErrorIs(t, e.Err(), broken)
}
