package esdb_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
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
	"github.com/belltower/belltower/eventstore/esdbserver"
	"github.com/belltower/belltower/internal/memstore"
)

// callers append at the same time, each to streams of its own.
const callers = 64

// BenchmarkAppend compares, in one run, appends of one fact of 550 bytes to the
// embedded log, to the same through EventStoreDB's protocol, and by the official
// client to a server that stores nothing, which no store can be faster than.
func BenchmarkAppend(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		log := benchLog(b)
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			_, err := log.Append(ctx, stream, expected, []eventstore.NewRecord{r})
			return err
		})
		reportSyncs(b, log)
	})
	b.Run("esdb", func(b *testing.B) {
		log := benchLog(b)
		server := esdbserver.New(esdbserver.Options{Store: log})
		store, err := esdb.Open(b.Context(), listening(b, server.Serve, server.Close), esdb.Options{Prefixes: []string{"event-"}})
		if err != nil {
			b.Fatal(err)
		}
		defer store.Close()
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			_, err := store.Append(ctx, stream, expected, []eventstore.NewRecord{r})
			return err
		})
		reportSyncs(b, log)
	})
	b.Run("ceiling", func(b *testing.B) {
		server := esdbserver.New(esdbserver.Options{Store: &forgetful{Store: memstore.New()}})
		config, err := client.ParseConnectionString(listening(b, server.Serve, server.Close))
		if err != nil {
			b.Fatal(err)
		}
		config.Logger = client.NoopLogging()
		db, err := client.NewClient(config)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		appendAll(b, func(ctx context.Context, stream string, expected int64, r eventstore.NewRecord) error {
			o := client.AppendToStreamOptions{ExpectedRevision: client.NoStream{}}
			if expected >= 0 {
				o.ExpectedRevision = client.Revision(uint64(expected))
			}
			_, err := db.AppendToStream(ctx, stream, o, client.EventData{EventID: r.ID, EventType: r.Type, ContentType: client.ContentTypeJson, Data: r.Data, Metadata: r.Metadata})
			return err
		})
	})
}

// reportSyncs reports how many appends shared a sync.
func reportSyncs(b *testing.B, log *embedded.Log) {
	s := log.Stats()
	b.ReportMetric(float64(s.Appends)/float64(s.Syncs), "appends/sync")
}

func benchLog(b *testing.B) *embedded.Log {
	log, err := embedded.Open(b.Context(), b.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	return log
}

// listening serves on a free port until the end, and gives its connection string.
func listening(b *testing.B, serve func(net.Listener) error, end func()) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = serve(listener) }()
	b.Cleanup(end)
	return "esdb://" + listener.Addr().String() + "?tls=false"
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

// forgetful takes every append and keeps nothing.
type forgetful struct {
	eventstore.Store // empty
	position         atomic.Uint64
}

func (f *forgetful) Append(context.Context, string, int64, []eventstore.NewRecord) (eventstore.Position, error) {
	p := f.position.Add(1)
	return eventstore.Position{Commit: p, Prepare: p}, nil
}
