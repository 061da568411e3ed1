package reminders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/projections"
)

// world is Belltower without its edges, over a log in memory, by a clock that
// can be set. It is used within a synctest bubble.
type world struct {
	t         testing.TB
	store     *memstore.Store
	present   atomic.Pointer[memstore.Store]          // store, for calls of providers that outlive a kill
	wrap      func(eventstore.Store) eventstore.Store // what the parts see of the store
	ring      *keys.Ring
	dir       string
	offset    atomic.Int64 // of the clock
	looks     atomic.Int64 // at the clock
	email     *scripted
	sms       *scripted
	push      *scripted
	tune      func([]channels.Registration)
	more      []channels.Registration // behind those
	audited   bool
	fallback  Fallback
	leader    Leader
	drain     time.Duration
	fail      hook // before an append
	failAfter hook
	logged    *lines

	handler *commands.Handler
	r       *Reminders
	models  *projections.Models
	end     context.CancelFunc
	running sync.WaitGroup
}

// noon is some time after a bubble's clock begins.
var noon = time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)

// inWorld runs test in a bubble, at noon, with everything running.
func inWorld(t *testing.T, test func(*testing.T, *world), before ...func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		for _, change := range before {
			change(w)
		}
		time.Sleep(time.Until(noon))
		w.start()
		defer time.Sleep(24 * time.Hour) // what hangs comes back
		defer w.close()
		test(t, w)
	})
}

func newWorld(t testing.TB, dir string) *world {
	w := &world{
		t: t, store: memstore.New(), ring: keys.InMemory(), dir: dir, logged: &lines{}, drain: 10 * time.Second,
		email: &scripted{}, sms: &scripted{}, push: &scripted{},
		tune: func([]channels.Registration) {}, wrap: func(s eventstore.Store) eventstore.Store { return s },
	}
	w.adopt(w.store)
	return w
}

// adopt makes a store ours.
func (w *world) adopt(s *memstore.Store) {
	hook := func(h *hook) func(int) error {
		return func(n int) error {
			if f := h.Load(); f != nil {
				return (*f)(n)
			}
			return nil
		}
	}
	s.Now, s.Fail, s.FailAfter = w.now, hook(&w.fail), hook(&w.failAfter)
	w.store = s
	w.present.Store(s)
}

// hook is a memstore hook that can be exchanged at any time.
type hook struct {
	atomic.Pointer[func(int) error]
}

func (h *hook) set(f func(n int) error) { h.Store(&f) }

func (w *world) now() time.Time {
	w.looks.Add(1)
	return time.Now().Add(time.Duration(w.offset.Load())).UTC()
}

func (w *world) registrations() []channels.Registration {
	all := []channels.Registration{
		{Name: "email", Kind: channels.Email, Channel: w.email, Timeout: 5 * time.Second},
		{Name: "sms", Kind: channels.Phone, Channel: w.sms, Timeout: 5 * time.Second},
		{Name: "push", Kind: channels.Push, Channel: w.push, Timeout: 5 * time.Second},
	}
	w.tune(all)
	return append(all, w.more...)
}

// emailBy changes who carries e-mail, beside what was changed before.
func emailBy(change func(*channels.Registration)) func(*world) {
	return func(w *world) {
		before := w.tune
		w.tune = func(all []channels.Registration) {
			before(all)
			change(&all[0])
		}
	}
}

// start opens everything and runs it.
func (w *world) start() {
	registered := w.registrations()
	seen := w.wrap(w.store)
	w.handler = commands.NewHandler(commands.Options{Store: seen, Keys: w.ring, Now: w.now, PhoneRegion: "DE", Channels: Kinds(registered)})
	logger := slog.New(slog.NewTextHandler(w.logged, nil))
	ctx, end := context.WithCancel(context.Background())
	w.end = end
	if w.audited {
		models, err := projections.Open(ctx, w.dir, projections.Options{Store: seen, Keys: w.ring, Now: w.now, Logger: slog.New(slog.DiscardHandler)})
		w.check(err)
		w.models = models
		w.running.Go(func() { _ = models.Follow(ctx) })
	}
	r, err := New(Options{
		Commands: w.handler, Store: seen, Models: w.models, Channels: registered, Fallback: w.fallback, Leader: w.leader, Dir: w.dir, Now: w.now, Logger: logger,
		OptOut: func(event, participant string) string { return "https://x.org/" + event + "/" + participant },
	})
	w.check(err)
	w.r = r
	w.running.Go(func() {
		if err := r.Run(ctx, w.drain); err != nil && ctx.Err() == nil && !errors.Is(err, eventstore.ErrClosed) {
			panic(err)
		}
	})
}

func (w *world) check(err error) {
	if err != nil {
		panic(err)
	}
}

// stop ends everything in good order.
func (w *world) stop() {
	w.end()
	w.running.Wait()
	w.handler.Close()
	w.check(w.r.Close())
	if w.models != nil {
		w.check(w.models.Close())
		w.models = nil
	}
}

// kill ends everything as if the process had died: nothing more is appended.
func (w *world) kill() {
	w.fail.Store(nil)
	w.failAfter.Store(nil)
	w.adopt(w.store.Reopen())
	w.r.ended.Store(true)
	w.stop()
}

func (w *world) close() {
	w.stop()
	w.check(w.ring.Close())
}

