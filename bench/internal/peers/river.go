package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/belltower/belltower/bench/internal/lab"
)

// Kind names the job for River.
func (Task) Kind() string { return "remind" }

// RiverDefault is River as its README sets it up ("Start a client": MaxWorkers
// 100 on the default queue), everything else by default: FetchCooldown 100 ms,
// FetchPollInterval 1 s. How often jobs that are scheduled are made available
// (every 5 s, for the 5 s to come) can't be set from outside.
var RiverDefault = River{MaxWorkers: 100}

// RiverTuned is River as its own benchmark sets it up, for the most throughput
// (River's documentation, "Benchmarks", and the source of "river bench":
// FetchCooldown 2 ms, FetchPollInterval 20 ms, 2,000 workers), with as many
// connections as are of use on a machine of this size.
var RiverTuned = River{MaxWorkers: 2000, Cooldown: 2 * time.Millisecond, Poll: 20 * time.Millisecond, Connections: 16}

// River is River on PostgreSQL. Zero fields are River's defaults, and pgxpool's
// for the connections: the greater of 4 and the number of processors.
type River struct {
	MaxWorkers     int
	Cooldown, Poll time.Duration
	Connections    int32
}

// pool connects to a new database that has River's tables. Close what is returned last.
func (r River) pool(ctx context.Context, l *lab.Lab) (*pgxpool.Pool, func() error, error) {
	url, drop, err := l.Database(ctx)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*pgxpool.Pool, func() error, error) {
		return nil, nil, errors.Join(fmt.Errorf("set River up: %w", err), drop())
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return fail(err)
	}
	if r.Connections > 0 {
		config.MaxConns = r.Connections
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fail(err)
	}
	end := func() error {
		pool.Close()
		return drop()
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make River's tables: %w", err), end())
	}
	return pool, end, nil
}

// Inserter gives what inserts one job, for a time a day ahead, and what ends it.
func (r River) Inserter(ctx context.Context, l *lab.Lab) (insert func(context.Context, int) error, end func() error, err error) {
	pool, end, err := r.pool(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return func(ctx context.Context, n int) error {
		_, err := client.Insert(ctx, task(n), &river.InsertOpts{ScheduledAt: time.Now().Add(24 * time.Hour)})
		return err
	}, end, nil
}

// Open begins a client that works.
func (r River) Open(ctx context.Context, l *lab.Lab, begun *Begun) (Queue, error) {
	pool, end, err := r.pool(ctx, l)
	if err != nil {
		return nil, err
	}
	q := &riverQueue{end: end}
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(_ context.Context, job *river.Job[Task]) error {
		begun.Note(job.Args.N)
		return nil
	}))
	q.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		FetchCooldown: r.Cooldown, FetchPollInterval: r.Poll, Workers: workers, Logger: slog.New(slog.DiscardHandler),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: r.MaxWorkers}},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set River up: %w", err), end())
	}
	// It tells of a job once its completion is stored. The buffer holds all of them, as what doesn't fit is dropped.
	q.completed, q.unsubscribe = q.client.SubscribeConfig(&river.SubscribeConfig{ChanSize: len(begun.first), Kinds: []river.EventKind{river.EventKindJobCompleted}})
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("start River: %w", err), end())
	}
	return q, nil
}

type riverQueue struct {
	client      *river.Client[pgx.Tx]
	completed   <-chan *river.Event
	unsubscribe func()
	end         func() error
	jobs        int
}

// Load inserts by COPY, in batches, as "Inserting jobs in bulk" advises.
func (q *riverQueue) Load(ctx context.Context, due []time.Time) error {
	const batch = 5000
	for ; q.jobs < len(due); q.jobs += min(batch, len(due)-q.jobs) {
		params := make([]river.InsertManyParams, min(batch, len(due)-q.jobs))
		for i := range params {
			params[i] = river.InsertManyParams{Args: task(q.jobs + i), InsertOpts: &river.InsertOpts{ScheduledAt: due[q.jobs+i]}}
		}
		if _, err := q.client.InsertManyFast(ctx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
	}
	return nil
}

func (q *riverQueue) Wait(ctx context.Context) (time.Time, error) {
	for done := 0; done < q.jobs; {
		select {
		case <-q.completed:
			done++
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
	return time.Now(), nil
}

func (q *riverQueue) Close() error {
	q.unsubscribe()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(q.client.StopAndCancel(ctx), q.end())
}
