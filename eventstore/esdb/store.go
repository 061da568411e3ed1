// Package esdb keeps the log in EventStoreDB, version 23.10 or newer, through
// its official client. docs/eventstoredb.md says what was assumed of the server
// where its documentation is silent.
package esdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/belltower/belltower/eventstore"
)

// Options is how a Store uses its server.
type Options struct {
	// Prefixes are how the names of our streams begin. Subscriptions, which the
	// server filters, and End know no other streams. Without any, all streams but
	// the server's own are ours.
	Prefixes []string
	// KeepLast are streams of which the last record alone is of use: the server
	// is told to keep no other.
	KeepLast []string
	// Appended hears how long an append took until it was answered with success,
	// from many goroutines at once; nil: nobody does.
	Appended func(took time.Duration)
	Logger   *slog.Logger
}

// Store is an eventstore.Store in EventStoreDB. While the server can't be
// reached, calls wait for it for a few seconds, and subscriptions for as long as
// it takes.
type Store struct {
	o    Options
	conn *connection
	end  knownEnd

	life    context.Context // ends with Close
	endLife context.CancelFunc
	closing sync.Once
}

var _ eventstore.Store = (*Store)(nil)

// openTimeout bounds how long Open waits for a server.
const openTimeout = 30 * time.Second

// Open connects to the server that a connection string names
// ("esdb://login:password@host:2113?tls=true"), and fails where it can't be
// reached, is too old, or doesn't let us read $all.
func Open(ctx context.Context, server string, o Options) (*Store, error) {
	config, err := parse(server)
	if err != nil {
		return nil, fmt.Errorf("open EventStoreDB: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, conn: connect(config, o.Logger)}
	s.life, s.endLife = context.WithCancel(context.Background())
	waiting, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := s.begin(waiting); err != nil {
		if reason := s.conn.reason(); reason != nil {
			err = fmt.Errorf("%w: %w", err, reason)
		}
		return nil, errors.Join(fmt.Errorf("open EventStoreDB: %w", err), s.Close())
	}
	return s, nil
}

// Check tells whether a connection string can be read. What it says of a
// mistake shows no password.
func Check(server string) error {
	_, err := parse(server)
	return err
}

// begin checks that the server is one to work with.
func (s *Store) begin(ctx context.Context) error {
	l, err := s.conn.await(ctx)
	if err != nil {
		return err
	}
	version, err := l.client.GetServerVersion()
	s.conn.release(l)
	if err != nil {
		return err
	}
	if version.Major < 23 || (version.Major == 23 && version.Minor < 10) {
		return fmt.Errorf("the server is version %d.%d.%d, and 23.10 or newer is needed", version.Major, version.Minor, version.Patch)
	}
	if _, err := s.End(ctx); err != nil {
		return fmt.Errorf("read $all: %w", err)
	}
	for _, stream := range s.o.KeepLast {
		if err := s.keepLast(ctx, stream); err != nil {
			return fmt.Errorf("let the server keep the last of %s alone: %w", stream, err)
		}
	}
	return nil
}

// keepLast sets a stream's $maxCount to 1, unless it is that.
func (s *Store) keepLast(ctx context.Context, stream string) error {
	_, _, err := attempts(ctx, s, func(ctx context.Context, _ func(), c *client.Client) (struct{}, error) {
		present, err := c.GetStreamMetadata(withLeader(ctx), stream, client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}})
		if err == nil && present.MaxCount() != nil && *present.MaxCount() == 1 {
			return struct{}{}, nil
		} else if err != nil && !isCode(err, client.ErrorCodeResourceNotFound) {
			return struct{}{}, err
		}
		var wanted client.StreamMetadata
		wanted.SetMaxCount(1)
		_, err = c.SetStreamMetadata(withLeader(ctx), stream, client.AppendToStreamOptions{}, wanted)
		return struct{}{}, err
	})
	return err
}

// Exclusive is false: others may use the same server.
func (s *Store) Exclusive() bool { return false }

// Close implements eventstore.Store. Calls under way end; the outcome of their
// appends is unknown.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.endLife()
		s.conn.close()
	})
	return nil
}

// check returns the reason why a call can't be made.
func (s *Store) check(ctx context.Context) error {
	if s.life.Err() != nil {
		return eventstore.ErrClosed
	}
	return ctx.Err()
}

// ours tells whether a stream is one of those that the log consists of.
func (s *Store) ours(stream string) bool {
	if len(s.o.Prefixes) == 0 {
		return !strings.HasPrefix(stream, "$")
	}
	for _, p := range s.o.Prefixes {
		if strings.HasPrefix(stream, p) {
			return true
		}
	}
	return false
}
