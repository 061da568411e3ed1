// Package load makes callers that ask one after another, many at once, and
// measures how long each had to wait.
package load

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belltower/belltower/bench/internal/measure"
)

// Ask is one question; n counts from 0 over all callers. It may be called concurrently,
// for each caller by one goroutine.
type Ask func(ctx context.Context, caller, n int) error

// Answered is what callers saw.
type Answered struct {
	Took    []time.Duration // in ascending order
	Elapsed time.Duration
}

// Times asks so many times with so many callers, each of which asks again as
// soon as it is answered. The first failure ends it.
func Times(ctx context.Context, callers, times int, ask Ask) (Answered, error) {
	return run(ctx, callers, func(n int, _ time.Time) bool { return n < times }, ask)
}

// During asks with so many callers until the time is over. The first failure ends it.
func During(ctx context.Context, callers int, long time.Duration, ask Ask) (Answered, error) {
	end := time.Now().Add(long)
	return run(ctx, callers, func(_ int, now time.Time) bool { return now.Before(end) }, ask)
}

func run(ctx context.Context, callers int, more func(n int, now time.Time) bool, ask Ask) (Answered, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	took := make([][]time.Duration, callers)
	began := time.Now()
	var asking sync.WaitGroup
	for caller := range callers {
		asking.Go(func() {
			for ctx.Err() == nil {
				n, asked := int(next.Add(1)-1), time.Now()
				if !more(n, asked) {
					return
				}
				if err := ask(ctx, caller, n); err != nil {
					cancel(err)
					return
				}
				took[caller] = append(took[caller], time.Since(asked))
			}
		})
	}
	asking.Wait()
	a := Answered{Elapsed: time.Since(began), Took: slices.Concat(took...)}
	if err := context.Cause(ctx); err != nil {
		return a, err
	}
	if len(a.Took) == 0 {
		return a, errors.New("nothing was answered")
	}
	slices.Sort(a.Took)
	return a, nil
}

// Figures are the rate and what callers waited, for a case.
func (a Answered) Figures(kase string) []measure.Figure {
	return []measure.Figure{
		{Case: kase, Name: "answered", Unit: "1/s", Value: float64(len(a.Took)) / a.Elapsed.Seconds()},
		{Case: kase, Name: "waited, median", Unit: "ms", Value: Ms(Quantile(a.Took, 0.5))},
		{Case: kase, Name: "waited, p99", Unit: "ms", Value: Ms(Quantile(a.Took, 0.99))},
	}
}

// Quantile is the least of the ascending values that a share q of them don't
// exceed; 0 where there are none.
func Quantile(ascending []time.Duration, q float64) time.Duration {
	if len(ascending) == 0 {
		return 0
	}
	return ascending[max(0, int(math.Ceil(q*float64(len(ascending))))-1)]
}

// Ms is d in milliseconds.
func Ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
