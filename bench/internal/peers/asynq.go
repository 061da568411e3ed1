package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
)

// AsynqDefault is Asynq with an empty Config: as many workers as processors, a
// look at what is scheduled every 5 s, and at an empty queue every second (the
// comments of asynq.Config).
var AsynqDefault = Asynq{}

// AsynqTuned has as many workers as our channel has (128), and looks at what is
// scheduled and at an empty queue ten times a second; the comment of
// TaskCheckInterval warns that a value that is too low loads Redis.
var AsynqTuned = Asynq{asynq.Config{Concurrency: 128, DelayedTaskCheckInterval: 100 * time.Millisecond, TaskCheckInterval: 100 * time.Millisecond}}

// Asynq is Asynq on Redis.
type Asynq struct{ Config asynq.Config }

// Open gives what begins a server on a Redis that syncs its file as fsync says
// (see lab.Redis).
func (a Asynq) Open(fsync string) Open {
	return func(ctx context.Context, l *lab.Lab, begun *Begun) (Queue, error) {
		address, end, err := l.Redis(ctx, fsync)
		if err != nil {
			return nil, err
		}
		redis := asynq.RedisClientOpt{Addr: address}
		config := a.Config
		config.Logger, config.LogLevel = silent{}, asynq.FatalLevel
		q := &asynqQueue{client: asynq.NewClient(redis), inspector: asynq.NewInspector(redis), server: asynq.NewServer(redis, config), end: end}
		err = q.server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
			var task Task
			if err := json.Unmarshal(t.Payload(), &task); err != nil {
				return err
			}
			begun.Note(task.N)
			return nil
		}))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start Asynq: %w", err), end())
		}
		return q, nil
	}
}

type asynqQueue struct {
	client    *asynq.Client
	inspector *asynq.Inspector
	server    *asynq.Server
	end       func() error
	tasks     int
}

// Load enqueues one by one, as Asynq has no other way, from many callers.
func (q *asynqQueue) Load(ctx context.Context, due []time.Time) error {
	q.tasks = len(due)
	_, err := load.Times(ctx, 64, len(due), func(ctx context.Context, _, n int) error {
		payload, err := json.Marshal(task(n))
		if err == nil {
			_, err = q.client.EnqueueContext(ctx, asynq.NewTask(Task{}.Kind(), payload), asynq.ProcessAt(due[n]))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("enqueue tasks: %w", err)
	}
	return nil
}

// Wait asks for the counters of the queue; a task that is done is counted and
// removed in one step.
func (q *asynqQueue) Wait(ctx context.Context) (time.Time, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := q.inspector.GetQueueInfo("default")
		if err != nil {
			return time.Time{}, fmt.Errorf("ask Asynq what is done: %w", err)
		}
		if info.ProcessedTotal >= q.tasks {
			return time.Now(), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}

func (q *asynqQueue) Close() error {
	q.server.Shutdown()
	return errors.Join(q.client.Close(), q.inspector.Close(), q.end())
}

// silent is a logger of Asynq's that says nothing.
type silent struct{}

// Debug says nothing.
func (silent) Debug(...any) {}

// Info says nothing.
func (silent) Info(...any) {}

// Warn says nothing.
func (silent) Warn(...any) {}

// Error says nothing.
func (silent) Error(...any) {}

// Fatal says nothing.
func (silent) Fatal(...any) {}
