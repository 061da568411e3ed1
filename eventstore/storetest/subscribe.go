package storetest

import (
	"context"
	"slices"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
)

// subscribe subscribes and closes at the end of the test.
func (f *fixture) subscribe(after eventstore.Position) eventstore.Subscription {
	f.Helper()
	sub, err := f.store.Subscribe(f.ctx, after)
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, sub.Close()) })
	return sub
}

// next returns the next batch, which must keep what the port says of batches.
func (f *fixture) next(sub eventstore.Subscription, after eventstore.Position) eventstore.Batch {
	f.Helper()
	b, err := sub.Next(f.ctx)
	require.NoError(f, err)
	requireBatch(f, b, after)
	return b
}

func requireBatch(t require.TestingT, b eventstore.Batch, after eventstore.Position) {
	require.LessOrEqual(t, len(b.Records), eventstore.MaxBatch)
	for _, r := range b.Records {
		require.True(t, after.Before(r.Position), "positions increase in the log")
		after = r.Position
	}
	if len(b.Records) > 0 {
		require.Equal(t, after, b.Position)
	} else {
		require.True(t, b.CaughtUp, "only the end of the log is told without records")
	}
}

// history reads until the subscription has caught up.
func (f *fixture) history(sub eventstore.Subscription, after eventstore.Position) []eventstore.Record {
	f.Helper()
	var all []eventstore.Record
	for {
		b := f.next(sub, after)
		require.False(f, len(b.Records) == 0 && len(all) > 0, "the batch before this has told the end")
		all = append(all, b.Records...)
		if b.CaughtUp {
			return all
		}
		after = b.Position
	}
}