func (w *world) restart() {
	w.stop()
	w.start()
}

// do asks for a change that has to succeed.
func do[T any, S commands.State[T]](w *world, c commands.Command[S]) commands.Answer[struct{}] {
	w.t.Helper()
	answer, err := try(w, c)
	require.NoError(w.t, err)
	return answer
}

func try[T any, S commands.State[T]](w *world, c commands.Command[S]) (commands.Answer[struct{}], error) {
	return commands.Do(context.Background(), w.handler, c, commands.Caller{Actor: "test"}, nothing[S])
}

const eventID = "e"

// event schedules the event e, which starts so long after now.
func (w *world) event(in time.Duration, capacity int) {
	w.t.Helper()
	f := aggregates.EventFields{
		Title: "Concert", Description: "Loud", CreatorID: "admin", StartTime: w.now().Add(in), EndTime: w.now().Add(in + time.Hour), TimeZone: "UTC",
	}
	if capacity > 0 {
		f.Capacity = &capacity
	}
	do(w, commands.ScheduleEvent{EventID: eventID, Fields: f})
}

func (w *world) register(id string) {
	w.t.Helper()
	do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: contactOf(id)})
}

func contactOf(id string) aggregates.ContactFields {
	return aggregates.ContactFields{UserID: "u-" + id, Name: id, Email: id + "@x.org"}
}

func (w *world) reminder(id string, minutes int) {
	w.t.Helper()
	do(w, commands.AddReminder{EventID: eventID, ReminderID: id, Fields: aggregates.ReminderFields{MinutesBefore: &minutes}})
}

func (w *world) move(in time.Duration) error {
	w.t.Helper()
	start := w.now().Add(in)
	_, err := try(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{
		StartTime: aggregates.Patch[time.Time]{Given: true, Value: start}, EndTime: aggregates.Patch[time.Time]{Given: true, Value: start.Add(time.Hour)},
	}})
	return err
}

// notifications folds all notification streams, by id.
func (w *world) notifications() map[string]*aggregates.Notification {
	all := map[string]*aggregates.Notification{}
	for _, entry := range w.log() {
		id, ok := strings.CutPrefix(entry.Record.Stream, "notification-")
		if !ok {
			continue
		}
		if all[id] == nil {
			all[id] = &aggregates.Notification{}
		}
		all[id].Evolve(entry.Fact, aggregates.Stamp{Revision: entry.Record.Revision, At: entry.Metadata.OccurredAt})
	}
	return all
}

// only gives the one notification there is.
func (w *world) only() *aggregates.Notification {
	w.t.Helper()
	all := w.notifications()
	require.Len(w.t, all, 1)
	for _, n := range all {
		return n
	}
	return nil
}

// log decodes all there is.
func (w *world) log() (all []commands.Entry) {
	subscription, err := w.store.Subscribe(context.Background(), eventstore.Start)
	w.check(err)
	for {
		b, err := subscription.Next(context.Background())
		w.check(err)
		for _, r := range b.Records {
			var m events.Metadata
			w.check(json.Unmarshal(r.Metadata, &m))
			f, err := events.Decode(w.ring, r.ID, r.Type, r.Data)
			w.check(err)
			all = append(all, commands.Entry{Record: r, Fact: f, Metadata: m})
		}
		if b.CaughtUp {
			return all
		}
	}
}

// statuses counts notifications by status.
func (w *world) statuses() map[aggregates.NotificationStatus]int {
	counts := map[aggregates.NotificationStatus]int{}
	for _, n := range w.notifications() {
		counts[n.Status]++
	}
	return counts
}

// at sleeps until so long after noon, by the bubble's clock.
func at(d time.Duration) {
	time.Sleep(time.Until(noon.Add(d)))
	synctest.Wait()
}

// delivery is a message that a channel was given.
type delivery struct {
	at time.Time
	channels.Message
}

// scripted is a channel that answers as it is told.
type scripted struct {
	// answer, where set, is asked for the nth message, counted from 1.
	answer func(ctx context.Context, m channels.Message, n int) channels.Result

	mu       sync.Mutex
	given    []delivery
	now, top int // under way, and the most there were
}

func (c *scripted) Check(m channels.Message) error {
	if m.To == "" {
		return errors.New("no address")
	}
	return nil
}

func (c *scripted) Send(ctx context.Context, m channels.Message) channels.Result {
	c.mu.Lock()
	c.given = append(c.given, delivery{time.Now().UTC(), m})
	n := len(c.given)
	c.now++
	c.top = max(c.top, c.now)
	answer := c.answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now--
	}()
	if answer == nil {
		return accepted(n)
	}
	return answer(ctx, m, n)
}

func accepted(n int) channels.Result {
	return channels.Result{Outcome: channels.Accepted, Ref: fmt.Sprint("ref-", n)}
}

func (c *scripted) setAnswer(answer func(context.Context, channels.Message, int) channels.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *scripted) deliveries() []delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]delivery{}, c.given...)
}

func (c *scripted) times() (since []time.Duration) {
	for _, d := range c.deliveries() {
		since = append(since, d.at.Sub(noon))
	}
	return since
}

// always answers with one result.
func always(r channels.Result) func(context.Context, channels.Message, int) channels.Result {
	return func(context.Context, channels.Message, int) channels.Result { return r }
}

// lines is a log that can be searched.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
