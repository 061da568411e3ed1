// Package load makes a log of a given size as the service would have made it:
// seeded, and through the real commands.
package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// Options say what is made.
type Options struct {
	Commands *commands.Handler
	Now      func() time.Time // the Handler's
	Facts    int64            // as many, and a few more for each event that is being made then
	Seed     uint64           // gives ids, names and choices; times are the clock's
	First    int              // the number of the first event: two loads of one seed make other events
	Abreast  int              // events that are made at once, which share syncs of the log; 64 when 0
}

// maxRoster is how many participants an event has at most.
const maxRoster = 60

// Fill makes events with participants who answer, change and leave; reminders
// that wait; and announcements that are sent, fail and are cancelled; until there
// are as many facts more as asked for. It returns how many there are, and the
// number behind the last event.
func Fill(ctx context.Context, o Options) (facts int64, next int, err error) {
	if o.Abreast == 0 {
		o.Abreast = 64
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var made atomic.Int64
	var begun atomic.Int64
	begun.Store(int64(o.First))
	var working sync.WaitGroup
	for range o.Abreast {
		working.Go(func() {
			for made.Load() < o.Facts && ctx.Err() == nil {
				e := newEvent(o, int(begun.Add(1)-1), &made)
				if err := e.live(ctx); err != nil {
					stop(fmt.Errorf("event %d of seed %d: %w", e.number, o.Seed, err))
				}
			}
		})
	}
	working.Wait()
	if err := context.Cause(ctx); err != nil {
		return made.Load(), int(begun.Load()), err
	}
	return made.Load(), int(begun.Load()), nil
}

// event is the life of one event.
type event struct {
	o      Options
	number int
	rng    *rand.Rand
	made   *atomic.Int64

	id       string
	start    time.Time
	roster   []person // who is there
	reminder string
}

// person is a participant, and the number of the key that seals what is personal.
type person struct {
	id  string
	key int64
}

func newEvent(o Options, number int, made *atomic.Int64) *event {
	return &event{o: o, number: number, rng: rand.New(rand.NewPCG(o.Seed, uint64(number))), made: made}
}

// enough tells whether there are as many facts as asked for.
func (e *event) enough() bool { return e.made.Load() >= e.o.Facts }

// newID depends on the seed and the event's number alone.
func (e *event) newID() string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(e.rng.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// chance is true n times in a hundred.
func (e *event) chance(n int) bool { return e.rng.IntN(100) < n }

func (e *event) pick(of []string) string { return of[e.rng.IntN(len(of))] }

var by = commands.Caller{Actor: "load"}

// onEvent and onNotification do a command and count its facts.
func onEvent(ctx context.Context, e *event, cmd commands.Command[*aggregates.Event]) error {
	a, err := commands.Do(ctx, e.o.Commands, cmd, by, func(*aggregates.Event, time.Time) struct{} { return struct{}{} })
	e.made.Add(int64(a.Appended))
	return err
}

func onNotification(ctx context.Context, e *event, cmd commands.Command[*aggregates.Notification]) error {
	a, err := commands.Do(ctx, e.o.Commands, cmd, by, func(*aggregates.Notification, time.Time) struct{} { return struct{}{} })
	e.made.Add(int64(a.Appended))
	return err
}

var (
	places = []string{"The tower", "Town hall", "Café Größe", "Łódź", "", "東京ホール"}
	topics = []string{"Bell-ringing", "Choir", "Rounds and call changes", "Grüße", "Ægir", "Élan", "鐘"}
	names  = []string{"Ann", "Bob", "Çem", "Dörte", "Élodie", "Fay", "Gašper", "花子", "Ivan", "Zoë"}
	zones  = []string{"UTC", "Europe/Vienna", "America/New_York", "Asia/Tokyo"}
	tags   = []string{"course", "weekly", "open", "youth", "concert"}
)

// live makes the event and what becomes of it.
func (e *event) live(ctx context.Context) error {
	e.id = e.newID()
	e.start = e.o.Now().Add(time.Duration(24+e.rng.IntN(24*300)) * time.Hour)
	fields := aggregates.EventFields{
		Title: e.pick(topics) + " " + e.pick(topics), Description: "Number " + fmt.Sprint(e.number) + ": " + e.pick(topics) + ", " + e.pick(places),
		CreatorID: e.pick(names), StartTime: e.start, EndTime: e.start.Add(time.Duration(1+e.rng.IntN(5)) * time.Hour),
		TimeZone: e.pick(zones), Location: e.pick(places), Tags: []string{e.pick(tags)},
	}
	size := 1 + e.rng.IntN(maxRoster)
	if e.chance(30) {
		seats := max(1, size*2/3) // so that some wait, and are promoted
		fields.Capacity = &seats
	}
	if err := onEvent(ctx, e, commands.ScheduleEvent{EventID: e.id, Fields: fields}); err != nil {
		return err
	}
	minutes := 60 * (1 + e.rng.IntN(3))
	e.reminder = e.newID()
	if err := onEvent(ctx, e, commands.AddReminder{EventID: e.id, ReminderID: e.reminder, Fields: aggregates.ReminderFields{MinutesBefore: &minutes}}); err != nil {
		return err
	}
	for range size {
		if e.enough() {
			return nil
		}
		if err := e.register(ctx); err != nil {
			return err
		}
		if e.chance(25) {
			if err := e.happen(ctx); err != nil {
				return err
			}
		}
	}
	for e.chance(60) && !e.enough() {
		if err := e.announce(ctx); err != nil {
			return err
		}
	}
	switch {
	case e.chance(10):
		return onEvent(ctx, e, commands.DeleteEvent{EventID: e.id})
	case e.chance(10):
		return onEvent(ctx, e, commands.CancelEvent{EventID: e.id, Reason: "The tower is being repaired"})
	}
	return nil
}

// register adds a participant, who is to be reminded.
func (e *event) register(ctx context.Context) error {
	id := e.newID()
	contact := aggregates.ContactFields{
		UserID: "user-" + id[:8], Name: e.pick(names) + " " + e.pick(names), Email: "user-" + id[:18] + "@example.org", Locale: "en",
	}
	if e.chance(20) {
		contact.Phone = fmt.Sprintf("+43%09d", e.rng.IntN(1e9))
	}
	registered, err := commands.Do(ctx, e.o.Commands, commands.RegisterParticipant{EventID: e.id, ParticipantID: id, Contact: contact}, by,
		func(state *aggregates.Event, _ time.Time) int64 {
			p, _ := state.Participant(id)
			return p.Contact.Key
		})
	if err != nil {
		return err
	}
	e.made.Add(int64(registered.Appended))
	e.roster = append(e.roster, person{id, registered.View})
	due := e.start.Add(-time.Hour)
	return onNotification(ctx, e, commands.ScheduleNotification{Fact: events.NotificationScheduled{
		NotificationID: e.newID(), EventID: e.id, ParticipantID: id, ReminderID: e.reminder, Channel: "email",
		ScheduledTime: due, Expires: e.start.Add(time.Minute),
	}})
}

// happen changes something about somebody, or about the event.
func (e *event) happen(ctx context.Context) error {
	if len(e.roster) == 0 {
		return nil
	}
	i := e.rng.IntN(len(e.roster))
	who := e.roster[i].id
	switch n := e.rng.IntN(10); n {
	case 0:
		e.roster = append(e.roster[:i], e.roster[i+1:]...)
		return onEvent(ctx, e, commands.RemoveParticipant{EventID: e.id, ParticipantID: who})
	case 1:
		return onEvent(ctx, e, commands.ChangeContact{EventID: e.id, ParticipantID: who, Patch: aggregates.ContactPatch{
			Name: aggregates.Patch[string]{Given: true, Value: e.pick(names)},
		}})
	case 2:
		return onEvent(ctx, e, commands.OptOut{EventID: e.id, ParticipantID: who})
	case 3:
		e.start = e.start.Add(time.Hour)
		return onEvent(ctx, e, commands.ChangeEvent{EventID: e.id, Patch: aggregates.EventPatch{
			StartTime: aggregates.Patch[time.Time]{Given: true, Value: e.start},
			EndTime:   aggregates.Patch[time.Time]{Given: true, Value: e.start.Add(time.Hour)},
		}})
	case 4:
		return onEvent(ctx, e, commands.ChangeEvent{EventID: e.id, Patch: aggregates.EventPatch{
			Title: aggregates.Patch[string]{Given: true, Value: e.pick(topics)},
		}})
	default:
		response := []string{aggregates.Accepted, aggregates.Accepted, aggregates.Tentative, aggregates.Declined, aggregates.Accepted}[n-5]
		return onEvent(ctx, e, commands.Respond{EventID: e.id, ParticipantID: who, Response: response})
	}
}

// announce sends a message to everybody who is there.
func (e *event) announce(ctx context.Context) error {
	announcement := e.newID()
	message := aggregates.AnnouncementFields{Message: "{{ participant.name }}, please bring soft shoes."}
	if err := onEvent(ctx, e, commands.Announce{EventID: e.id, AnnouncementID: announcement, Fields: message}); err != nil {
		return err
	}
	for _, who := range e.roster {
		if e.enough() {
			return nil
		}
		if err := e.send(ctx, announcement, who); err != nil {
			return err
		}
	}
	return nil
}

// send goes through the states of a notification.
func (e *event) send(ctx context.Context, announcement string, to person) error {
	id, now := e.newID(), e.o.Now().UTC().Truncate(time.Microsecond)
	err := onNotification(ctx, e, commands.ScheduleNotification{Fact: events.NotificationScheduled{
		NotificationID: id, EventID: e.id, ParticipantID: to.id, AnnouncementID: announcement, Channel: "email",
		ScheduledTime: now, Expires: now.Add(24 * time.Hour),
	}})
	if err != nil {
		return err
	}
	if e.chance(5) {
		return onNotification(ctx, e, commands.CancelNotification{NotificationID: id, Reason: events.CancelledDeclined})
	}
	if err := onNotification(ctx, e, commands.StartSending{NotificationID: id, Boot: "load", ForMillis: 60_000}); err != nil {
		return err
	}
	switch n := e.rng.IntN(100); {
	case n < 5:
		return onNotification(ctx, e, commands.GiveUp{Fact: events.NotificationFailed{
			NotificationID: id, EventID: e.id, Attempt: 1, Reason: events.FailedRejected, Error: "550 no such mailbox",
		}})
	case n < 10:
		return onNotification(ctx, e, commands.RecordFailure{Fact: events.SendingFailed{
			NotificationID: id, EventID: e.id, Attempt: 1, Class: events.ClassTemporary, Error: "421 later", NextAttempt: now.Add(5 * time.Second),
		}})
	case n < 12:
		return nil // it is on its way
	}
	return onNotification(ctx, e, commands.RecordSent{Fact: events.NotificationSent{
		NotificationID: id, EventID: e.id, Attempt: 1, SentTime: now, ProviderMessageID: id[:8], To: "u…@example.org",
		Personal: events.Personal{Key: to.key, Message: e.pick(names) + ", please bring soft shoes."},
	}})
}
