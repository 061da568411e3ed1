package reminders

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

// step is one thing that happens; a and b choose how.
type step struct {
	what string
	a, b int
}

// whats are the things that happen, as often as they stand here.
var whats = strings.Fields(`register register register register register respond respond respond respond respond respond respond optout optout optout remove
	contact contact move move remind remind unremind capacity capacity announce announce cancel delete
	slow slow wait wait wait wait wait wait crash crash crash crash restart rebuild rebuild stop go mood mood mood hand bounce arrive arrive`)

func drawHistory(t *rapid.T) []step {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{rapid.SampledFrom(whats).Draw(t, "what"), rapid.IntRange(0, 1000).Draw(t, "a"), rapid.IntRange(0, 1000).Draw(t, "b")}
	})
	return rapid.SliceOfN(one, 25, 60).Draw(t, "steps")
}

// player plays a history in a world.
type player struct {
	*world
	people, rules, messages int
	declined                map[string]bool
	mood                    atomic.Int64
	slow, appends           atomic.Int64
	acked                   atomic.Int64 // revision of the event that its callers know of

	mu    sync.Mutex
	sends []sending
	seen  map[string]bool // what the history had in it
	lose  bool            // the planner's table, with the next crash
	dead  atomic.Bool     // the process that the store has cut off
	texts *ledger         // who carries sms, and can be asked
	news  []news          // that was acknowledged
}

// sending is a call of a provider.
type sending struct {
	delivery
	from, to int64 // revisions of the event that the caller knows of, and that there are
	taken    bool  // for all we know
}

// news is that a message arrived, or bounced after all.
type news struct {
	id      string
	arrived bool
	at      time.Time
}

var errCrash = errors.New("the process has died")

func (p *player) answer(ctx context.Context, m channels.Message, n int) channels.Result {
	s := sending{delivery: delivery{p.now(), m}, from: p.acked.Load()}
	if last, ok, err := p.present.Load().ReadLast(context.Background(), commands.EventStream(eventID)); err == nil && ok {
		s.to = last.Revision
	}
	mood := p.mood.Load()
	if mood >= 10 { // changing
		mood = int64(n) % 7
	}
	s.taken = mood != 1 && mood != 3 && mood != 6
	if s.taken && m.Channel == "sms" {
		p.texts.take(m)
	}
	p.mu.Lock()
	p.sends = append(p.sends, s)
	p.mu.Unlock()
	switch mood {
	case 1:
		return channels.Result{Outcome: channels.Later, Detail: "busy"}
	case 2:
		return channels.Result{Outcome: channels.Unknown, Detail: "cut"}
	case 3:
		return channels.Result{Outcome: channels.Rejected, Detail: "no"}
	case 6:
		return channels.Result{Outcome: channels.Unknown, Detail: "cut before it was read"}
	case 4:
		time.Sleep(900 * time.Millisecond)
	case 5:
		time.Sleep(10 * time.Second) // longer than its time-out
	}
	return accepted(n)
}

// delay lets appends take their time, each another, so that they overtake one another.
func (p *player) delay(string, []eventstore.NewRecord) <-chan struct{} {
	n := p.appends.Add(1)
	slow := p.slow.Load()
	if slow == 0 || n%(slow+1) == 0 {
		return nil
	}
	done := make(chan struct{})
	time.AfterFunc(time.Duration(n*n%97)*3*time.Millisecond, func() { close(done) })
	return done
}

func (p *player) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[what] = true
}

// ask does a command; what it answers is what callers know from then on.
func ask[T any, S commands.State[T]](p *player, c commands.Command[S]) bool {
	answer, err := try(p.world, c)
	if err == nil && c.Stream() == commands.EventStream(eventID) && !p.dead.Load() {
		p.acked.Store(max(p.acked.Load(), answer.Revision))
	}
	return err == nil && answer.Appended > 0
}

func (p *player) somebody(n int) string { return fmt.Sprint("p", n%max(p.people, 1)) }

func (p *player) contact(n int) ([]string, string) {
	if len(p.fallback.Chain) > 0 && n%5 > 0 {
		return []string{"email", "sms"}, "+4915112345678"
	}
	phone := ""
	if n%3 > 0 {
		phone = "+4915112345678"
	}
	return [][]string{nil, {"email"}, {"sms"}, {"email", "sms"}}[n%4], phone
}

