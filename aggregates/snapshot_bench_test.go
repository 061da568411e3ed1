package aggregates_test

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

var roster = flag.Int("roster", 2000, "how many participants the event of the benchmarks has")

// BenchmarkSnapshot is an event with many participants as it is frozen, written
// out whole, and restored; B is the size of all parts.
func BenchmarkSnapshot(b *testing.B) {
	e := new(aggregates.Event)
	e.Evolve(scheduled(0), stamp(0))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range *roster {
		digest := sha256.Sum256(fmt.Append(nil, i))
		f := registered(uuid.NewSHA1(uuid.Nil, digest[:]).String(), false)
		f.UserID, f.EmailDigest, f.TimeZone = fmt.Sprint("user-", i), base64.RawURLEncoding.EncodeToString(digest[:16]), "Europe/Berlin"
		f.Personal = events.Personal{Key: int64(i), Name: fmt.Sprint("Somebody ", i), Email: fmt.Sprint("somebody", i, "@example.org")}
		e.Evolve(f, aggregates.Stamp{Revision: int64(i + 1), At: noon.Add(time.Duration(i) * 10 * time.Millisecond)})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Run("freeze", func(b *testing.B) {
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(*roster), "heap-B/participant")
		for b.Loop() {
			e.Freeze()
		}
	})
	var k kept
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			k = keep(e.Freeze(), nil, map[aggregates.PartID][]byte{})
		}
		size := len(k.head)
		for _, data := range k.parts {
			size += len(data)
		}
		b.ReportMetric(float64(size)/float64(*roster), "B/participant")
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			_, err := k.restore(nil)
			require.NoError(b, err)
		}
	})
}
