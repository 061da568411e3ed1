package writeback

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// BenchmarkSyncBeside is how long a sync of one file takes while rows are placed in a
// database on the same disk at random, under SQLite's own VFS and under this one.
func BenchmarkSyncBeside(b *testing.B) {
	for _, vfs := range []string{"unix", VFS()} {
		b.Run(vfs, func(b *testing.B) {
			db := openDB(b, vfs, 1000)
			log, err := os.Create(filepath.Join(b.TempDir(), "log"))
			require.NoError(b, err)
			_, err = log.Write(make([]byte, 8<<20))
			require.NoError(b, errors.Join(err, log.Sync()))

			done := make(chan struct{})
			rows := 0
			var placing sync.WaitGroup
			placing.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					tx, err := db.Begin()
					for range 200 {
						if err == nil {
							_, err = tx.Exec("INSERT OR REPLACE INTO t VALUES (?, zeroblob(1000))", rand.IntN(100_000))
						}
					}
					if err != nil || tx.Commit() != nil {
						b.Error("place rows", err)
						return
					}
					rows += 200
				}
			})
			began := time.Now()
			var took []time.Duration
			record := make([]byte, 16<<10)
			for i := 0; b.Loop(); i++ {
				_, err := log.WriteAt(record, int64(i%512)*int64(len(record)))
				at := time.Now()
				require.NoError(b, errors.Join(err, unix.Fdatasync(int(log.Fd()))))
				took = append(took, time.Since(at))
				time.Sleep(2 * time.Millisecond)
			}
			all := time.Since(began)
			close(done)
			placing.Wait()
			require.NoError(b, log.Close())
			slices.Sort(took)
			ms := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
			b.ReportMetric(ms(0.5), "p50-ms")
			b.ReportMetric(ms(0.99), "p99-ms")
			b.ReportMetric(ms(1), "max-ms")
			b.ReportMetric(float64(rows)/all.Seconds(), "rows/s")
		})
	}
}
