package suites

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
)

// big is all that happens to one event with very many participants, and how long
// others, who only schedule events, wait meanwhile.
var big = Suite{
	Name:  "big",
	About: "an event with very many participants: register, plan, move, announce, delete; and what others wait meanwhile",
	Sizes: func(z *Sizes) Begin {
		participants := z.count("participants", 100_000, 300, "participants of the event")
		connections := z.count("connections", 64, 16, "clients that register them")
		every := z.span("every", 50*time.Millisecond, 20*time.Millisecond, "how often another client asks")
		alone := z.span("alone", 10*time.Second, 500*time.Millisecond, "how long others are measured before")
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			b := bigEvent{l, *participants, *connections, *every, *alone}
			var goals []measure.Goal
			for _, phase := range bigPhases {
				goals = append(goals, measure.Goal{Case: phase, Figure: "others' p99 ÷ alone", AtMost: true, Must: 2, Aim: 1})
			}
			return []measure.Contender{{Name: ourName, Run: b.run}}, goals, nil
		}
	},
}

var bigPhases = []string{"register", "plan", "move", "announce", "delete"}

type bigEvent struct {
	lab                       *lab.Lab
	participants, connections int
	every, alone              time.Duration
}

func (b bigEvent) run(ctx context.Context) (figures []measure.Figure, err error) {
	s, end, err := ours.Fresh(ctx, b.lab)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	start := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	event, err := s.Schedule(ctx, start)
	if err != nil {
		return nil, err
	}
	path := "/v1/events/" + event
	counts := func(want map[string]int) error {
		return s.Until(ctx, 50*time.Millisecond, func() (bool, error) {
			got, err := s.Stats(ctx)
			for status, n := range want {
				if got.Notifications.ByStatus[status] != n {
					return false, err
				}
			}
			return true, err
		})
	}
	n := b.participants
	steps := map[string]func() error{
		"register": func() error {
			_, err := load.Times(ctx, b.connections, n, func(ctx context.Context, _, n int) error { return s.Register(ctx, event, n) })
			return err
		},
		"plan": func() error {
			return errors.Join(s.Remind(ctx, event, 60), counts(map[string]int{"PENDING": n}))
		},
		"move": func() error {
			moved := start.Add(time.Hour)
			body := ours.Object{"start_time": moved, "end_time": moved.Add(time.Hour)}
			return errors.Join(s.Ask(ctx, http.StatusOK, "PATCH", path, body, nil), counts(map[string]int{"PENDING": n, "CANCELLED": n}))
		},
		"announce": func() error {
			body := ours.Object{"message": "{{ participant.name }}, please bring soft shoes"}
			return errors.Join(s.Ask(ctx, http.StatusAccepted, "POST", path+"/announcements", body, nil), counts(map[string]int{"SENT": n}))
		},
		"delete": func() error {
			return errors.Join(s.Ask(ctx, http.StatusNoContent, "DELETE", path, nil, nil), counts(map[string]int{"PENDING": 0, "CANCELLED": 0, "SENT": 0}))
		},
	}
	alone, err := b.meanwhile(ctx, s, func() error { return sleep(ctx, b.alone) })
	if err != nil {
		return nil, err
	}
	usual := load.Quantile(alone, 0.99)
	figures = append(figures, measure.Figure{Case: "alone", Name: "others' p99", Unit: "ms", Value: load.Ms(usual)})
	for _, phase := range bigPhases {
		b.lab.Progress("%s", phase)
		began := time.Now()
		waited, err := b.meanwhile(ctx, s, steps[phase])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", phase, err)
		}
		took := time.Since(began)
		p99 := load.Quantile(waited, 0.99)
		figures = append(figures,
			measure.Figure{Case: phase, Name: "participants", Unit: "1/s", Value: float64(n) / took.Seconds()},
			measure.Figure{Case: phase, Name: "took", Unit: "s", Value: took.Seconds()},
			measure.Figure{Case: phase, Name: "others' p99", Unit: "ms", Value: load.Ms(p99)},
			measure.Figure{Case: phase, Name: "others' p99 ÷ alone", Value: float64(p99) / float64(usual)},
		)
	}
	_, most, err := s.Memory()
	if errors.Is(err, measure.ErrMissing) {
		return figures, nil
	}
	return append(figures, measure.Figure{Case: "all of it", Name: "memory, at most", Unit: "MiB", Value: most / (1 << 20)}), err
}

// meanwhile does a step while others schedule events at fixed times, whether
// or not the ones before are answered, and gives how long each waited, in ascending
// order. It is at least one.
func (b bigEvent) meanwhile(ctx context.Context, s *ours.Service, step func() error) ([]time.Duration, error) {
	var (
		mu     sync.Mutex
		waited []time.Duration
		failed error
		others sync.WaitGroup
	)
	ask := func(at time.Time) {
		_, err := s.Schedule(ctx, at.Add(100*24*time.Hour))
		mu.Lock()
		defer mu.Unlock()
		waited, failed = append(waited, time.Since(at)), errors.Join(failed, err)
	}
	done := make(chan error, 1)
	go func() { done <- step() }()
	next := time.Now()
	for {
		at := next
		others.Go(func() { ask(at) })
		next = next.Add(b.every)
		select {
		case <-time.After(time.Until(next)):
			continue
		case err := <-done:
			others.Wait()
			slices.Sort(waited)
			return waited, errors.Join(err, failed)
		}
	}
}

func sleep(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
