package embedded

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/eventstore"
)

// A tail gives what follows a position without a gap, or nothing.
func TestTailHasNoGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var kept tail
		last := rapid.Int64Range(0, 5).Draw(t, "began at")
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			if rapid.IntRange(0, 20).Draw(t, "records that it isn't told of") == 0 {
				last += 3
			}
			size := rapid.SampledFrom([]int{0, 10, 20_000}).Draw(t, "bytes")
			added := make([]eventstore.Record, rapid.IntRange(1, 1024).Draw(t, "records"))
			for i := range added {
				last++
				added[i] = eventstore.Record{Position: position(last), Data: make([]byte, size)}
			}
			kept.add(added)
			require.LessOrEqual(t, len(kept.records), tailRecords)
			require.LessOrEqual(t, kept.bytes, tailBytes)

			after := rapid.Int64Range(max(0, last-1500), last).Draw(t, "after")
			limit, maxBytes := rapid.IntRange(1, 2000).Draw(t, "limit"), rapid.IntRange(1, 1<<20).Draw(t, "max bytes")
			got, all := kept.behind(after, limit, maxBytes)
			require.LessOrEqual(t, len(got), limit)
			for i, r := range got {
				require.Equal(t, position(after+1+int64(i)), r.Position)
			}
			require.Equal(t, len(got) > 0 && after+int64(len(got)) == last, all)
			if after == last-1 {
				require.Len(t, got, 1, "the last one is always there")
			}
		}
	})
}