func (p *player) play(s step) {
	switch s.what {
	case "register":
		id := fmt.Sprint("p", p.people)
		own, phone := p.contact(s.a)
		if ask(p, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: aggregates.ContactFields{
			UserID: id, Name: id, Email: id + "@x.org", Phone: phone, Channels: own,
		}}) || p.dead.Load() {
			p.people++
		}
	case "respond":
		who := p.somebody(s.a % 4)
		response := aggregates.Declined
		if p.declined[who] || s.b%5 == 0 { // most come back
			response = []string{aggregates.Accepted, aggregates.Tentative}[s.b%2]
		}
		if ask(p, commands.Respond{EventID: eventID, ParticipantID: who, Response: response}) {
			if p.declined[who] = response == aggregates.Declined; p.declined[who] {
				p.note("decline")
			}
		}
	case "optout":
		who := p.somebody(s.a % 4)
		if s.b%2 == 0 {
			ask(p, commands.OptIn{EventID: eventID, ParticipantID: who})
		} else if ask(p, commands.OptOut{EventID: eventID, ParticipantID: who}) {
			p.note("opt-out")
		}
	case "remove":
		ask(p, commands.RemoveParticipant{EventID: eventID, ParticipantID: p.somebody(s.a)})
	case "contact":
		own, phone := p.contact(s.b)
		if ask(p, commands.ChangeContact{EventID: eventID, ParticipantID: p.somebody(s.a), Patch: aggregates.ContactPatch{
			Phone: aggregates.Patch[string]{Given: true, Value: phone}, Channels: aggregates.Patch[[]string]{Given: true, Value: own},
		}}) {
			p.note("contact")
		}
	case "move":
		start := p.now().Add([]time.Duration{time.Second, 2 * time.Minute, 6 * time.Minute, 12 * time.Minute, time.Hour}[s.a%5])
		if ask(p, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{
			StartTime: aggregates.Patch[time.Time]{Given: true, Value: start}, EndTime: aggregates.Patch[time.Time]{Given: true, Value: start.Add(time.Hour)},
		}}) {
			p.note("move")
		}
	case "remind":
		minutes := []int{0, 1, 3, 5, 10}[s.a%5]
		id := fmt.Sprint("r", p.rules)
		if ask(p, commands.AddReminder{EventID: eventID, ReminderID: id, Fields: aggregates.ReminderFields{
			MinutesBefore: &minutes, Channels: [][]string{nil, {"sms"}, {"email", "sms"}}[s.b%3],
		}}) || p.dead.Load() {
			p.rules++
		}
	case "unremind":
		ask(p, commands.RemoveReminder{EventID: eventID, ReminderID: fmt.Sprint("r", s.a%max(p.rules, 1))})
	case "capacity":
		capacity := aggregates.Patch[int]{Given: true, Value: s.a % 8, Null: s.a%8 == 0}
		if ask(p, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Capacity: capacity}}) {
			p.note("capacity")
		}
	case "announce":
		fields := aggregates.AnnouncementFields{Message: "Hear", Channels: [][]string{nil, {"sms"}, {"email"}}[s.b%3]}
		if s.a%3 > 0 {
			later := p.now().Add(time.Duration(s.a%7) * time.Minute)
			fields.SendAt = &later
		}
		if s.a%4 == 0 {
			fields.Audience.Status = []string{"waitlisted", "confirmed"}[s.b%2 : s.b%2+1]
		}
		if s.a%5 == 0 {
			fields.Audience.Response = []string{"declined", "accepted"}
		}
		if ask(p, commands.Announce{EventID: eventID, AnnouncementID: fmt.Sprint("a", p.messages), Fields: fields}) {
			p.note("announcement")
		}
		p.messages++
	case "cancel":
		if s.a%3 > 0 { // not too often, as little happens afterwards
			return
		}
		bye := "Sorry"
		ask(p, commands.CancelEvent{EventID: eventID, Notify: &bye, AnnouncementID: fmt.Sprint("a", p.messages)})
		p.messages++
	case "delete":
		if s.a%2 == 0 && ask(p, commands.DeleteEvent{EventID: eventID}) {
			p.note("delete")
		}
	case "wait":
		time.Sleep([]time.Duration{0, time.Microsecond, 500 * time.Millisecond, 5 * time.Second, time.Minute, 3 * time.Minute, 10 * time.Minute}[s.a%7])
		if s.b%2 == 0 {
			synctest.Wait()
		}
	case "crash":
		p.armCrash(1+s.a%8, s.b%2 == 0, s.b%3 == 0)
	case "restart":
		p.restartAfter(func() {})
	case "rebuild":
		p.note("checkpoint 0")
		p.restartAfter(p.loseTable)
	case "stop":
		ask(p, commands.StopProcessor{})
	case "go":
		ask(p, commands.StartProcessor{})
	case "slow":
		p.slow.Store(int64(s.a % 4))
	case "mood":
		p.mood.Store(int64([]int{0, 0, 1, 2, 3, 4, 5, 6, 10, 10, 10}[s.a%11]))
	case "hand", "bounce", "arrive":
		ids := p.ids()
		if len(ids) == 0 {
			return
		}
		id := ids[s.a%len(ids)]
		switch {
		case s.what == "bounce":
			if p.notifications()[id].Status == aggregates.NotificationSent { // a provider tells only of what it took
				p.told(id, aggregates.ReceiptBounced)
			}
		case s.what == "arrive":
			if p.notifications()[id].Status == aggregates.NotificationSent {
				p.told(id, aggregates.ReceiptDelivered)
			}
		case s.b%2 == 0:
			ask(p, commands.CancelNotificationByHand{NotificationID: id})
		default:
			ask(p, commands.RetryNotification{NotificationID: id})
		}
	}
}

