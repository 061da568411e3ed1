package commands

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

// BenchmarkRegister is registrations on one event by 64 callers, on disk: with
// waiting commands taken together, and each as a write of its own.
func BenchmarkRegister(b *testing.B) {
	for name, batch := range map[string]int{"together": maxWriteFacts, "one by one": 1} {
		b.Run(name, func(b *testing.B) {
			ctx, dir := context.Background(), b.TempDir()
			log, err := embedded.Open(ctx, dir, embedded.Options{})
			require.NoError(b, err)
			defer func() { require.NoError(b, log.Close()) }()
			ring, err := keys.Open(ctx, dir)
			require.NoError(b, err)
			defer func() { require.NoError(b, ring.Close()) }()
			w := worldOver(b, &spy{Store: log}, nil, ring)
			w.Handler.batch = batch
			w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
			before := log.Stats()

			var next atomic.Int64
			var callers sync.WaitGroup
			b.ResetTimer()
			for range 64 {
				callers.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if _, err := ask(w.Handler, register(fmt.Sprint("p", n)), alice); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
			b.StopTimer()
			after := log.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
			b.ReportMetric(float64(b.N)/float64(after.Syncs-before.Syncs), "registrations/sync")
			w.Close()
		})
	}
}