var subscribeTests = map[string]func(*fixture){
	"history comes in order and in full, from anywhere": func(f *fixture) {
		streams := []string{stream("a"), stream("b"), stream("c")}
		ends := []int64{-1, -1, -1}
		for i := range 30 {
			n := 1 + i%4
			f.append(streams[i%3], ends[i%3], records(n))
			ends[i%3] += int64(n)
		}
		var want []eventstore.Record
		for _, s := range streams {
			want = append(want, f.read(s)...)
		}
		slices.SortFunc(want, func(a, b eventstore.Record) int { return a.Position.Compare(b.Position) })

		require.Equal(f, want, f.history(f.subscribe(f.origin), f.origin))
		for _, i := range []int{0, 1, len(want) / 2, len(want) - 2} {
			after := want[i].Position
			require.Equal(f, want[i+1:], f.history(f.subscribe(after), after))
		}
		var ours []eventstore.Record
		for _, r := range f.history(f.subscribe(eventstore.Start), eventstore.Start) {
			if slices.Contains(streams, r.Stream) {
				ours = append(ours, r)
			}
		}
		require.Equal(f, want, ours)
	},

	"at the end an empty batch says so once, then what comes is delivered": func(f *fixture) {
		f.append(stream("before"), eventstore.NoStream, records(2))
		end, err := f.store.End(f.ctx)
		require.NoError(f, err)
		sub := f.subscribe(end)
		b := f.next(sub, end)
		require.Empty(f, b.Records)
		require.True(f, b.CaughtUp)
		require.False(f, b.Position.Before(end))

		for i := range 5 {
			s, given := stream("s"), records(i+1)
			done := make(chan error, 1)
			go func() {
				_, err := f.store.Append(f.ctx, s, eventstore.NoStream, given)
				done <- err
			}()
			var got []eventstore.Record
			for len(got) < len(given) {
				b = f.next(sub, b.Position)
				require.NotEmpty(f, b.Records)
				got = append(got, b.Records...)
			}
			require.NoError(f, <-done)
			require.True(f, b.CaughtUp)
			require.Equal(f, f.read(s), got)
		}
	},

	"a long history comes in batches, the last of which is caught up": func(f *fixture) {
		s := stream("s")
		const appends = 2
		for i := range appends {
			f.append(s, int64(i*eventstore.MaxAppendRecords)-1, records(eventstore.MaxAppendRecords))
		}
		f.append(s, appends*eventstore.MaxAppendRecords-1, records(1))
		require.Equal(f, f.read(s), f.history(f.subscribe(f.origin), f.origin))

		// A history of exactly one full batch has no empty one behind it.
		f.history(f.subscribe(f.origin), f.origin)
		all := f.read(s)
		after := all[len(all)-1-eventstore.MaxBatch].Position
		require.Len(f, f.history(f.subscribe(after), after), eventstore.MaxBatch)
	},

	"large records come too": func(f *fixture) {
		s := stream("s")
		for i := range 12 {
			f.append(s, int64(i)-1, []eventstore.NewRecord{sized(eventstore.MaxAppendBytes)})
		}
		require.Len(f, f.history(f.subscribe(f.origin), f.origin), 12)
	},

	"from history to live without a gap or a repeat, the same for all": func(f *fixture) {
		const writers, each = 8, 40
		for range 10 {
			f.append(stream("before"), eventstore.NoStream, records(50))
		}
		const total = 10*50 + writers*each
		var g errgroup.Group
		for range writers {
			g.Go(func() error {
				s := stream("s")
				for n := range each {
					if _, err := f.store.Append(f.ctx, s, int64(n)-1, records(1)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		const subscribers = 3
		var batches [subscribers][]eventstore.Batch
		for i := range batches {
			sub := f.subscribe(f.origin)
			g.Go(func() error {
				for n := 0; n < total; {
					b, err := sub.Next(f.ctx)
					if err != nil {
						return err
					}
					n += len(b.Records)
					batches[i] = append(batches[i], b)
				}
				return nil
			})
		}
		require.NoError(f, g.Wait())
		var seen [subscribers][]eventstore.Record
		for i := range seen {
			after := f.origin
			for _, b := range batches[i] {
				requireBatch(f, b, after)
				after = b.Position
				seen[i] = append(seen[i], b.Records...)
			}
		}
		ends := map[string]int64{}
		for _, r := range seen[0] {
			require.Equal(f, ends[r.Stream], r.Revision, "revisions come in order")
			ends[r.Stream]++
		}
		for i := range seen {
			require.Len(f, seen[i], total)
			require.Equal(f, seen[0], seen[i])
		}
	},

	"who does not read holds up nobody, and misses nothing": func(f *fixture) {
		idle := f.subscribe(f.origin)
		late := f.subscribe(f.origin)
		first := f.next(late, f.origin)
		require.True(f, first.CaughtUp)
		s := stream("s")
		for n := range 300 {
			f.append(s, int64(10*n)-1, records(10))
		}
		want := f.read(s)
		require.Equal(f, want, f.history(late, first.Position))
		require.Equal(f, want, f.history(idle, f.origin))
	},

	"a position behind the end is waited for": func(f *fixture) {
		// Where positions lead is the store's own, so they are found by appending.
		var at []eventstore.Position
		s := stream("s")
		for n := range 3 {
			at = append(at, f.append(s, int64(n)-1, records(1)))
		}
		end := at[2]
		beyond := eventstore.Position{Commit: end.Commit + 1, Prepare: end.Prepare + 1}
		sub := f.subscribe(beyond)
		b := f.next(sub, end)
		require.Empty(f, b.Records)
		var g errgroup.Group
		g.Go(func() error {
			for n := range 20 {
				if _, err := f.store.Append(f.ctx, s, int64(n)+2, records(1)); err != nil {
					return err
				}
			}
			return nil
		})
		require.NotEmpty(f, f.next(sub, beyond).Records)
		require.NoError(f, g.Wait())
	},

	"a context ends waiting, the subscription goes on": func(f *fixture) {
		sub := f.subscribe(f.origin)
		f.next(sub, f.origin)
		ctx, cancel := context.WithCancel(f.ctx)
		done := make(chan error, 1)
		go func() {
			_, err := sub.Next(ctx)
			done <- err
		}()
		cancel()
		require.ErrorIs(f, <-done, context.Canceled)
		f.append(stream("s"), eventstore.NoStream, records(1))
		require.Len(f, f.next(sub, f.origin).Records, 1)
	},

	"closing ends waiting": func(f *fixture) {
		sub := f.subscribe(f.origin)
		f.next(sub, f.origin)
		done := make(chan error, 1)
		go func() {
			_, err := sub.Next(f.ctx)
			done <- err
		}()
		require.NoError(f, sub.Close())
		require.ErrorIs(f, <-done, eventstore.ErrClosed)
		_, err := sub.Next(f.ctx)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		require.NoError(f, sub.Close(), "closing again does nothing")
	},
}
