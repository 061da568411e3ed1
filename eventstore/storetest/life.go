package storetest

import (
	"sync"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
)

var lifeTests = map[string]func(*fixture){
	"everything is there after reopening": func(f *fixture) {
		a, b := stream("a"), stream("b")
		first, second, third := records(3), records(2), records(1)
		p := f.append(a, eventstore.NoStream, first)
		f.append(b, eventstore.NoStream, second)
		f.append(a, 2, third)
		before := f.history(f.subscribe(f.origin), f.origin)

		f.store = f.reopen()
		require.Equal(f, before, f.history(f.subscribe(f.origin), f.origin))
		f.holds(a, first, third)
		f.holds(b, second)
		require.Equal(f, p, f.append(a, eventstore.NoStream, first), "a repeated append is known")
		f.refused(a, eventstore.NoStream, 3, records(1))

		more := records(2)
		f.append(a, 3, more)
		f.store = f.reopen()
		f.holds(a, first, third, more)
		all := f.history(f.subscribe(f.origin), f.origin)
		require.Equal(f, before, all[:len(before)])
		require.Len(f, all, len(before)+len(more))
	},

	"a closed store says so": func(f *fixture) {
		s := stream("s")
		p := f.append(s, eventstore.NoStream, records(1))
		sub := f.subscribe(f.origin)
		require.NoError(f, f.store.Close())
		require.NoError(f, f.store.Close(), "closing again does nothing")

		_, err := f.store.Append(f.ctx, s, 0, records(1))
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, err = f.store.ReadStream(f.ctx, s, 0, 1)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, _, err = f.store.ReadLast(f.ctx, s)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, err = f.store.End(f.ctx)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, _, err = f.store.RecordAt(f.ctx, p)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, err = f.store.Subscribe(f.ctx, f.origin)
		require.ErrorIs(f, err, eventstore.ErrClosed)
		_, err = sub.Next(f.ctx)
		require.ErrorIs(f, err, eventstore.ErrClosed)
	},

	"closing under load loses nothing that was acknowledged": func(f *fixture) {
		const writers = 16
		var mu sync.Mutex
		acknowledged := map[string]int{}
		sub := f.subscribe(f.origin)
		var g errgroup.Group
		started := make(chan struct{}, writers)
		for range writers {
			g.Go(func() error {
				s := stream("s")
				for n := 0; ; n++ {
					if _, err := f.store.Append(f.ctx, s, int64(n)-1, records(1)); err != nil {
						return err
					}
					if n == 0 {
						started <- struct{}{}
					}
					mu.Lock()
					acknowledged[s] = n + 1
					mu.Unlock()
				}
			})
		}
		var reading errgroup.Group
		reading.Go(func() error {
			for {
				if _, err := sub.Next(f.ctx); err != nil {
					return err
				}
			}
		})
		for range writers {
			<-started
		}
		require.NoError(f, f.store.Close())
		require.Error(f, g.Wait())
		require.ErrorIs(f, reading.Wait(), eventstore.ErrClosed)

		f.store = f.reopen()
		for s, n := range acknowledged {
			require.GreaterOrEqual(f, len(f.read(s)), n)
		}
	},
}
