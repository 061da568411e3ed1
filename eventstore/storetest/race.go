package storetest

import (
	"errors"
	"sync"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/eventstore"
)

const racers = 64

var raceTests = map[string]func(*fixture){
	"of 64 that race for one revision one wins": func(f *fixture) {
		s := stream("s")
		for revision := range 10 {
			var mu sync.Mutex
			var winners []eventstore.NewRecord
			var g errgroup.Group
			for range racers {
				g.Go(func() error {
					mine := records(1)
					_, err := f.store.Append(f.ctx, s, int64(revision)-1, mine)
					var wrong *eventstore.WrongRevisionError
					if errors.As(err, &wrong) && wrong.Actual == int64(revision) {
						return nil
					}
					mu.Lock()
					defer mu.Unlock()
					winners = append(winners, mine...)
					return err
				})
			}
			require.NoError(f, g.Wait())
			require.Len(f, winners, 1)
			last, ok, err := f.store.ReadLast(f.ctx, s)
			require.NoError(f, err)
			require.True(f, ok)
			require.Equal(f, winners[0].ID, last.ID)
		}
	},

	"64 that try until they succeed fill a stream without a gap": func(f *fixture) {
		const each = 5
		s := stream("s")
		var g errgroup.Group
		for range racers {
			g.Go(func() error {
				expected := eventstore.NoStream
				for range each {
					mine := records(1)
					for {
						_, err := f.store.Append(f.ctx, s, expected, mine)
						var wrong *eventstore.WrongRevisionError
						if err == nil {
							expected++
							break
						} else if !errors.As(err, &wrong) {
							return err
						}
						expected = wrong.Actual
					}
				}
				return nil
			})
		}
		require.NoError(f, g.Wait())
		got := f.read(s)
		require.Len(f, got, racers*each)
		seen := map[string]bool{}
		for i, r := range got {
			require.EqualValues(f, i, r.Revision)
			require.False(f, seen[r.ID.String()], "each record is there once")
			seen[r.ID.String()] = true
		}
	},

	"64 that repeat one append are all told the same": func(f *fixture) {
		s, same := stream("s"), records(3)
		positions := make([]eventstore.Position, racers)
		var g errgroup.Group
		for i := range positions {
			g.Go(func() (err error) {
				positions[i], err = f.store.Append(f.ctx, s, eventstore.NoStream, same)
				return err
			})
		}
		require.NoError(f, g.Wait())
		got := f.holds(s, same)
		for _, p := range positions {
			require.Equal(f, got[2].Position, p)
		}
	},

	"64 writers, each on its own stream, don't disturb each other": func(f *fixture) {
		const each = 20
		streams := make([]string, racers)
		appended := make([][]eventstore.NewRecord, racers)
		var g errgroup.Group
		for i := range streams {
			streams[i] = stream("s")
			g.Go(func() error {
				last := f.origin
				for n := range each {
					mine := records(1 + (i+n)%3)
					p, err := f.store.Append(f.ctx, streams[i], int64(len(appended[i]))-1, mine)
					if err != nil {
						return err
					}
					if !last.Before(p) {
						return errors.New("a later append has no later position")
					}
					last = p
					appended[i] = append(appended[i], mine...)
				}
				return nil
			})
		}
		require.NoError(f, g.Wait())
		for i, s := range streams {
			f.holds(s, appended[i])
		}
	},
}
