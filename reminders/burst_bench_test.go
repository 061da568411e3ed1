package reminders

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/projections"
)

var (
	burst        = flag.Int("burst", 2000, "how many reminders BenchmarkBurst has due at once")
	burstProfile = flag.String("burst-cpuprofile", "", "file for the CPU profile of BenchmarkBurst from the clock's being set to the last SENT, without what comes before")
	burstOn      = flag.String("burst-on", "", "kind of server that has the planner's table in BenchmarkBurst: postgres or mysql; without it, planner.db")
)

const (
	burstAudience = 100                     // participants of one event
	burstLead     = 1500 * time.Millisecond // the sender looks at a clock that was set within a second
)

// BenchmarkBurst is reminders of many events that are all due at the same
// moment, through a channel that does nothing, with the embedded log and the
// read models behind it as in the service. A round of b.N is a burst on a log
// of its own: all is planned, then the clock is set to shortly before the due
// time. Lateness is that of the channel's call; SENT/s counts from the due time
// until the last SENT is on disk.
func BenchmarkBurst(b *testing.B) {
	var late []time.Duration
	var took, used time.Duration
	var appends, syncs uint64
	b.StopTimer()
	for range b.N {
		r := runBurst(b, *burst)
		late = append(late, r.late...)
		took += r.took
		used += r.used
		appends += r.appends
		syncs += r.syncs
	}
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(float64(len(late))/took.Seconds(), "SENT/s")
	b.ReportMetric(float64(used.Microseconds())/float64(len(late)), "cpu-µs/SENT")
	b.ReportMetric(ms(late[len(late)/2]), "late-p50-ms")
	b.ReportMetric(ms(late[len(late)*99/100]), "late-p99-ms")
	b.ReportMetric(ms(late[len(late)-1]), "late-max-ms")
	b.ReportMetric(float64(appends)/float64(syncs), "appends/sync")
	b.ReportMetric(0, "ns/op") // it would count the wait for the due time too
}

// bursted is what one burst came to.
type bursted struct {
	late           []time.Duration
	took           time.Duration // from the due time to the last SENT
	used           time.Duration // processor time of the whole process meanwhile
	appends, syncs uint64
}

