package projections

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

var (
	benchFacts = flag.Int("bench-facts", 20_000, "how many facts BenchmarkReplay replays")
	benchRate  = flag.Int("bench-rate", 1000, "how many facts a second BenchmarkLive appends")
	benchTime  = flag.Duration("bench-live", 3*time.Second, "how long BenchmarkLive appends")
)

// insertBare inserts the rows that m has into another generation with all indexes,
// one after another, 4,096 in a transaction.
func insertBare(b *testing.B, m *Models) (took time.Duration) {
	type one struct {
		query  string
		values []any
	}
	var rows []one
	for _, s := range shapes {
		columns := len(s.columns)
		query := "INSERT INTO " + s.table + " VALUES " + sqldb.Values(1, columns)
		require.NoError(b, m.writer.rows(func(row scanner) error {
			values, into := make([]any, columns), make([]any, columns)
			for i := range values {
				into[i] = &values[i]
			}
			err := row.Scan(into...)
			for i, v := range values {
				if text, ok := v.([]byte); ok {
					values[i] = string(text)
				}
			}
			rows = append(rows, one{query, values})
			return err
		}, "SELECT "+listOf(s)+" FROM "+s.table))
	}
	builder, err := m.database.build(bg, true) // its indexes are there from the start
	require.NoError(b, err)
	for part := range slices.Chunk(rows, 4096) {
		began := time.Now()
		require.NoError(b, builder.w.transact(func() error {
			for _, r := range part {
				if _, err := builder.w.exec(r.query, r.values...); err != nil {
					return err
				}
			}
			return nil
		}))
		took += time.Since(began)
	}
	generation := builder.Generation()
	require.NoError(b, builder.Close())
	require.NoError(b, m.database.Drop(bg, generation))
	return took
}

func listOf(s shape) string {
	out := ""
	for i, c := range s.columns {
		if i > 0 {
			out += ", "
		}
		out += c
	}
	return out
}

// BenchmarkLive appends facts at a steady rate, and measures for each append how
// long after it the rows show it.
func BenchmarkLive(b *testing.B) {
	for _, kind := range sqldbtest.Kinds {
		b.Run(string(kind), func(b *testing.B) {
			w := newWorld(b)
			w.target = sqldbtest.Fresh(b, kind)
			m := w.open(b.TempDir())
			defer m.Close()
			ctx, cancel := context.WithCancel(bg)
			var following sync.WaitGroup
			following.Go(func() { _ = m.Follow(ctx) })
			w.event("e", meeting("e"))
			w.shown(m)
			var lags []time.Duration
			for b.Loop() {
				lags = append(lags, w.live(b, m)...)
			}
			cancel()
			following.Wait()
			slices.Sort(lags)
			b.ReportMetric(float64(lags[len(lags)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (w *world) live(b *testing.B, m *Models) []time.Duration {
	n := int(benchTime.Seconds() * float64(*benchRate))
	type append struct {
		at eventstore.Position
		of time.Time
	}
	appended := make(chan append, n)
	lags := make([]time.Duration, 0, n)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for a := range appended {
			if m.WaitFor(bg, a.at) == nil {
				lags = slices.Insert(lags, len(lags), time.Since(a.of))
			}
		}
	})
	began := time.Now()
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(*benchRate))))
		id := fmt.Sprintf("%d-%d", len(w.revision), i)
		p := w.event("e", guest("e", id))
		appended <- append{p, time.Now()}
	}
	close(appended)
	waiting.Wait()
	require.Len(b, lags, n)
	return lags
}
