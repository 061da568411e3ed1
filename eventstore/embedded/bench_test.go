package embedded

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// Facts of the benchmarks: about 550 bytes, data and metadata as they are in practice.
const benchBytes = 550

func benchRecord() eventstore.NewRecord {
	r := eventstore.NewRecord{
		ID: uuid.New(), Type: "ParticipantRegistered",
		Metadata: fmt.Appendf(nil, `{"actor":"bench","$correlationId":%q,"$causationId":%q}`, uuid.New(), uuid.New()),
	}
	data := slices.Repeat([]byte{'x'}, benchBytes-len(r.Type)-len(r.Metadata))
	data[0], data[len(data)-1] = '"', '"'
	r.Data = data
	return r
}

var facts = flag.Int("facts", 0, "facts that the log has before a benchmark of appends begins")

// filled is a folder with a log of so many facts, ten to a stream, all streams
// growing side by side.
func filled(b *testing.B) (dir string, streams []string) {
	b.Helper()
	const perStream = 10
	dir = b.TempDir()
	for range (*facts + perStream - 1) / perStream {
		streams = append(streams, "event-"+uuid.NewString())
	}
	l := mustOpen(b, dir, Options{})
	for n := range int64(perStream) {
		var g errgroup.Group
		g.SetLimit(1024)
		for _, stream := range streams {
			g.Go(func() error {
				_, err := l.Append(b.Context(), stream, n-1, []eventstore.NewRecord{benchRecord()})
				return err
			})
		}
		require.NoError(b, g.Wait())
	}
	require.NoError(b, l.Close())
	return dir, streams
}

// BenchmarkAppend is durable appends of one fact each: to new streams, and behind
// the facts of streams that are there, each caller to its own.
func BenchmarkAppend(b *testing.B) {
	dir, streams := filled(b)
	existing := map[string]int64{}
	for i := range streams {
		existing[streams[i]] = 9
	}
	for range 256 {
		if len(streams) < 256 {
			streams = append(streams, "event-"+uuid.NewString())
			existing[streams[len(streams)-1]] = eventstore.NoStream
		}
	}
	for _, kind := range []string{"new", "existing"} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("streams=%s/callers=%d", kind, callers), func(b *testing.B) {
				l := mustOpen(b, dir, Options{})
				took := make([]time.Duration, b.N)
				var next atomic.Int64
				var known sync.Mutex
				var callersDone sync.WaitGroup
				b.ResetTimer()
				for caller := range callers {
					callersDone.Go(func() {
						for n := caller; ; n += callers {
							i := next.Add(1) - 1
							if i >= int64(b.N) {
								return
							}
							stream, end := streams[n%(len(streams)/callers*callers)], eventstore.NoStream
							if kind == "new" {
								stream = "event-" + uuid.NewString()
							} else {
								known.Lock()
								end = existing[stream]
								existing[stream]++
								known.Unlock()
							}
							started := time.Now()
							if _, err := l.Append(b.Context(), stream, end, []eventstore.NewRecord{benchRecord()}); err != nil {
								b.Error(err)
								return
							}
							took[i] = time.Since(started)
						}
					})
				}
				callersDone.Wait()
				b.StopTimer()
				s := l.Stats()
				require.NoError(b, l.Close())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
				b.ReportMetric(float64(s.Appends)/float64(s.Syncs), "appends/sync")
				reportP99(b, took)
			})
		}
	}
}

func reportP99(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}

// BenchmarkBareEngine is what the same SQLite, schema and settings give to one
// loop without the port: rows like the facts of BenchmarkAppend, so many to a
// transaction, each transaction on disk.
func BenchmarkBareEngine(b *testing.B) {
	dir, _ := filled(b)
	for _, rows := range []int{1, 4, 32, 128} {
		b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
			path := filepath.Join(dir, "events.db")
			conn, err := openConn(path, sqlite.OpenReadWrite, writerPragmas...) // SQLite's own files
			require.NoError(b, err)
			w, err := newWriter(conn, path)
			require.NoError(b, err)
			defer func() { require.NoError(b, w.close()) }()
			require.NoError(b, execute(w.begin))
			require.NoError(b, execute(w.rollback))
			checkpoint, err := w.conn.Prepare(fmt.Sprint("PRAGMA wal_autocheckpoint = ", checkpointPages))
			require.NoError(b, err)
			_, err = checkpoint.Step()
			require.NoError(b, err)
			require.NoError(b, checkpoint.Reset())

			var stream string
			b.ResetTimer()
			for n := 0; n < b.N; {
				require.NoError(b, execute(w.begin))
				for range min(rows, b.N-n) {
					if n%10 == 0 {
						stream = "event-" + uuid.NewString()
					}
					n++
					r := benchRecord()
					w.insert.BindInt64(1, w.last+int64(n))
					w.insert.BindText(2, stream)
					w.insert.BindInt64(3, int64(n%10))
					w.insert.BindInt64(4, 1)
					w.insert.BindBytes(5, r.ID[:])
					w.insert.BindText(6, r.Type)
					w.insert.BindText(7, string(r.Data))
					w.insert.BindText(8, string(r.Metadata))
					w.insert.BindInt64(9, 0)
					w.insert.BindInt64(10, 0)
					require.NoError(b, execute(w.insert))
				}
				require.NoError(b, execute(w.commit))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkRawFile is the floor: the same bytes put behind a file by one loop,
// so many to an fsync.
func BenchmarkRawFile(b *testing.B) {
	for _, rows := range []int{1, 4, 32, 128} {
		b.Run(fmt.Sprint("rows=", rows), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
			require.NoError(b, err)
			defer func() { require.NoError(b, f.Close()) }()
			var buffer []byte
			b.ResetTimer()
			for n := 0; n < b.N; {
				buffer = buffer[:0]
				for range min(rows, b.N-n) {
					n++
					r := benchRecord()
					buffer = append(buffer, r.ID[:]...)
					buffer = append(buffer, r.Type...)
					buffer = append(buffer, r.Data...)
					buffer = append(buffer, r.Metadata...)
				}
				_, err := f.Write(buffer)
				require.NoError(b, err)
				require.NoError(b, syncData(f))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkSubscribe reads a log of 100,000 facts from its beginning.
func BenchmarkSubscribe(b *testing.B) {
	l := mustOpen(b, b.TempDir(), Options{})
	const facts = 100_000
	for n := 0; n < facts; n += 1000 {
		batch := make([]eventstore.NewRecord, 1000)
		for i := range batch {
			batch[i] = benchRecord()
		}
		_, err := l.Append(b.Context(), uuid.NewString(), eventstore.NoStream, batch)
		require.NoError(b, err)
	}
	for b.Loop() {
		require.Len(b, everything(b, l), facts)
	}
	b.ReportMetric(facts*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkReadStream reads a stream of ten facts among 100,000.
func BenchmarkReadStream(b *testing.B) {
	l := mustOpen(b, b.TempDir(), Options{})
	streams := make([]string, 1000)
	for i := range streams {
		streams[i] = uuid.NewString()
		batch := make([]eventstore.NewRecord, 10)
		for i := range batch {
			batch[i] = benchRecord()
		}
		_, err := l.Append(b.Context(), streams[i], eventstore.NoStream, batch)
		require.NoError(b, err)
	}
	var next atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got, err := l.ReadStream(b.Context(), streams[int(next.Add(1))%len(streams)], 0, 100)
			if err != nil || len(got) != 10 {
				b.Error(len(got), err)
			}
		}
	})
}
