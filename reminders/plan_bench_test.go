package reminders

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

var roster = flag.Int("roster", 2000, "how many participants the event of BenchmarkPlan has")

// small plans and sends small events one after another, and keeps how long each waited.
type small struct {
	b       *testing.B
	handler *commands.Handler
	r       *Reminders
	start   time.Time
	n       int
	sent    sync.Map // event → chan time.Time
	phase   string
	ask     map[string]*waits        // until an event is scheduled
	plan    map[string]*waits        // until the reminder is planned
	send    map[string]*waits        // until the announcement, due at once, is at the provider
	used    map[string]time.Duration // of the processors, by this process, in each phase
}

// waits are how long something took each time: by the clock, and in processor time that this
// process used meanwhile, for whatever. Other processes that are busy change only the first.
type waits struct{ clock, processors []time.Duration }

func timed(of map[string]*waits, phase string, do func()) {
	began, used := time.Now(), processorTime()
	do()
	w := of[phase]
	if w == nil {
		w = &waits{}
		of[phase] = w
	}
	w.clock, w.processors = append(w.clock, time.Since(began)), append(w.processors, processorTime()-used)
}

func (w *waits) String() string {
	at := func(d []time.Duration, share float64) float64 {
		slices.Sort(d)
		return float64(d[min(len(d)-1, int(share*float64(len(d))))].Microseconds()) / 1000
	}
	return fmt.Sprintf("%6.1f %6.1f (%5.1f %5.1f)", at(w.clock, .5), at(w.clock, .99), at(w.processors, .5), at(w.processors, .99))
}

func (s *small) do(c commands.Command[*aggregates.Event]) {
	_, err := commands.Do(context.Background(), s.handler, c, system(c.Stream()), nothing[*aggregates.Event])
	require.NoError(s.b, err)
}

func (s *small) schedule(id string) {
	s.do(commands.ScheduleEvent{EventID: id, Fields: aggregates.EventFields{
		Title: id, Description: id, CreatorID: "c", StartTime: s.start, EndTime: s.start.Add(time.Hour), TimeZone: "UTC",
	}})
}

// deliver is the channel's.
func (s *small) deliver(m channels.Message) {
	if at, ok := s.sent.Load(m.Event.UID); ok {
		at.(chan time.Time) <- time.Now()
	}
}

// one has a small event planned, and sent to.
func (s *small) one() {
	s.n++
	id := fmt.Sprint("small-", s.n)
	at := make(chan time.Time, 1)
	s.sent.Store(id, at)
	defer s.sent.Delete(id)
	timed(s.ask, s.phase, func() { s.schedule(id) })
	s.do(commands.RegisterParticipant{EventID: id, ParticipantID: id + "-p", Contact: contactOf(id)})
	timed(s.plan, s.phase, func() {
		s.do(commands.AddReminder{EventID: id, ReminderID: "r-" + id})
		for n := 0; n == 0; time.Sleep(200 * time.Microsecond) {
			open, err := s.r.table.openOf(context.Background(), id, id+"-p")
			require.NoError(s.b, err)
			n = len(open)
		}
	})
	timed(s.send, s.phase, func() {
		s.do(commands.Announce{EventID: id, AnnouncementID: "a-" + id, Fields: aggregates.AnnouncementFields{Message: "Hi"}})
		<-at
	})
}

// during takes a phase's time, and has small events planned and sent to until it ends.
func (s *small) during(phase string, work func() error) time.Duration {
	s.phase = phase
	used := processorTime()
	defer func() { s.used[phase] += processorTime() - used }()
	began, done := time.Now(), make(chan error, 1)
	go func() { done <- work() }()
	for {
		s.one()
		select {
		case err := <-done:
			require.NoError(s.b, err)
			return time.Since(began)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *small) report(phase string) {
	s.b.Logf("%-9s others, ms, p50 and p99, and processor time: scheduled %v, planned %v, sent %v; %d of them; processor time in all %v",
		phase, s.ask[phase], s.plan[phase], s.send[phase], len(s.ask[phase].clock), s.used[phase].Round(time.Millisecond))
}

// BenchmarkPlan is one event with many participants, on disk: they register, a
// reminder is added, the event moves, an announcement is made and sent, and it is deleted. Meanwhile
// small events are planned and sent to, as they are alone before.
func BenchmarkPlan(b *testing.B) {
	ctx, end := context.WithCancel(context.Background())
	dir, logger := b.TempDir(), slog.New(slog.DiscardHandler)
	log, err := embedded.Open(ctx, dir, embedded.Options{Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	ring, err := keys.Open(ctx, dir)
	require.NoError(b, err)
	defer func() { require.NoError(b, ring.Close()) }()
	s := &small{b: b, start: time.Now().Add(48 * time.Hour), ask: map[string]*waits{}, plan: map[string]*waits{}, send: map[string]*waits{}, used: map[string]time.Duration{}}
	channel := &scripted{}
	channel.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
		s.deliver(m)
		return accepted(n)
	})
	registered := []channels.Registration{{Name: "email", Kind: channels.Email, Channel: channel}}
	s.handler = commands.NewHandler(commands.Options{Store: log, Keys: ring, Now: time.Now, Channels: Kinds(registered)})
	defer s.handler.Close()
	s.r, err = New(Options{Commands: s.handler, Store: log, Channels: registered, Dir: dir, Now: time.Now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, s.r.Close()) }()
	var running sync.WaitGroup
	running.Go(func() { require.NoError(b, s.r.Run(ctx, time.Minute)) })
	defer running.Wait()
	defer end()
	planned := func() error { return s.r.planned(ctx) }

	took := map[string]time.Duration{}
	for round := range b.N {
		event := fmt.Sprint("large-", round)
		s.during("alone", func() error { time.Sleep(2 * time.Second); return nil })
		s.schedule(event)
		took["register"] += s.during("register", func() error {
			var callers errgroup.Group
			callers.SetLimit(64)
			for i := range *roster {
				callers.Go(func() error {
					id := fmt.Sprint(event, "-", i)
					_, err := commands.Do(ctx, s.handler, commands.RegisterParticipant{EventID: event, ParticipantID: id, Contact: contactOf(id)}, system(id), nothing[*aggregates.Event])
					return err
				})
			}
			return errors.Join(callers.Wait(), planned())
		})
		took["plan"] += s.during("plan", func() error {
			s.do(commands.AddReminder{EventID: event, ReminderID: "r-" + event})
			return planned()
		})
		took["move"] += s.during("move", func() error {
			s.do(commands.ChangeEvent{EventID: event, Patch: aggregates.EventPatch{
				StartTime: aggregates.Patch[time.Time]{Given: true, Value: s.start.Add(time.Minute)},
			}})
			return planned()
		})
		took["announce"] += s.during("announce", func() error {
			s.do(commands.Announce{EventID: event, AnnouncementID: "a-" + event, Fields: aggregates.AnnouncementFields{Message: "Hi"}})
			if err := planned(); err != nil {
				return err
			}
			_, err := s.r.SendDue(ctx)
			return err
		})
		took["delete"] += s.during("delete", func() error {
			s.do(commands.DeleteEvent{EventID: event})
			return planned()
		})
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	s.report("alone")
	for _, phase := range []string{"register", "plan", "move", "announce", "delete"} {
		s.report(phase)
		b.ReportMetric(float64(b.N**roster)/took[phase].Seconds(), phase+"/s")
	}
	b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(0, "ns/op")
}
