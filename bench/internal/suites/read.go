package suites

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/belltower/belltower/bench/internal/bare"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
)

const bareGet = "bare GET"

// read is requests that change nothing, beside a bare mux GET of the very bytes
// that the service answered with. Both stay up for all rounds.
var read = Suite{
	Name:  "read",
	About: "GET of one event, of a list of 50 and of a list with q, beside a bare GET of the same bytes",
	Sizes: func(z *Sizes) Begin {
		events := z.count("events", 10_000, 100, "events there are")
		connections := z.count("connections", 64, 16, "clients, each with a connection")
		long := z.span("each", 3*time.Second, 50*time.Millisecond, "how long each case is measured")
		return func(ctx context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			r := &reading{connections: *connections, long: *long}
			if err := r.begin(ctx, l, *events); err != nil {
				return nil, nil, err
			}
			return []measure.Contender{{Name: ourName, Run: r.ours}, {Name: bareGet, Run: r.bare}}, []measure.Goal{
				{Case: "one", Figure: "answered", Beside: bareGet, Must: 0.5, Aim: 0.7},
				{Case: "list of 50", Figure: "answered", Beside: bareGet, Must: 0.4, Aim: 0.6},
			}, nil
		}
	},
}

type reading struct {
	connections int
	long        time.Duration
	service     *ours.Service
	peer        *bare.Service
	paths       map[string]string // by case
}

var readCases = []string{"one", "list of 50", "list with q"}

func (r *reading) begin(ctx context.Context, l *lab.Lab, events int) error {
	s, end, err := ours.Fresh(ctx, l)
	if err != nil {
		return err
	}
	l.OnClose(end)
	r.service = s
	l.Progress("making %d events", events)
	var last string
	start := time.Now().Add(24 * time.Hour)
	if _, err := load.Times(ctx, r.connections, events-1, func(ctx context.Context, _, n int) error {
		_, err := s.Schedule(ctx, start.Add(time.Duration(n)*time.Minute))
		return err
	}); err != nil && events > 1 {
		return err
	}
	if last, err = s.Schedule(ctx, start); err != nil {
		return err
	}
	// Both words are in every event, so that the list is as long as the other one.
	r.paths = map[string]string{"one": "/v1/events/" + last, "list of 50": "/v1/events?limit=50", "list with q": "/v1/events?limit=50&q=bell+tower"}
	if err := s.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		ready, err := s.Ready(ctx)
		if err != nil || !ready {
			return false, err
		}
		got, err := s.Stats(ctx)
		for _, p := range got.Projections {
			ready = ready && p.Position == got.Store.Position
		}
		return ready, err
	}); err != nil {
		return err
	}
	answers := map[string][]byte{}
	for i, kase := range readCases {
		var answer []byte
		if err := s.Ask(ctx, http.StatusOK, "GET", r.paths[kase], nil, &answer); err != nil {
			return err
		}
		answers[fmt.Sprint(i)] = answer
	}
	if r.peer, err = bare.Start(ctx, l, answers); err != nil {
		return err
	}
	l.OnClose(r.peer.Stop)
	return nil
}

func (r *reading) each(ctx context.Context, get func(ctx context.Context, i int, kase string) error) (figures []measure.Figure, err error) {
	for i, kase := range readCases {
		a, err := load.During(ctx, r.connections, r.long, func(ctx context.Context, _, _ int) error { return get(ctx, i, kase) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kase, err)
		}
		figures = append(figures, a.Figures(kase)...)
	}
	return figures, nil
}

func (r *reading) ours(ctx context.Context) ([]measure.Figure, error) {
	return r.each(ctx, func(ctx context.Context, _ int, kase string) error {
		return r.service.Ask(ctx, http.StatusOK, "GET", r.paths[kase], nil, nil)
	})
}

func (r *reading) bare(ctx context.Context) ([]measure.Figure, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: r.connections, MaxConnsPerHost: r.connections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	return r.each(ctx, func(ctx context.Context, i int, _ string) error {
		return ask(ctx, client, "GET", fmt.Sprintf("%s/bytes/%d", r.peer.URL, i), nil, http.StatusOK)
	})
}
