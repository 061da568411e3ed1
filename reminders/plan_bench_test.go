package reminders

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
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

// BenchmarkPlan is one event with many participants, on disk: a reminder is
// added, then the event moves. While it is planned, small events are planned
// too: other-ms is how long the slowest of them waited.
func BenchmarkPlan(b *testing.B) {
	ctx, end := context.WithCancel(context.Background())
	dir, logger := b.TempDir(), slog.New(slog.DiscardHandler)
	log, err := embedded.Open(ctx, dir, embedded.Options{Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	ring, err := keys.Open(ctx, dir)
	require.NoError(b, err)
	defer func() { require.NoError(b, ring.Close()) }()
	registered := []channels.Registration{{Name: "email", Kind: channels.Email, Channel: &scripted{}}}
	handler := commands.NewHandler(commands.Options{Store: log, Keys: ring, Now: time.Now, Channels: Kinds(registered)})
	defer handler.Close()
	r, err := New(Options{Commands: handler, Store: log, Channels: registered, Dir: dir, Now: time.Now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	var running sync.WaitGroup
	running.Go(func() { require.NoError(b, r.Run(ctx, time.Minute)) })
	defer running.Wait()
	defer end()

	start := time.Now().Add(48 * time.Hour)
	schedule := func(id string) {
		_, err := commands.Do(ctx, handler, commands.ScheduleEvent{EventID: id, Fields: aggregates.EventFields{
			Title: id, Description: id, CreatorID: "c", StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "UTC",
		}}, system(id), nothing[*aggregates.Event])
		require.NoError(b, err)
	}
	join := func(event, id string) error {
		_, err := commands.Do(ctx, handler, commands.RegisterParticipant{EventID: event, ParticipantID: id, Contact: contactOf(id)}, system(id), nothing[*aggregates.Event])
		return err
	}
	remind := func(event string) {
		_, err := commands.Do(ctx, handler, commands.AddReminder{EventID: event, ReminderID: "r-" + event}, system(event), nothing[*aggregates.Event])
		require.NoError(b, err)
	}
	small := 0
	// planned waits until all is planned, and plans small events meanwhile.
	planned := func() (took, slowest time.Duration) {
		began, done := time.Now(), make(chan error, 1)
		go func() { done <- r.planned(ctx) }()
		for {
			select {
			case err := <-done:
				require.NoError(b, err)
				return time.Since(began), slowest
			case <-time.After(20 * time.Millisecond):
			}
			small++
			id := fmt.Sprint("small-", small)
			schedule(id)
			require.NoError(b, join(id, id+"-p"))
			asked := time.Now()
			remind(id)
			for n := 0; n == 0; time.Sleep(time.Millisecond) {
				open, err := r.table.openOf(ctx, id, id+"-p")
				require.NoError(b, err)
				n = len(open)
			}
			slowest = max(slowest, time.Since(asked))
		}
	}
	var adding, moving, other time.Duration
	for round := range b.N {
		event := fmt.Sprint("large-", round)
		schedule(event)
		var callers errgroup.Group
		callers.SetLimit(256)
		for i := range *roster {
			callers.Go(func() error { return join(event, fmt.Sprint(event, "-", i)) })
		}
		require.NoError(b, callers.Wait())
		require.NoError(b, r.planned(ctx))

		remind(event)
		took, slowest := planned()
		adding, other = adding+took, max(other, slowest)
		_, err := commands.Do(ctx, handler, commands.ChangeEvent{EventID: event, Patch: aggregates.EventPatch{
			StartTime: aggregates.Patch[time.Time]{Given: true, Value: start.Add(time.Minute)},
		}}, system(event), nothing[*aggregates.Event])
		require.NoError(b, err)
		took, slowest = planned()
		moving, other = moving+took, max(other, slowest)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	all := float64(b.N * *roster)
	b.ReportMetric(all/adding.Seconds(), "scheduled/s")
	b.ReportMetric(all/moving.Seconds(), "moved/s")
	b.ReportMetric(float64(other.Milliseconds()), "other-ms")
	b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(0, "ns/op")
}
