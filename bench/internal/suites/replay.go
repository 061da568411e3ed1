package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

const (
	bareInsert    = "bare insert of the rows"
	decodingAlone = "decoding alone"
)

// replay deletes the read models and has the service build them anew from the
// whole log. Beside it stand reading, decoding and unsealing all facts, and a
// prepared insert of the rows that came of it, into the same tables and indexes.
var replay = Suite{
	Name:  "replay",
	About: "rebuild of all read models, beside decoding alone and a bare insert of the same rows",
	Sizes: func(z *Sizes) Begin {
		facts := z.count("facts", 1_000_000, 1_000, "facts in the log, about")
		pending := z.count("pending", 100_000, 200, "notifications among them, about")
		return func(ctx context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			h, err := makeHistory(ctx, l, *facts, *pending)
			if err != nil {
				return nil, nil, err
			}
			r := replaying{l, h}
			return []measure.Contender{{Name: ourName, Run: r.ours}, {Name: bareInsert, Run: r.insert}, {Name: decodingAlone, Run: r.decode}},
				[]measure.Goal{{Figure: "facts", Beside: bareInsert, Must: 0.5, Aim: 0.8}}, nil
		}
	},
}

type replaying struct {
	lab *lab.Lab
	longHistory
}

func (r replaying) rate(facts int, took time.Duration) []measure.Figure {
	return []measure.Figure{
		{Name: "facts", Unit: "1/s", Value: float64(facts) / took.Seconds()},
		{Name: "took", Unit: "s", Value: took.Seconds()},
	}
}

// ours counts from the start of the process until /readyz says that the read
// models show everything: the start itself is counted too.
func (r replaying) ours(ctx context.Context) ([]measure.Figure, error) {
	stale, err := filepath.Glob(filepath.Join(r.dir, "read.db*"))
	if err != nil {
		return nil, err
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the read models: %w", err)
		}
	}
	began := time.Now()
	s, err := ours.Start(ctx, r.lab, r.dir)
	if err != nil {
		return nil, err
	}
	err = s.Until(ctx, 5*time.Millisecond, func() (bool, error) { return s.Ready(ctx) })
	took := time.Since(began)
	if err == nil {
		err = r.whole(ctx, s)
	}
	if err = errors.Join(err, s.End()); err != nil {
		return nil, err
	}
	return r.rate(r.facts, took), nil
}

// whole expects that the rows are those of the whole log.
func (r replaying) whole(ctx context.Context, s *ours.Service) error {
	got, err := s.Stats(ctx)
	if err == nil && got.Notifications.ByStatus["PENDING"] != r.pending {
		err = fmt.Errorf("after the rebuild %d are pending, of %d", got.Notifications.ByStatus["PENDING"], r.pending)
	}
	return err
}

func (r replaying) decode(ctx context.Context) (_ []measure.Figure, err error) {
	ring, err := keys.Open(ctx, r.dir, keys.Existing())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	var began time.Time
	var took time.Duration
	facts, err := countFacts(ctx, r.dir, func(record eventstore.Record) error {
		if began.IsZero() {
			began = time.Now() // the log is open
		}
		_, err := events.Decode(ring, record.ID, record.Type, record.Data)
		took = time.Since(began)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode the log: %w", err)
	}
	return r.rate(facts, took), nil
}

// countFacts reads the log in dir from its beginning to its end, and gives the number of its facts.
func countFacts(ctx context.Context, dir string, each func(eventstore.Record) error) (n int, err error) {
	log, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	subscription, err := log.Subscribe(ctx, eventstore.Start)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, subscription.Close()) }()
	for {
		batch, err := subscription.Next(ctx)
		if err != nil {
			return n, err
		}
		for _, record := range batch.Records {
			if err := each(record); err != nil {
				return n, fmt.Errorf("fact %s: %w", record.ID, err)
			}
		}
		n += len(batch.Records)
		if batch.CaughtUp {
			return n, nil
		}
	}
}
