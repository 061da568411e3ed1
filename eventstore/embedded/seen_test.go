package embedded

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
)

// Where somebody has seen a stream end never makes the writer take a record for the last
// one that isn't, also while it keeps forgetting where streams end.
func TestSeenEndsDontMislead(t *testing.T) {
	o := quiet()
	o.ends = 2
	l := mustOpen(t, t.TempDir(), o)
	const streams, rounds = 6, 150
	name := func(n int) string { return fmt.Sprint("s-", n%streams) }
	var all errgroup.Group
	for n := range streams {
		all.Go(func() error {
			for last := eventstore.NoStream; last < rounds; last++ {
				for other := range 3 {
					if _, err := l.ReadStream(t.Context(), name(n+other), 0, 1000); err != nil {
						return err
					}
				}
				if _, err := l.Append(t.Context(), name(n), last, some(1)); err != nil {
					return fmt.Errorf("behind %d: %w", last, err)
				}
				if _, err := l.Append(t.Context(), name(n), last, some(1)); err == nil {
					return fmt.Errorf("two records are behind %d of %s", last, name(n))
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	for n := range streams {
		records, err := l.ReadStream(t.Context(), name(n), 0, 1000)
		require.NoError(t, err)
		require.Len(t, records, rounds+1)
	}
}