func runBurst(b *testing.B, size int) (came bursted) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	dir, logger := b.TempDir(), slog.New(slog.DiscardHandler)
	ctx, end := context.WithCancel(context.Background())
	defer end()

	log, err := embedded.Open(ctx, dir, embedded.Options{Now: now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	store := &countingStore{Store: log, wanted: int64(size), all: make(chan struct{})}
	ring, err := keys.Open(ctx, dir)
	require.NoError(b, err)
	defer func() { require.NoError(b, ring.Close()) }()
	models, err := projections.Open(ctx, dir, projections.Options{Store: store, Keys: ring, Now: now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, models.Close()) }()
	idle := &idleChannel{now: now, calls: make([]idleCall, 0, size)}
	registered := []channels.Registration{{Name: "email", Kind: channels.Email, Channel: idle}}
	handler := commands.NewHandler(commands.Options{Store: store, Keys: ring, Now: now, PhoneRegion: "DE", Channels: Kinds(registered)})
	defer handler.Close()
	var database sqldb.Target
	if *burstOn != "" {
		database = sqldbtest.Fresh(b, sqldb.Kind(*burstOn))
	}
	r, err := New(Options{Commands: handler, Store: store, Models: models, Channels: registered, Dir: dir, Database: database, Now: now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()

	var running sync.WaitGroup
	stopped := make(chan error, 2)
	running.Go(func() { stopped <- models.Follow(ctx) })
	running.Go(func() { stopped <- r.Run(ctx, time.Minute) })
	defer running.Wait()
	defer end()

	due := now().Add(time.Hour).UTC().Truncate(time.Second)
	require.NoError(b, scheduleBurst(ctx, handler, due.Add(time.Minute), size))
	require.NoError(b, r.planned(ctx))
	last, err := log.End(ctx)
	require.NoError(b, err)
	require.NoError(b, models.WaitFor(ctx, last))
	require.Empty(b, idle.calls)

	if *burstProfile != "" {
		file, err := os.Create(*burstProfile)
		require.NoError(b, err)
		defer func() { require.NoError(b, file.Close()) }()
		require.NoError(b, pprof.StartCPUProfile(file))
		defer pprof.StopCPUProfile()
	}
	before, used := log.Stats(), processorTime()
	b.StartTimer()
	ahead.Add(int64(due.Add(-burstLead).Sub(now())))
	select {
	case <-store.all:
	case err := <-stopped:
		b.Fatal("it stopped under way: ", err)
	}
	b.StopTimer()
	came.took = now().Sub(due)
	came.used = processorTime() - used
	pprof.StopCPUProfile()
	after := log.Stats()
	came.appends, came.syncs = after.Appends-before.Appends, after.Syncs-before.Syncs

	end()
	running.Wait() // whatever is sent once more is in the log now
	came.late = checkBurst(b, log, ring, idle.calls, due, size)
	return came
}

// scheduleBurst makes events that start at the same time, each with a reminder
// a minute before, for size participants in all.
func scheduleBurst(ctx context.Context, h *commands.Handler, start time.Time, size int) error {
	minute := 1
	register, ctx := errgroup.WithContext(ctx)
	register.SetLimit(256)
	by := commands.Caller{Actor: "bench"}
	for first := 0; first < size; first += burstAudience {
		event := fmt.Sprint("e", first)
		_, err := commands.Do(ctx, h, commands.ScheduleEvent{EventID: event, Fields: aggregates.EventFields{
			Title: "Bell-ringing course", Description: "Rounds and call changes, for beginners", CreatorID: "bench",
			StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "Europe/Vienna", Location: "The tower",
		}}, by, nothing[*aggregates.Event])
		if err == nil {
			_, err = commands.Do(ctx, h, commands.AddReminder{
				EventID: event, ReminderID: "r-" + event, Fields: aggregates.ReminderFields{MinutesBefore: &minute},
			}, by, nothing[*aggregates.Event])
		}
		if err != nil {
			register.Go(func() error { return err })
			break
		}
		for i := first; i < min(first+burstAudience, size); i++ {
			register.Go(func() error {
				_, err := commands.Do(ctx, h, commands.RegisterParticipant{
					EventID: event, ParticipantID: fmt.Sprint("p", i), Contact: aggregates.ContactFields{
						UserID: fmt.Sprint("u", i), Name: fmt.Sprint("Ringer ", i), Email: fmt.Sprintf("ringer-%d@example.org", i),
					},
				}, by, nothing[*aggregates.Event])
				return err
			})
		}
	}
	return register.Wait()
}

// checkBurst holds the calls against the log: each reminder was due when it
// should be, was sent once and not before that, and nothing else was. It gives
// how late each call was.
func checkBurst(b *testing.B, log eventstore.Store, ring events.Keys, calls []idleCall, due time.Time, size int) (late []time.Duration) {
	scheduled, sent := make(map[string]time.Time, size), make(map[string]int, size)
	subscription, err := log.Subscribe(context.Background(), eventstore.Start)
	require.NoError(b, err)
	defer func() { require.NoError(b, subscription.Close()) }()
	for caughtUp := false; !caughtUp; {
		batch, err := subscription.Next(context.Background())
		require.NoError(b, err)
		caughtUp = batch.CaughtUp
		for _, record := range batch.Records {
			id, ok := strings.CutPrefix(record.Stream, "notification-")
			if !ok {
				continue
			}
			fact, err := events.Decode(ring, record.ID, record.Type, record.Data)
			require.NoError(b, err)
			switch fact := fact.(type) {
			case events.NotificationScheduled:
				scheduled[id] = fact.ScheduledTime
			case events.NotificationSent:
				sent[id]++
			case events.SendingStarted:
			default:
				b.Fatalf("%s is not of a burst that goes well", record.Type)
			}
		}
	}
	if len(scheduled) != size || len(sent) != size || len(calls) != size {
		b.Fatalf("%d were scheduled, %d sent, with %d calls; wanted %d", len(scheduled), len(sent), len(calls), size)
	}
	called := make(map[string]bool, size)
	for _, call := range calls {
		at, ok := scheduled[call.id]
		if !ok || !at.Equal(due) || called[call.id] || sent[call.id] != 1 {
			b.Fatalf("%s was scheduled for %v, called before: %t, sent %d times", call.id, at, called[call.id], sent[call.id])
		}
		called[call.id] = true
		if call.at.Before(at) {
			b.Fatalf("%s was sent %v early", call.id, at.Sub(call.at))
		}
		late = append(late, call.at.Sub(at))
	}
	return late
}

// countingStore tells when so many notifications are concluded on disk.
type countingStore struct {
	eventstore.Store
	wanted    int64
	concluded atomic.Int64
	all       chan struct{}
}

func (s *countingStore) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	position, err := s.Store.Append(ctx, stream, expected, records)
	if err != nil {
		return position, err
	}
	for _, r := range records {
		switch r.Type {
		case "NotificationSent", "NotificationFailed", "NotificationCancelled":
			if s.concluded.Add(1) == s.wanted {
				close(s.all)
			}
		}
	}
	return position, nil
}

// idleChannel takes everything at once and only notes when.
type idleChannel struct {
	now   func() time.Time
	mu    sync.Mutex
	calls []idleCall
}

type idleCall struct {
	id string
	at time.Time
}

func (c *idleChannel) Check(channels.Message) error { return nil }

func (c *idleChannel) Send(_ context.Context, m channels.Message) channels.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, idleCall{m.ID, c.now()})
	return channels.Result{Outcome: channels.Accepted, Ref: "ref"}
}
