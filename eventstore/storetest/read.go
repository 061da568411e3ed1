package storetest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

var readTests = map[string]func(*fixture){
	"a stream is read in pages": func(f *fixture) {
		s := stream("s")
		f.append(s, eventstore.NoStream, records(7))
		f.append(stream("other"), eventstore.NoStream, records(5))
		f.append(s, 6, records(3))
		all := f.read(s)
		require.Len(f, all, 10)
		for from := range 12 {
			for _, limit := range []int{1, 2, 3, 9, 10, 11, 5000} {
				got, err := f.store.ReadStream(f.ctx, s, int64(from), limit)
				require.NoError(f, err)
				first := min(from, len(all))
				want := all[first:min(first+limit, len(all))]
				require.Len(f, got, len(want))
				for i := range want {
					require.Equal(f, want[i], got[i])
				}
			}
		}
	},

	"an unknown stream has no records": func(f *fixture) {
		s := stream("none")
		got, err := f.store.ReadStream(f.ctx, s, 0, 10)
		require.NoError(f, err)
		require.Empty(f, got)
		_, ok, err := f.store.ReadLast(f.ctx, s)
		require.NoError(f, err)
		require.False(f, ok)
	},

	"the last record of a stream": func(f *fixture) {
		s := stream("s")
		for i := range 5 {
			f.append(s, int64(2*i)-1, records(2))
			f.append(stream("other"), eventstore.NoStream, records(1))
			all := f.read(s)
			last, ok, err := f.store.ReadLast(f.ctx, s)
			require.NoError(f, err)
			require.True(f, ok)
			require.Equal(f, all[len(all)-1], last)
			require.EqualValues(f, 2*i+1, last.Revision)
		}
	},

	"the end moves with each append": func(f *fixture) {
		end := f.origin
		for range 5 {
			p := f.append(stream("s"), eventstore.NoStream, records(3))
			require.True(f, end.Before(p))
			var err error
			end, err = f.store.End(f.ctx)
			require.NoError(f, err)
			require.False(f, end.Before(p), "the end is not before what was appended")
		}
	},

	"a record is found at its position only": func(f *fixture) {
		s := stream("s")
		f.append(s, eventstore.NoStream, records(3))
		for _, want := range f.read(s) {
			got, ok, err := f.store.RecordAt(f.ctx, want.Position)
			require.NoError(f, err)
			require.True(f, ok)
			require.Equal(f, want, got)
		}
		end, err := f.store.End(f.ctx)
		require.NoError(f, err)
		for _, p := range []eventstore.Position{
			eventstore.Start,
			{Commit: end.Commit, Prepare: end.Prepare + 1},
			{Commit: end.Commit + 1_000_000, Prepare: end.Commit + 1_000_000},
		} {
			_, ok, err := f.store.RecordAt(f.ctx, p)
			require.NoError(f, err)
			require.False(f, ok, "nothing is at %v", p)
		}
	},

	"a context that has ended reads nothing": func(f *fixture) {
		s := stream("s")
		p := f.append(s, eventstore.NoStream, records(1))
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		_, err := f.store.ReadStream(ctx, s, 0, 10)
		require.ErrorIs(f, err, context.Canceled)
		_, _, err = f.store.ReadLast(ctx, s)
		require.ErrorIs(f, err, context.Canceled)
		_, err = f.store.End(ctx)
		require.ErrorIs(f, err, context.Canceled)
		_, _, err = f.store.RecordAt(ctx, p)
		require.ErrorIs(f, err, context.Canceled)
	},
}
