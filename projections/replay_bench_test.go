package projections

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/load"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
)

// BenchmarkReplay builds read models from a log on disk that the real commands
// have written, with sealed names and addresses, beside a bare loop that inserts
// the same rows.
func BenchmarkReplay(b *testing.B) {
	dir, quiet := b.TempDir(), slog.New(slog.DiscardHandler)
	store, err := embedded.Open(bg, dir, embedded.Options{Logger: quiet})
	require.NoError(b, err)
	defer func() { require.NoError(b, store.Close()) }()
	ring, err := keys.Open(bg, dir)
	require.NoError(b, err)
	defer func() { require.NoError(b, ring.Close()) }()
	handler := commands.NewHandler(commands.Options{
		Store: store, Keys: ring, Now: time.Now, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress},
	})
	began := time.Now()
	facts, _, err := load.Fill(bg, load.Options{Commands: handler, Now: time.Now, Facts: int64(*benchFacts), Seed: 1})
	require.NoError(b, err)
	handler.Close()
	b.Logf("%d facts written in %s", facts, time.Since(began).Round(time.Millisecond))
	for _, kind := range sqldbtest.Kinds {
		b.Run(string(kind), func(b *testing.B) {
			o := Options{Store: store, Keys: ring, Logger: quiet, Target: sqldbtest.Fresh(b, kind)}
			var replayed, bare time.Duration
			for b.Loop() {
				m, err := Open(bg, b.TempDir(), o)
				require.NoError(b, err)
				began := time.Now()
				require.NoError(b, m.Rebuild(bg, unheard))
				replayed += time.Since(began)
				require.NoError(b, m.Close())
				m, err = Open(bg, b.TempDir(), o)
				require.NoError(b, err)
				bare += insertBare(b, m)
				require.NoError(b, m.Close())
			}
			n := float64(facts) * float64(b.N)
			b.ReportMetric(n/replayed.Seconds(), "facts/s")
			b.ReportMetric(n/bare.Seconds(), "bare-facts/s")
			b.ReportMetric(bare.Seconds()/replayed.Seconds(), "of-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}
