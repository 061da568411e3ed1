package suites

import (
	"context"
	"fmt"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
)

// restart kills the service with a long history, waits until one more reminder
// has become due, and starts it again.
var restart = Suite{
	Name:  "restart",
	About: "kill -9 with many facts and pending notifications, until the first due one is sent",
	Sizes: func(z *Sizes) Begin {
		facts := z.count("facts", 1_000_000, 1_000, "facts in the log, about")
		pending := z.count("pending", 100_000, 200, "pending notifications, about")
		return func(ctx context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			h, err := makeHistory(ctx, l, *facts, *pending)
			if err != nil {
				return nil, nil, err
			}
			r := &restarting{lab: l, dir: h.dir}
			if r.service, err = ours.Start(ctx, l, h.dir); err != nil {
				return nil, nil, err
			}
			l.OnClose(func() error { return r.service.End() })
			return []measure.Contender{{Name: ourName, Run: r.run}},
				[]measure.Goal{{Figure: "first due one sent after", AtMost: true, Must: 5, Aim: 2}}, nil
		}
	},
}

type restarting struct {
	lab     *lab.Lab
	dir     string
	service *ours.Service
}

func (r *restarting) run(ctx context.Context) ([]measure.Figure, error) {
	if err := r.service.Until(ctx, 50*time.Millisecond, func() (bool, error) { return r.service.Ready(ctx) }); err != nil {
		return nil, err
	}
	due, err := r.oneMore(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.service.Kill(); err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Until(due)):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	began := time.Now()
	s, err := ours.Start(ctx, r.lab, r.dir)
	if err != nil {
		return nil, err
	}
	r.service = s
	answers := time.Since(began)
	if err := s.Until(ctx, 2*time.Millisecond, func() (bool, error) {
		delivered, err := s.Delivered()
		return len(delivered) > 0, err
	}); err != nil {
		return nil, err
	}
	sent := time.Since(began)
	if err := s.Until(ctx, 2*time.Millisecond, func() (bool, error) { return s.Ready(ctx) }); err != nil {
		return nil, err
	}
	return []measure.Figure{
		{Name: "first due one sent after", Unit: "s", Value: sent.Seconds()},
		{Name: "address said after", Unit: "s", Value: answers.Seconds()},
		{Name: "read models whole after", Unit: "s", Value: time.Since(began).Seconds()},
	}, nil
}

// oneMore has one more reminder planned, which becomes due in a moment.
func (r *restarting) oneMore(ctx context.Context) (due time.Time, err error) {
	s := r.service
	for lead := 2 * time.Second; ; lead *= 2 {
		start := time.Now().Add(time.Hour + lead).UTC().Truncate(time.Microsecond)
		event, err := s.Schedule(ctx, start)
		if err == nil {
			err = s.Register(ctx, event, 0)
		}
		if err == nil {
			err = s.Remind(ctx, event, 60)
		}
		if time.Until(start) < time.Hour { // it was due before it was asked for: refused, or sent at once
			continue
		}
		if err != nil {
			return due, err
		}
		var planned struct {
			Items []ours.Notification `json:"items"`
		}
		if err := s.Until(ctx, 5*time.Millisecond, func() (bool, error) {
			_, err := s.Shown(ctx, "/v1/events/"+event+"/notifications", &planned)
			return len(planned.Items) > 0 || time.Until(start) < time.Hour, err
		}); err != nil {
			return due, fmt.Errorf("plan one more: %w", err)
		}
		if len(planned.Items) > 0 && planned.Items[0].Status == "PENDING" && time.Until(start) > time.Hour {
			return start.Add(-time.Hour), nil
		}
	}
}
