package esdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/belltower/belltower/eventstore"
)

const (
	// patience is how long a call waits for a server that is away.
	patience = 5 * time.Second
	// drainTime is how long Close waits for calls that don't end.
	drainTime = 5 * time.Second

	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// connection keeps a client that has a server. The client repairs itself only
// in part: it leaks what it had before, it doesn't notice a silent server, and
// whoever calls it while it looks for a server can't be told to stop waiting. So
// a client that has failed is replaced, and callers wait here meanwhile.
type connection struct {
	config client.Configuration
	logger *slog.Logger

	mu     sync.Mutex
	link   *link         // nil: a server is being looked for
	up     chan struct{} // closed when there is a link
	since  time.Time     // when the last link was lost
	lost   error         // why there is none
	closed bool

	workers workers // guarded by mu
	ticks   atomic.Int64
	closing chan struct{}
	dialing sync.WaitGroup
	calls   sync.WaitGroup
}

// link is a client with a server.
type link struct {
	client *client.Client
	ctx    context.Context // ends when the link is given up
	cancel context.CancelFunc

	users   int // guarded by connection.mu
	retired bool
}

// connect begins to look for a server.
func connect(config client.Configuration, logger *slog.Logger) *connection {
	c := &connection{config: config, logger: logger, up: make(chan struct{}), since: time.Now(), closing: make(chan struct{})}
	c.config.Logger = c.hear
	c.dialing.Go(c.dial)
	c.dialing.Go(c.watch)
	return c
}

// hear takes what the client logs. Its warnings are the only place where it
// says why it finds no server.
func (c *connection) hear(level client.LogLevel, format string, args ...any) {
	said := fmt.Sprintf(format, args...)
	c.logger.Debug("EventStoreDB client: "+said, "level", level)
	if level == client.LogWarn {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link == nil {
			c.lost = errors.New(said)
		}
	}
}

// dial looks for a server until there is one.
func (c *connection) dial() {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		if l := c.try(); l != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.closed {
				l.close()
				return
			}
			c.link, c.lost = l, nil
			close(c.up)
			return
		}
		select {
		case <-c.closing:
			return
		case <-time.After(pause):
		}
	}
}

// try makes a link, nil where there is no server.
func (c *connection) try() *link {
	// A client that looks for a server can't be stopped, so the first one looks
	// only once.
	if err := probe(scouting(c.config), nil); err != nil {
		return nil
	}
	found := make(chan *client.Client, 1)
	go func() {
		// The server may have gone again. Then this ends when it is back.
		if err := probe(lasting(c.config), found); err != nil {
			found <- nil
		}
	}()
	select {
	case made := <-found:
		if made == nil {
			return nil
		}
		l := &link{client: made}
		l.ctx, l.cancel = context.WithCancel(context.Background())
		return l
	case <-c.closing:
		go func() {
			if made := <-found; made != nil {
				_ = made.Close() // never fails
			}
		}()
		return nil
	}
}

// probe makes a client find a server. Where it has, the client is handed over
// to found, or closed.
func probe(config client.Configuration, found chan<- *client.Client) error {
	made, err := client.NewClient(&config)
	if err != nil {
		return err
	}
	if _, err = made.GetServerVersion(); err == nil && found != nil {
		found <- made
		return nil
	}
	_ = made.Close() // never fails
	return err
}

// await waits for a link, until ctx ends. Who gets one releases it.
func (c *connection) await(ctx context.Context) (*link, error) {
	for {
		l, up, err := c.take()
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-up:
		case <-c.closing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take gives the link there is, or what is closed when there is one.
func (c *connection) take() (l *link, up <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, nil, eventstore.ErrClosed
	case c.link == nil:
		return nil, c.up, nil
	}
	c.link.users++
	c.calls.Add(1)
	return c.link, nil, nil
}

// acquire is await for a caller who doesn't wait for ever: at most until a
// deadline, and no longer than patience after the server was lost.
func (c *connection) acquire(ctx context.Context, deadline time.Time) (*link, error) {
	if l, _, err := c.take(); l != nil || err != nil {
		return l, err
	}
	c.mu.Lock()
	if most := c.since.Add(patience); c.link == nil && most.Before(deadline) {
		deadline = most
	}
	c.mu.Unlock()
	waiting, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	l, err := c.await(waiting)
	if err != nil && !errors.Is(err, eventstore.ErrClosed) && ctx.Err() == nil {
		return nil, c.unavailable()
	}
	return l, err
}

// unavailable says that there is no server, and why.
func (c *connection) unavailable() error {
	if reason := c.reason(); reason != nil {
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, reason)
	}
	return eventstore.ErrUnavailable
}

func (c *connection) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// release gives back a link; the last who does so closes one that is given up.
func (c *connection) release(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(l)
}

// leave counts one user of l less. c.mu is held.
func (c *connection) leave(l *link) {
	c.calls.Done()
	l.users--
	if l.retired && l.users == 0 {
		l.close()
	}
}

// retire gives up a link that has failed. Calls that are under way on it end.
func (c *connection) retire(l *link, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l || c.closed {
		return
	}
	c.logger.Warn("the connection to EventStoreDB is lost and made anew", "error", why)
	c.link, c.lost, c.since, c.up = nil, why, time.Now(), make(chan struct{})
	c.give(l)
	c.dialing.Go(c.dial)
}

// give ends what uses l. c.mu is held.
func (c *connection) give(l *link) {
	l.retired = true
	l.cancel()
	c.workers.end(l)
	if l.users == 0 {
		l.close()
	}
}

// close closes a client that nobody uses: it panics under those who do.
func (l *link) close() {
	l.cancel()
	_ = l.client.Close() // never fails
}

func (c *connection) close() {
	c.mu.Lock()
	c.closed = true
	l := c.link
	c.link = nil
	if l != nil {
		c.give(l)
	}
	c.workers.dismiss()
	c.mu.Unlock()
	close(c.closing)
	c.dialing.Wait()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.calls.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(drainTime): // what waits for a server within the client can't be ended
	}
}
