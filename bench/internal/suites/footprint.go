package suites

import (
	"context"
	"errors"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
)

// footprint is what the process has in memory, as the kernel counts it: pages
// of the databases that are mapped too.
var footprint = Suite{
	Name:  "footprint",
	About: "memory of the process: idle, and with many pending notifications",
	Sizes: func(z *Sizes) Begin {
		pending := z.count("pending", 1_000_000, 200, "pending notifications, about")
		settle := z.span("settle", 10*time.Second, 100*time.Millisecond, "how long it is left alone before it is looked at")
		return func(ctx context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			h, err := makeHistory(ctx, l, 0, *pending)
			if err != nil {
				return nil, nil, err
			}
			return []measure.Contender{{Name: ourName, Run: func(ctx context.Context) ([]measure.Figure, error) {
					return footprints(ctx, l, h, *settle)
				}}}, []measure.Goal{
					{Figure: "idle", AtMost: true, Must: 60, Aim: 40},
					{Figure: "pending", AtMost: true, Must: 600, Aim: 300},
				}, nil
		}
	},
}

func footprints(ctx context.Context, l *lab.Lab, h longHistory, settle time.Duration) (figures []measure.Figure, err error) {
	empty, end, err := ours.Fresh(ctx, l)
	if err != nil {
		return nil, err
	}
	idle, _, err := settled(ctx, empty, settle)
	if err = errors.Join(err, end()); err != nil {
		return nil, err
	}
	full, err := ours.Start(ctx, l, h.dir)
	if err != nil {
		return nil, err
	}
	now, most, err := settled(ctx, full, settle)
	if err = errors.Join(err, full.End()); err != nil {
		return nil, err
	}
	const mib = 1 << 20
	return []measure.Figure{
		{Name: "idle", Unit: "MiB", Value: idle / mib},
		{Name: "pending", Unit: "MiB", Value: now / mib},
		{Name: "pending, at most since the start", Unit: "MiB", Value: most / mib},
		{Name: "at most while they were planned", Unit: "MiB", Value: h.most / mib},
	}, nil
}

// settled waits until s is ready, and a while longer, and gives its memory in bytes.
func settled(ctx context.Context, s *ours.Service, settle time.Duration) (now, most float64, err error) {
	if err := s.Until(ctx, 20*time.Millisecond, func() (bool, error) { return s.Ready(ctx) }); err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	return s.Memory()
}
