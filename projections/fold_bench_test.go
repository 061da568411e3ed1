package projections

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
)

// benchHistory is a log of n registrations, each with a reminder that is sent.
func benchHistory(b *testing.B, n int) []fact {
	w := newWorld(b)
	for i := range n {
		event := fmt.Sprintf("event-%d", i/100)
		if i%100 == 0 {
			w.event(event, meeting(event))
		}
		id := fmt.Sprintf("%036d", i)
		w.event(event, guest(event, id))
		w.notification(id, scheduled(id, event, id, dawn))
		w.notification(id, events.SendingStarted{NotificationID: id, Attempt: 1})
		w.notification(id, events.NotificationSent{NotificationID: id, Attempt: 1, SentTime: dawn})
	}
	return w.facts()
}

func BenchmarkFold(b *testing.B) {
	facts := benchHistory(b, 5000)
	for _, size := range []int{1, 64, 4096} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			n := 0
			for b.Loop() {
				m := newWorld(b).open(b.TempDir())
				m.maxFacts = size
				require.NoError(b, m.writer.makeIndexes(bg))
				began := time.Now()
				for part := facts; len(part) > 0; part = part[min(size, len(part)):] {
					require.NoError(b, m.foldBatch(part[:min(size, len(part))]))
				}
				n += int(float64(len(facts)) / time.Since(began).Seconds())
				require.NoError(b, m.Close())
			}
			b.ReportMetric(float64(n)/float64(b.N), "facts/s")
		})
	}
}
