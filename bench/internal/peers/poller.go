package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/belltower/belltower/bench/internal/lab"
)

// Poller is what many write for themselves: a table in PostgreSQL, looked at
// ten times a second by loops that claim up to Claim rows with SKIP LOCKED
// (PostgreSQL's documentation, SELECT, "The Locking Clause": "to avoid lock
// contention with multiple consumers accessing a queue-like table"), do them and
// mark them as done. Each claim and each mark is a transaction. It keeps no
// history, knows no attempts, and finds nothing again after a crash but what
// somebody looks for.
type Poller struct {
	Claim int           // rows a claim
	Every time.Duration // between looks that found less than that
	Loops int
}

// PollerOf500 claims 500 rows at once, by a loop for each of two processors.
var PollerOf500 = Poller{Claim: 500, Every: 100 * time.Millisecond, Loops: 2}

// Open begins to poll.
func (p Poller) Open(ctx context.Context, l *lab.Lab, begun *Begun) (Queue, error) {
	url, drop, err := l.Database(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to PostgreSQL: %w", err), drop())
	}
	q := &pollerQueue{p: p, pool: pool, drop: drop, begun: begun, failed: make(chan error, p.Loops), finished: make(chan time.Time, 1), wanted: len(begun.first)}
	_, err = pool.Exec(ctx, `
		CREATE TABLE reminders (
			id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			due     timestamptz NOT NULL,
			state   smallint NOT NULL DEFAULT 0, -- 0 pending, 1 claimed, 2 sent
			payload jsonb NOT NULL,
			sent    timestamptz
		);
		CREATE INDEX reminders_due ON reminders (due) WHERE state = 0`)
	if err != nil {
		pool.Close()
		return nil, errors.Join(fmt.Errorf("make the poller's table: %w", err), drop())
	}
	var polling context.Context
	polling, q.stop = context.WithCancel(context.WithoutCancel(ctx))
	for range p.Loops {
		q.loops.Go(func() {
			if err := q.poll(polling); err != nil && polling.Err() == nil {
				q.failed <- err
			}
		})
	}
	return q, nil
}

type pollerQueue struct {
	p        Poller
	pool     *pgxpool.Pool
	drop     func() error
	begun    *Begun
	stop     context.CancelFunc
	loops    sync.WaitGroup
	failed   chan error
	done     atomic.Int64
	wanted   int
	finished chan time.Time
}

func (q *pollerQueue) Load(ctx context.Context, due []time.Time) error {
	_, err := q.pool.CopyFrom(ctx, pgx.Identifier{"reminders"}, []string{"due", "payload"}, pgx.CopyFromSlice(len(due), func(n int) ([]any, error) {
		payload, err := json.Marshal(task(n))
		return []any{due[n], payload}, err
	}))
	if err != nil {
		return fmt.Errorf("copy into the poller's table: %w", err)
	}
	return nil
}

// poll claims and does until ctx ends.
func (q *pollerQueue) poll(ctx context.Context) error {
	tick := time.NewTicker(q.p.Every)
	defer tick.Stop()
	for {
		claimed, err := q.claim(ctx)
		if err != nil {
			return err
		}
		if claimed == q.p.Claim {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (q *pollerQueue) claim(ctx context.Context) (int, error) {
	rows, err := q.pool.Query(ctx, `
		UPDATE reminders SET state = 1 WHERE id IN (
			SELECT id FROM reminders WHERE state = 0 AND due <= now() ORDER BY due LIMIT $1 FOR UPDATE SKIP LOCKED
		) RETURNING id, payload`, q.p.Claim)
	if err != nil {
		return 0, fmt.Errorf("claim: %w", err)
	}
	var id int64
	var payload []byte
	var ids []int64
	var payloads [][]byte
	if _, err = pgx.ForEachRow(rows, []any{&id, &payload}, func() error {
		ids, payloads = append(ids, id), append(payloads, payload)
		payload = nil
		return nil
	}); err != nil {
		return 0, fmt.Errorf("claim: %w", err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	for _, payload := range payloads {
		var task Task
		if err := json.Unmarshal(payload, &task); err != nil {
			return 0, fmt.Errorf("read a payload: %w", err)
		}
		q.begun.Note(task.N)
	}
	if _, err := q.pool.Exec(ctx, `UPDATE reminders SET state = 2, sent = now() WHERE id = ANY ($1)`, ids); err != nil {
		return 0, fmt.Errorf("mark as sent: %w", err)
	}
	if int(q.done.Add(int64(len(ids)))) == q.wanted {
		q.finished <- time.Now()
	}
	return len(ids), nil
}

func (q *pollerQueue) Wait(ctx context.Context) (time.Time, error) {
	select {
	case at := <-q.finished:
		return at, nil
	case err := <-q.failed:
		return time.Time{}, err
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

func (q *pollerQueue) Close() error {
	q.stop()
	q.loops.Wait()
	q.pool.Close()
	return q.drop()
}
