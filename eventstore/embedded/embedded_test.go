package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/storetest"
)

// quiet is what tests that break things open the log with.
func quiet() Options { return Options{Logger: slog.New(slog.DiscardHandler)} }

func mustOpen(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(t.Context(), dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func some(n int) []eventstore.NewRecord {
	records := make([]eventstore.NewRecord, n)
	for i := range records {
		records[i] = eventstore.NewRecord{ID: uuid.New(), Type: "TestHappened", Data: []byte(`{"a":1}`), Metadata: []byte(`{}`)}
	}
	return records
}

// everything reads the log from its beginning to its present end.
func everything(t testing.TB, l *Log) []eventstore.Record {
	t.Helper()
	sub, err := l.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	var all []eventstore.Record
	for {
		b, err := sub.Next(t.Context())
		require.NoError(t, err)
		all = append(all, b.Records...)
		if b.CaughtUp {
			return all
		}
	}
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (eventstore.Store, func() eventstore.Store) {
		dir := t.TempDir()
		l := mustOpen(t, dir, Options{})
		return l, func() eventstore.Store {
			require.NoError(t, l.Close())
			l = mustOpen(t, dir, Options{})
			return l
		}
	})
}

func TestPositionsAreGapless(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	var g errgroup.Group
	for i := range 32 {
		g.Go(func() error {
			stream := fmt.Sprint("s", i%8) // four race for each: refused appends leave no gap either
			for range 10 {
				last, ok, err := l.ReadLast(t.Context(), stream)
				if err != nil {
					return err
				}
				expected := eventstore.NoStream
				if ok {
					expected = last.Revision
				}
				_, err = l.Append(t.Context(), stream, expected, some(1+i%3))
				if err != nil {
					require.ErrorIs(t, err, eventstore.ErrWrongRevision)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	all := everything(t, l)
	require.GreaterOrEqual(t, len(all), 80)
	for i, r := range all {
		n := uint64(i + 1)
		require.Equal(t, eventstore.Position{Commit: n, Prepare: n}, r.Position)
	}
	end, err := l.End(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, len(all), end.Commit)
	require.True(t, l.Exclusive())
}

func TestCallersShareSyncs(t *testing.T) {
	l := mustOpen(t, t.TempDir(), Options{})
	const callers, each = 64, 20
	var g errgroup.Group
	for i := range callers {
		g.Go(func() error {
			for n := range each {
				if _, err := l.Append(t.Context(), fmt.Sprint("s", i), int64(n)-1, some(1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	s := l.Stats()
	require.EqualValues(t, callers*each, s.Appends)
	require.EqualValues(t, callers*each, s.Records)
	require.Less(t, s.Syncs, s.Appends/2)
	require.Positive(t, s.SyncTime)
	require.Positive(t, s.LastBatch)
	t.Logf("%d appends shared %d syncs", s.Appends, s.Syncs)
}

// Two names with the same hash: FNV-1a of 64 bits has such pairs.
func TestStreamsWithTheSameHash(t *testing.T) {
	const a, b = "8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"
	require.Equal(t, hash(a), hash(b))
	l := mustOpen(t, t.TempDir(), Options{})
	ofA, ofB := some(3), some(1)
	_, err := l.Append(t.Context(), a, eventstore.NoStream, ofA)
	require.NoError(t, err)
	_, err = l.Append(t.Context(), b, eventstore.NoStream, ofB)
	require.NoError(t, err)
	p, err := l.Append(t.Context(), b, eventstore.NoStream, ofB)
	require.NoError(t, err)
	require.Equal(t, position(4), p)
	_, err = l.Append(t.Context(), b, 2, some(1))
	require.ErrorIs(t, err, eventstore.ErrWrongRevision)
	for stream, want := range map[string]int{a: 3, b: 1} {
		got, err := l.ReadStream(t.Context(), stream, 0, 10)
		require.NoError(t, err)
		require.Len(t, got, want)
		last, _, err := l.ReadLast(t.Context(), stream)
		require.NoError(t, err)
		require.EqualValues(t, want-1, last.Revision)
	}
}

func TestCreatedIsTheClocks(t *testing.T) {
	now := time.Date(2031, 5, 6, 7, 8, 9, 123456789, time.FixedZone("", 3600))
	l := mustOpen(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.NoError(t, err)
	r, ok, err := l.ReadLast(t.Context(), "s")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, now.UTC().Truncate(time.Microsecond), r.Created)
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.NoError(t, err)
	for name, mode := range map[string]os.FileMode{".": 0o700, "lock": 0o600, "events.db": 0o600, "events.db-wal": 0o600, "events.db-shm": 0o600, "streams.db": 0o600, "streams.db-wal": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	require.NoError(t, l.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "a closed log is events.db, streams.db and lock, nothing else")
}

func TestASecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := Open(t.Context(), dir, Options{})
	require.ErrorIs(t, err, eventstore.ErrLocked)
	require.ErrorContains(t, err, dir)
	require.NoError(t, l.Close())
	mustOpen(t, dir, Options{})
}

// The WAL is begun anew under load, or it would grow for as long as there is any.
func TestTheWALStaysShort(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	large := make([]byte, 500_000)
	for i := range large {
		large[i] = 'x'
	}
	var written atomic.Int64
	var g errgroup.Group
	for i := range 2 {
		g.Go(func() error {
			// How much comes between two checkpoints depends on the machine.
			for n := int64(0); l.Stats().Checkpoints < 3; n++ {
				record := some(1)
				record[0].Data = large
				if _, err := l.Append(t.Context(), fmt.Sprint("s", i), n-1, record); err != nil {
					return err
				}
				written.Add(int64(len(large)))
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	info, err := os.Stat(filepath.Join(dir, "events.db-wal"))
	require.NoError(t, err)
	require.Less(t, info.Size(), written.Load(), "a log that was never begun anew holds all that was written")
}

func TestInABubble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		l, err := Open(ctx, dir, Options{})
		require.NoError(t, err)
		sub, err := l.Subscribe(ctx, eventstore.Start)
		require.NoError(t, err)
		b, err := sub.Next(ctx)
		require.NoError(t, err)
		require.True(t, b.CaughtUp)

		started := time.Now()
		go func() {
			time.Sleep(time.Hour)
			_, err := l.Append(ctx, "s", eventstore.NoStream, some(2))
			assert.NoError(t, err)
		}()
		b, err = sub.Next(ctx)
		require.NoError(t, err)
		require.Len(t, b.Records, 2)
		require.Equal(t, started.Add(time.Hour).UTC(), b.Records[0].Created)
		require.Equal(t, time.Hour, time.Since(started))

		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err = sub.Next(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, l.Close())
		synctest.Wait()
	})
}
