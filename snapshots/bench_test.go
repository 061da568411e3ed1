package snapshots_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/snapshots"
)

var roster = flag.Int("roster", 3000, "how many participants the event of BenchmarkColdStart has")

// BenchmarkColdStart is the first command on an event with many participants in a
// process that has just begun, with snapshots and without; then what each
// registration takes while the state is warm, and what it costs in memory and on disk.
func BenchmarkColdStart(b *testing.B) {
	ctx, dir := context.Background(), b.TempDir()
	log, err := embedded.Open(ctx, dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	file := filepath.Join(dir, snapshots.FileName)
	begin := func(with bool) (h *commands.Handler, end func()) {
		ring, err := keys.Open(ctx, dir)
		require.NoError(b, err)
		o := commands.Options{Store: log, Keys: ring, Now: time.Now, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress}}
		store := (*snapshots.Store)(nil)
		if with {
			store, err = snapshots.Open(ctx, sqldb.File(file), "", slog.New(slog.DiscardHandler))
			require.NoError(b, err)
			o.Snapshots = store
		}
		h = commands.NewHandler(o)
		return h, func() {
			h.Close()
			require.NoError(b, ring.Close())
			if store != nil {
				require.NoError(b, store.Close())
			}
		}
	}
	do := func(h *commands.Handler, cmd commands.Command[*aggregates.Event], by commands.Caller) time.Duration {
		began := time.Now()
		_, err := commands.Do(ctx, h, cmd, by, func(*aggregates.Event, time.Time) int { return 0 })
		for errors.Is(err, eventstore.ErrUnavailable) { // a busy machine reads it all in several goes
			_, err = commands.Do(ctx, h, cmd, by, func(*aggregates.Event, time.Time) int { return 0 })
		}
		require.NoError(b, err)
		return time.Since(began)
	}
	event, by := uuid.NewString(), commands.Caller{Actor: "ann"}
	register := func(n int64) commands.RegisterParticipant {
		name := fmt.Sprint("user-", n)
		return commands.RegisterParticipant{EventID: event, ParticipantID: uuid.NewString(), Contact: aggregates.ContactFields{UserID: name, Name: name, Email: name + "@example.org", TimeZone: "Europe/Berlin"}}
	}

	h, end := begin(true)
	start := time.Now().Add(48 * time.Hour)
	do(h, commands.ScheduleEvent{EventID: event, Fields: aggregates.EventFields{
		Title: "Large", Description: "Large", CreatorID: "c", StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "UTC",
	}}, by)
	var next atomic.Int64
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for n := next.Add(1); n <= int64(*roster); n = next.Add(1) {
				keyed := by
				keyed.Key = &commands.Key{Route: "POST", Value: fmt.Sprint(n), Body: []byte("{}")}
				do(h, register(n), keyed)
			}
		})
	}
	callers.Wait()
	var took []time.Duration
	for range 200 {
		took = append(took, do(h, register(next.Add(1)), by))
	}
	slices.Sort(took)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	end()
	h = nil
	runtime.GC()
	runtime.ReadMemStats(&before)
	cold := func(with bool) float64 {
		least := time.Hour
		for range 3 {
			h, end := begin(with)
			least = min(least, do(h, register(next.Add(1)), by))
			end()
		}
		return least.Seconds() * 1000
	}
	b.ReportMetric(cold(true), "cold-ms")
	b.ReportMetric(cold(false), "cold-without-ms")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "warm-p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "warm-p99-ms")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(*roster), "heap-B/participant")

	db, err := sqldb.Open(ctx, sqldb.File(file), sqldb.Options{})
	require.NoError(b, err)
	var size, heads int
	require.NoError(b, db.QueryRowContext(ctx, "SELECT (SELECT sum(length(data)) FROM snapshots1_parts), (SELECT count(*) FROM snapshots1_snapshots)").Scan(&size, &heads))
	require.NoError(b, db.Close())
	b.ReportMetric(float64(size)/float64(*roster), "disk-B/participant")
	b.ReportMetric(float64(heads), "snapshots")
	b.ReportMetric(0, "ns/op")
}
