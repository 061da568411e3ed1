package esdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

const (
	// silence is how long an answer may be on its way before the connection is
	// given up, to a tick.
	silence      = 5 * time.Second
	tick         = 250 * time.Millisecond
	silenceTicks = int64(silence/tick) + 1 // the first one may come at once
)

var (
	errLinkLost = errors.New("the connection was given up")
	errSilent   = errors.New("the server does not answer")
)

// operation is what is done with a client.
type operation[T any] func(ctx context.Context, alive func(), c *client.Client) (T, error)

// call runs do with a context that ends with ctx, with the link, or when do has
// not called alive for as long as silence. It returns when that context ends, also
// while the client still waits for a server. l is released.
func call[T any](ctx context.Context, c *connection, l *link, do operation[T]) (T, error) {
	called, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type outcome struct {
		value T
		err   error
	}
	made, w := new(outcome), c.employ(l, cancel) // made is the worker's until it is done
	w.jobs <- func() { made.value, made.err = guarded(called, w.alive, l.client, do) }
	o, ended := outcome{}, true
	select {
	case <-w.done:
	case <-called.Done():
		// What was called ends with its context, but for a client that waits for a server.
		select {
		case <-w.done:
		case <-time.After(10 * time.Millisecond):
			ended = false
		}
	}
	if ended {
		o = *made
		c.discharge(w)
	} else {
		o.err = context.Cause(called)
		go func() {
			<-w.done
			c.discharge(w)
		}()
	}
	if o.err != nil {
		if cause := context.Cause(called); cause != nil && !errors.Is(o.err, cause) && ctx.Err() == nil {
			o.err = fmt.Errorf("%w: %w", cause, o.err)
		}
	}
	return o.value, o.err
}

// guarded runs do. The client panics when a server sends what it doesn't know.
func guarded[T any](ctx context.Context, alive func(), c *client.Client, do operation[T]) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the client failed: %v", p)
		}
	}()
	return do(ctx, alive, c)
}

// employ gives a worker for one call on l, which cancel ends.
func (c *connection) employ(l *link, cancel context.CancelCauseFunc) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers.take(&c.ticks)
	w.link, w.cancel = l, cancel
	w.alive()
	if l.retired {
		cancel(errLinkLost)
	}
	return w
}

// discharge takes a worker back whose call has ended, and releases its link.
func (c *connection) discharge(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := w.link
	w.link, w.cancel = nil, nil
	c.workers.give(w, c.closed)
	c.leave(l)
}

// watch ends calls whose server is silent. One clock for all costs less than a
// timer for each.
func (c *connection) watch() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-c.closing:
			return
		case <-ticker.C:
		}
		now := c.ticks.Add(1)
		c.mu.Lock()
		c.workers.endSilent(now - silenceTicks)
		c.mu.Unlock()
	}
}
