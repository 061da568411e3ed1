package eventstore_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// scripted delivers batches of so many records, one at each call, all at the log's
// end but the negative ones; more than an eighth of 81 are of another type.
type scripted struct{ sizes []int }

func (s *scripted) Next(ctx context.Context) (eventstore.Batch, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Batch{}, err
	}
	size := s.sizes[0]
	s.sizes = s.sizes[1:]
	records := make([]eventstore.Record, max(size, -size))
	for i := range records {
		if records[i].Type = "Gathers"; len(records) == 81 && i%8 == 0 {
			records[i].Type = "Other"
		}
	}
	return eventstore.Batch{Records: records, CaughtUp: size >= 0}, nil
}

func gathers(recordType string) bool { return recordType == "Gathers" }

func (s *scripted) Close() error { return nil }

func TestRecordsGatherOnlyWhileTheyComeThickAndNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = time.Second
		hurry := make(chan struct{}, 1)
		paced := &eventstore.Paced{Subscription: &scripted{[]int{-eventstore.MaxBatch, 64, 63, 81, 0, 64, 64, 64, 1}}, Pause: pause, Gathers: gathers, Hurry: hurry}
		next := func(size int, after time.Duration) {
			t.Helper()
			began := time.Now()
			b, err := paced.Next(t.Context())
			require.NoError(t, err)
			require.Len(t, b.Records, size)
			require.Equal(t, after, time.Since(began))
		}
		next(eventstore.MaxBatch, 0)
		next(64, 0) // behind history
		next(63, pause)
		next(81, 0) // behind few
		next(0, 0)  // behind others
		next(64, 0)

		time.Sleep(pause / 4) // what its reader did counts
		next(64, pause*3/4)

		hurry <- struct{}{} // before
		next(64, 0)
		go func() {
			time.Sleep(pause / 2)
			hurry <- struct{}{} // while it waits
		}()
		next(1, pause/2)
	})
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paced := &eventstore.Paced{Subscription: &scripted{[]int{64, 1}}, Pause: time.Hour, Gathers: gathers}
		_, err := paced.Next(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = paced.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