// told has a provider tell what became of a message.
func (p *player) told(id, what string) {
	if ask(p, commands.RecordReceipt{NotificationID: id, Receipt: aggregates.Receipt{News: what}}) && !p.dead.Load() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.news = append(p.news, news{id, what == aggregates.ReceiptDelivered, p.now()})
	}
}

func (p *player) ids() (ids []string) {
	for id := range p.notifications() {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// armCrash lets the process die at the nth append from now, before or after it.
func (p *player) armCrash(n int, before, lose bool) {
	var calls atomic.Int64
	p.lose = lose
	p.fail.set(func(int) error {
		if p.dead.Load() || (calls.Add(1) == int64(n) && before) {
			p.dead.Store(true)
			return errCrash
		}
		return nil
	})
	p.failAfter.set(func(int) error {
		if calls.Load() >= int64(n) {
			p.dead.Store(true)
			return errCrash
		}
		return nil
	})
}

func (p *player) loseTable() {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(p.dir, "planner.db"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			panic(err)
		}
	}
}

// bury starts a new process where the old one has died.
func (p *player) bury() {
	if !p.dead.Load() {
		return
	}
	p.note("crash")
	p.restartAfter(func() {
		if p.lose {
			p.note("checkpoint 0")
			p.loseTable()
		}
	})
}

func (p *player) restartAfter(between func()) {
	p.kill()
	p.dead.Store(false)
	between()
	p.start()
}

// settle lets all come to rest.
func (p *player) settle() {
	p.bury()
	p.fail.Store(nil)
	p.failAfter.Store(nil)
	p.mood.Store(0)
	p.slow.Store(0)
	ask(p, commands.StartProcessor{})
	time.Sleep(2 * time.Minute) // what hangs comes back, circuits close
	synctest.Wait()
}

// playHistory plays a history in a bubble and tells what is wrong.
func playHistory(t *testing.T, history []step, watch func(seen map[string]bool, log []commands.Entry)) (err error) {
	dir, mkErr := os.MkdirTemp(t.TempDir(), "") //nolint:usetesting // a test plays many histories, and each leaves its folder
	if mkErr != nil {
		return mkErr
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Hour)
		p := &player{world: newWorld(t, dir), seen: map[string]bool{}, declined: map[string]bool{}}
		p.drain = 0
		p.wrap = func(s eventstore.Store) eventstore.Store { return held{s, p.delay} }
		p.email.answer, p.sms.answer = p.answer, p.answer
		p.texts = &ledger{scripted: p.sms, settled: 10 * time.Second}
		p.tune = func(all []channels.Registration) { all[1].Channel, all[1].HoldUnknown = p.texts, true }
		if history[0].b%3 == 0 {
			p.fallback = Fallback{Chain: []string{"sms", "email"}, After: 2 * time.Minute}
			p.note("chain")
		}
		time.Sleep(time.Until(noon))
		p.start()
		defer p.close()
		start := p.now().Add(6 * time.Minute)
		fields := aggregates.EventFields{
			Title: "T", Description: "D", CreatorID: "c", StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "UTC",
		}
		if seats := len(history) % 4; seats > 0 {
			fields.Capacity = &seats
		}
		ask(p, commands.ScheduleEvent{EventID: eventID, Fields: fields})
		p.play(step{"remind", 2, 0})
		for _, s := range history {
			p.play(s)
			p.bury()
		}
		p.settle()
		log := p.log()
		err = p.verify(log)
		if err == nil {
			err = p.verifyRebuild(log)
		}
		watch(p.seen, log)
	})
	return err
}
