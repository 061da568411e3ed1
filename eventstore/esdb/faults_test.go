package esdb_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdb"
	"github.com/belltower/belltower/eventstore/esdbserver"
	"github.com/belltower/belltower/internal/freeport"
)

func address(at string) string {
	return strings.TrimSuffix(strings.TrimPrefix(at, "esdb://"), "?tls=false")
}

// faulty is a store behind a wire that fails.
type faulty struct {
	*testing.T
	*proxy
	log   *embedded.Log
	store *esdb.Store
}

func newFaulty(t *testing.T) *faulty {
	log := embeddedLog(t)
	p := newProxy(t, address(served(t, log)))
	return &faulty{t, p, log, opened(t, p.at(), esdb.Options{Prefixes: []string{"event-"}})}
}

func some(n int) []eventstore.NewRecord {
	records := make([]eventstore.NewRecord, n)
	for i := range records {
		records[i] = eventstore.NewRecord{ID: uuid.New(), Type: "TestHappened", Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{}`)}
	}
	return records
}

// settled appends until it is known that it was done, as commands does.
func settled(ctx context.Context, store eventstore.Store, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	for {
		p, err := store.Append(ctx, stream, expected, records)
		if err == nil || (!errors.Is(err, eventstore.ErrUnknownOutcome) && !errors.Is(err, eventstore.ErrUnavailable)) {
			return p, err
		}
		if ctx.Err() != nil {
			return p, err
		}
	}
}

// patience is how long a test waits for what has to come.
const patience = 10 * time.Minute

// load appends from many writers, while trouble goes on, and follows what
// comes; trouble waits, with more, until so many more appends are answered. Nothing is lost, nothing comes twice, and everything in order.
func load(t *testing.T, store eventstore.Store, log func() *embedded.Log, trouble func(more func(appends int))) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sub, err := store.Subscribe(ctx, eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	const writers = 8
	stop := make(chan struct{})
	var mu sync.Mutex
	acknowledged := map[uuid.UUID]eventstore.Position{}
	answered := make(chan struct{})
	var writing errgroup.Group
	for range writers {
		writing.Go(func() error {
			stream, expected := "event-"+uuid.NewString(), eventstore.NoStream
			for n := 0; ; n++ {
				select {
				case <-stop:
					return nil
				default:
				}
				records := some(1 + n%4)
				p, err := settled(ctx, store, stream, expected, records)
				if err != nil {
					return err
				}
				expected += int64(len(records))
				mu.Lock()
				for _, r := range records {
					acknowledged[r.ID] = eventstore.Start
				}
				acknowledged[records[len(records)-1].ID] = p
				mu.Unlock()
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	trouble(func(appends int) {
		for range appends {
			select {
			case <-answered:
			case <-ctx.Done():
				require.FailNow(t, "nothing is appended any more")
			}
		}
	})
	close(stop)
	require.NoError(t, writing.Wait())

	var all []eventstore.Record
	truth, err := log().Subscribe(ctx, eventstore.Start)
	require.NoError(t, err)
	defer truth.Close()
	for caughtUp := false; !caughtUp; {
		b, err := truth.Next(ctx)
		require.NoError(t, err)
		all = append(all, b.Records...)
		caughtUp = b.CaughtUp
	}
	require.Len(t, all, len(acknowledged), "each acknowledged record is there once, and no other")
	require.NotEmpty(t, all)
	ends := map[string]int64{}
	for _, r := range all {
		p, ok := acknowledged[r.ID]
		require.True(t, ok)
		if p != eventstore.Start {
			require.Equal(t, r.Position, p, "the position that was answered")
		}
		require.Equal(t, ends[r.Stream], r.Revision)
		ends[r.Stream]++
	}
	var followed []eventstore.Record
	for len(followed) < len(all) {
		b, err := sub.Next(ctx)
		require.NoError(t, err)
		followed = append(followed, b.Records...)
	}
	require.Equal(t, all, followed)
}

func (f *faulty) load(trouble func(more func(appends int))) {
	load(f.T, f.store, func() *embedded.Log { return f.log }, trouble)
}

// The wire is slow, and what it carries comes in small pieces.
func TestLatency(t *testing.T) {
	f := newFaulty(t)
	for _, direction := range []string{up, down} {
		f.add("latency", direction, attributes{"latency": 20, "jitter": 10})
		f.add("slicer", direction, attributes{"average_size": 100, "size_variation": 50, "delay": 10})
	}
	f.load(func(more func(int)) { more(100) })
}

func TestCutsUnderLoad(t *testing.T) {
	f := newFaulty(t)
	f.load(func(more func(int)) {
		for range 20 {
			more(10)
			f.cutAll()
		}
	})
}

// A connection is cut, or garbled, now and then within what a client sends.
func TestCutsWithinAppends(t *testing.T) {
	for what, a := range map[string]attributes{"limit_data": {"bytes": 30 << 10}, "repeat": {"after": 30 << 10}} {
		t.Run(what, func(t *testing.T) {
			f := newFaulty(t)
			f.load(func(more func(int)) {
				remove := f.add(what, up, a)
				more(200)
				remove()
			})
		})
	}
}

// An append of which half has come is none.
func TestHalfAnAppend(t *testing.T) {
	f := newFaulty(t)
	large := make([]eventstore.NewRecord, 16)
	for i := range large {
		large[i] = eventstore.NewRecord{ID: uuid.New(), Type: "T", Data: fmt.Appendf(nil, "%q", strings.Repeat("x", 40<<10)), Metadata: []byte("{}")}
	}
	remove := f.add("limit_data", up, attributes{"bytes": 300 << 10})
	_, err := f.store.Append(t.Context(), "event-large", eventstore.NoStream, large)
	require.Error(t, err, "it never gets through as a whole")
	got, err := f.log.ReadStream(t.Context(), "event-large", 0, 100)
	require.NoError(t, err)
	require.Empty(t, got)
	remove()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, err := settled(ctx, f.store, "event-large", eventstore.NoStream, large)
	require.NoError(t, err)
	got, err = f.log.ReadStream(t.Context(), "event-large", 0, 100)
	require.NoError(t, err)
	require.Len(t, got, 16)
	require.Equal(t, got[15].Position, p)
}

// unavailable waits until appends are refused at once, with the certainty that nothing was appended.
func (f *faulty) unavailable() {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	for {
		_, err := f.store.Append(ctx, "event-2", eventstore.NoStream, some(1))
		if errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrUnknownOutcome) {
			return
		}
		require.NoError(f, ctx.Err())
	}
}

// A connection on which nothing comes any more, though nobody has closed it, is given up.
func TestHalfOpen(t *testing.T) {
	f := newFaulty(t)
	sub, err := f.store.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	_, err = f.store.Append(t.Context(), "event-1", eventstore.NoStream, some(1))
	require.NoError(t, err)
	b, err := sub.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, b.Records, 1)
	removeUp, removeDown := f.add("timeout", up, attributes{"timeout": 0}), f.add("timeout", down, attributes{"timeout": 0})
	f.unavailable()
	removeUp()
	removeDown()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = settled(ctx, f.store, "event-1", 0, some(1))
	require.NoError(t, err)
	b, err = sub.Next(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, b.Records[0].Revision)
}

// While there is no server, calls say so, at once after a while; subscriptions
// wait and go on.
func TestServerAway(t *testing.T) {
	f := newFaulty(t)
	sub, err := f.store.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	p, err := f.store.Append(t.Context(), "event-1", eventstore.NoStream, some(1))
	require.NoError(t, err)
	b, err := sub.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, p, b.Position)
	f.down()
	next := make(chan eventstore.Batch, 1)
	go func() {
		b, err := sub.Next(t.Context())
		if err == nil {
			next <- b
		}
	}()
	f.unavailable()
	_, err = f.store.End(t.Context())
	require.ErrorIs(t, err, eventstore.ErrUnavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.store.Append(ctx, "event-2", eventstore.NoStream, some(1))
	require.ErrorIs(t, err, context.Canceled)

	f.up()
	within, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = settled(within, f.store, "event-1", 0, some(1))
	require.NoError(t, err)
	select {
	case b = <-next:
		require.EqualValues(t, 1, b.Records[0].Revision)
	case <-within.Done():
		require.Fail(t, "the subscription does not go on")
	}
}

// The server restarts again and again under load.
func TestRestartsUnderLoad(t *testing.T) {
	folder := t.TempDir()
	at := freeport.Address(t)
	listener, err := net.Listen("tcp", at)
	require.NoError(t, err)
	var log *embedded.Log
	var server *esdbserver.Server
	var ended chan error
	begin := func() {
		log, err = embedded.Open(t.Context(), folder, embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		server, ended = esdbserver.New(esdbserver.Options{Store: log}), make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
	}
	end := func() {
		server.Close()
		require.NoError(t, <-ended)
		require.NoError(t, log.Close())
	}
	begin()
	defer func() { end() }()
	store := opened(t, "esdb://"+at+"?tls=false", esdb.Options{Prefixes: []string{"event-"}})
	load(t, store, func() *embedded.Log { return log }, func(more func(int)) {
		for range 5 {
			more(50)
			end()
			listener, err = net.Listen("tcp", at)
			require.NoError(t, err)
			begin()
		}
		more(50)
	})
}

// A store that is closed while there is no server doesn't wait for one.
func TestCloseWithoutServer(t *testing.T) {
	f := newFaulty(t)
	f.down()
	_, err := f.store.End(t.Context())
	require.Error(t, err)
	require.NoError(t, f.store.Close())
	_, err = f.store.End(t.Context())
	require.ErrorIs(t, err, eventstore.ErrClosed)
}

// Facts of others are looked through by the server, and how far it has come is kept.
func TestForeignEvents(t *testing.T) {
	f := newFaulty(t)
	_, err := f.store.Append(t.Context(), "event-1", eventstore.NoStream, some(1))
	require.NoError(t, err)
	end, err := f.store.End(t.Context())
	require.NoError(t, err)
	for range 20 {
		_, err := f.log.Append(t.Context(), "$stats-"+uuid.NewString(), eventstore.NoStream, some(1000))
		require.NoError(t, err)
	}
	for range 2 {
		now, err := f.store.End(t.Context())
		require.NoError(t, err)
		require.Equal(t, end, now, "the server's own events are not the end of ours")
	}
	other := opened(t, f.at(), esdb.Options{Prefixes: []string{"event-"}})
	now, err := other.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, end, now)
	sub, err := other.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	b, err := sub.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, b.Records, 1)
	require.True(t, b.CaughtUp)
}

// Nor is what this store itself appends to other streams, as a lease.
func TestOtherStreamsAreNotTheEnd(t *testing.T) {
	f := newFaulty(t)
	p, err := f.store.Append(t.Context(), "event-1", eventstore.NoStream, some(1))
	require.NoError(t, err)
	for n := range int64(3) {
		_, err := f.store.Append(t.Context(), "lease", n-1, some(1))
		require.NoError(t, err)
		end, err := f.store.End(t.Context())
		require.NoError(t, err)
		require.Equal(t, p, end)
	}
	_, err = f.store.Append(t.Context(), "lease", 2, some(2)) // of which the position is read
	require.NoError(t, err)
	end, err := f.store.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, p, end)
}

func TestOpenRefuses(t *testing.T) {
	for server, says := range map[string]string{
		"esdb://":                            "connection string",
		"http://ann:secret@localhost":        "connection string",
		"esdb://ann:secret@host:x":           "connection string",
		"esdb://ann:secret@host?tls=false":   "TLS",
		"esdb://host?userCertFile=/nowhere":  "connection string",
		"esdb://ann:secret@host?tls=perhaps": "connection string",
	} {
		_, err := esdb.Open(t.Context(), server, esdb.Options{})
		require.ErrorContains(t, err, says, server)
		require.NotContains(t, err.Error(), "secret", server)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := esdb.Open(ctx, "esdb://127.0.0.1:1?tls=false", esdb.Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "refused", "the reason is told")
}
