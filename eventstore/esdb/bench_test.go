package esdb_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdb"
)

// callers append at the same time, each to streams of its own.
const callers = 64

// BenchmarkAppend compares, in one run, appends of one fact of 550 bytes to the
// embedded log, to the same through EventStoreDB's protocol, and by the official
// client to a server that stores nothing, which no store can be faster than.
func BenchmarkAppend(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		log, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		defer log.Close()
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			_, err := log.Append(ctx, stream, expected, []eventstore.NewRecord{r})
			return err
		})
		s := log.Stats()
		b.ReportMetric(float64(s.Appends)/float64(s.Syncs), "appends/sync")
	})
	b.Run("esdb", func(b *testing.B) {
		at, end := benchServer(b, b.TempDir())
		store, err := esdb.Open(b.Context(), at, esdb.Options{Prefixes: []string{"event-"}})
		if err != nil {
			b.Fatal(err)
		}
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			_, err := store.Append(ctx, stream, expected, []eventstore.NewRecord{r})
			return err
		})
		_ = store.Close()
		said, cpu := end()
		reportServer(b, cpu)
		shared, err := strconv.ParseFloat(said, 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(shared, "appends/sync")
	})
	b.Run("ceiling", func(b *testing.B) {
		at, end := benchServer(b, nothing)
		config, err := client.ParseConnectionString(at)
		if err != nil {
			b.Fatal(err)
		}
		config.Logger = client.NoopLogging()
		db, err := client.NewClient(config)
		if err != nil {
			b.Fatal(err)
		}
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			o := client.AppendToStreamOptions{ExpectedRevision: client.NoStream{}}
			if expected >= 0 {
				o.ExpectedRevision = client.Revision(uint64(expected))
			}
			_, err := db.AppendToStream(ctx, stream, o, client.EventData{EventID: r.ID, EventType: r.Type, ContentType: client.ContentTypeJson, Data: r.Data, Metadata: r.Metadata})
			return err
		})
		_ = db.Close()
		_, cpu := end()
		reportServer(b, cpu)
	})
}

// reportServer reports the server's CPU time for an append, its start and end included.
func reportServer(b *testing.B, cpu time.Duration) {
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "server-µs/append")
}

func appendAll(b *testing.B, appendOne func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error) {
	data := fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("x", 350))
	metadata := fmt.Appendf(nil, `{"actor":"bench","$correlationId":%q,"occurred_at":"2026-01-01T00:00:00Z","more":%q}`, uuid.New(), strings.Repeat("y", 40))
	var left atomic.Int64
	left.Store(int64(b.N))
	var g errgroup.Group
	b.ResetTimer()
	for range callers {
		g.Go(func() error {
			for left.Load() > 0 {
				stream := "event-" + uuid.NewString()
				for n := int64(0); n < 20 && left.Add(-1) >= 0; n++ {
					if err := appendOne(b.Context(), stream, n-1, eventstore.NewRecord{ID: uuid.New(), Type: "ParticipantRegistered", Data: data, Metadata: metadata}); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}
