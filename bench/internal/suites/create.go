package suites

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/belltower/belltower/bench/internal/bare"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
	"github.com/belltower/belltower/bench/internal/peers"
)

const bareLoop = "bare loop"

// create is one durable creation for each request, by many clients at once. The
// service authenticates, validates, keeps the key, seals and syncs before 201;
// the bare loop decodes and syncs; River's insert has no HTTP before it, so that
// its callers have the shorter way.
var create = Suite{
	Name:  "create",
	About: "POST /v1/events beside a bare HTTP loop with a group-committed fdatasync, and River's single insert",
	Sizes: func(z *Sizes) Begin {
		events := z.count("events", 20_000, 200, "creations in a round")
		connections := z.count("connections", 64, 16, "clients, each with a connection")
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			c := creation{l, *events, *connections}
			tuned := peers.River{Connections: int32(min(*connections, 90))} // of 100 that PostgreSQL admits
			return []measure.Contender{
					{Name: ourName, Run: c.ours},
					{Name: bareLoop, Run: c.bare},
					{Name: "River", Run: c.river(peers.River{})},
					{Name: "River, a connection each", Run: c.river(tuned)},
				}, []measure.Goal{
					{Figure: "answered", Beside: bareLoop, Must: 0.5, Aim: 0.8},
					{Figure: "answered", Beside: "River", Must: 2, Aim: 3},
					{Figure: "answered", Beside: "River, a connection each", Must: 2, Aim: 3},
				}, nil
		}
	},
}

type creation struct {
	lab                 *lab.Lab
	events, connections int
}

// measure asks a little to warm up, and then in earnest.
func (c creation) measure(ctx context.Context, ask func(ctx context.Context, n int) error) ([]measure.Figure, error) {
	warm := c.events / 20
	if _, err := load.Times(ctx, c.connections, warm, func(ctx context.Context, _, n int) error { return ask(ctx, n) }); err != nil {
		return nil, err
	}
	a, err := load.Times(ctx, c.connections, c.events, func(ctx context.Context, _, n int) error { return ask(ctx, warm+n) })
	if err != nil {
		return nil, err
	}
	return a.Figures(""), nil
}

func (c creation) ours(ctx context.Context) (_ []measure.Figure, err error) {
	s, end, err := ours.Fresh(ctx, c.lab)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	body, err := json.Marshal(ours.EventBody(time.Now().Add(24 * time.Hour)))
	if err != nil {
		return nil, err
	}
	return c.measure(ctx, func(ctx context.Context, n int) error {
		return s.Keyed(ctx, fmt.Sprint("key-", n), http.StatusCreated, "POST", "/v1/events", body, nil)
	})
}

func (c creation) bare(ctx context.Context) (_ []measure.Figure, err error) {
	s, err := bare.Start(ctx, c.lab, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.connections, MaxConnsPerHost: c.connections}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(ours.EventBody(time.Now().Add(24 * time.Hour)))
	if err != nil {
		return nil, err
	}
	return c.measure(ctx, func(ctx context.Context, _ int) error {
		return ask(ctx, client, "POST", s.URL+"/v1/events", body, http.StatusCreated)
	})
}

// ask makes a request of the bare service.
func ask(ctx context.Context, client *http.Client, method, url string, body []byte, want int) error {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != want {
		return fmt.Errorf("%s %s: %s", method, url, answer.Status)
	}
	return nil
}

func (c creation) river(r peers.River) func(context.Context) ([]measure.Figure, error) {
	return func(ctx context.Context) (_ []measure.Figure, err error) {
		insert, end, err := r.Inserter(ctx, c.lab)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, end()) }()
		return c.measure(ctx, insert)
	}
}
