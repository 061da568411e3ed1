package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
)

// shared is a store of which one instance can be cut off.
type shared struct {
	eventstore.Store
	mu  sync.Mutex
	cut bool
}

func (s *shared) Exclusive() bool { return false }

func (s *shared) away() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return eventstore.ErrUnavailable
	}
	return nil
}

func (s *shared) set(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
}

func (s *shared) ReadLast(ctx context.Context, stream string) (eventstore.Record, bool, error) {
	if err := s.away(); err != nil {
		return eventstore.Record{}, false, err
	}
	return s.Store.ReadLast(ctx, stream)
}

func (s *shared) Append(ctx context.Context, stream string, expected int64, records []eventstore.NewRecord) (eventstore.Position, error) {
	if err := s.away(); err != nil {
		return eventstore.Position{}, err
	}
	return s.Store.Append(ctx, stream, expected, records)
}

// instance is a Lease at work.
type instance struct {
	*Lease
	store *shared
	end   func()
}

func run(t *testing.T, store eventstore.Store) *instance {
	s := &shared{Store: store}
	l := New(Options{Store: s, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx)
	}()
	end := sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(end)
	return &instance{l, s, end}
}

// leading requires that exactly one leads, and gives it and the others.
func leading(t *testing.T, all []*instance) (leader *instance, others []*instance) {
	for _, i := range all {
		if i.Leads() {
			require.Nil(t, leader, "two lead")
			leader = i
		} else {
			others = append(others, i)
		}
	}
	require.NotNil(t, leader, "nobody leads")
	return leader, others
}

func three(t *testing.T) []*instance {
	store := memstore.New()
	all := make([]*instance, 3)
	for i := range all {
		all[i] = run(t, store)
	}
	return all
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := three(t)
		time.Sleep(time.Second)
		first, _ := leading(t, all)
		for range 600 {
			time.Sleep(time.Second)
			still, _ := leading(t, all)
			require.Same(t, first, still)
		}
	})
}

// Who doesn't come back is followed within ten seconds, and never before its own term is over.
func TestTakenOver(t *testing.T) {
	for _, how := range []string{"killed", "cut off", "released"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := three(t)
				for round := range 20 {
					time.Sleep(20*time.Second + time.Duration(round)*317*time.Millisecond)
					leader, others := leading(t, all)
					most := 10 * time.Second
					switch how {
					case "killed":
						leader.end()
					case "cut off":
						leader.store.set(true)
					case "released":
						leader.end()
						leader.Release(t.Context())
						most = time.Second
					}
					began := time.Now()
					for !others[0].Leads() && !others[1].Leads() {
						time.Sleep(10 * time.Millisecond)
						leads := 0
						for _, i := range all {
							if i.Leads() {
								leads++
							}
						}
						require.LessOrEqual(t, leads, 1)
					}
					require.LessOrEqual(t, time.Since(began), most)
					require.False(t, leader.Leads())
					if how == "cut off" {
						leader.store.set(false)
					} else {
						again := run(t, leader.store.Store)
						for i := range all {
							if all[i] == leader {
								all[i] = again
							}
						}
					}
				}
			})
		})
	}
}

// A renewal whose answer was lost is a renewal.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		store.FailAfter = func(n int) error {
			if n%2 == 1 {
				return fmt.Errorf("%w: cut", eventstore.ErrUnknownOutcome)
			}
			return nil
		}
		all := []*instance{run(t, store), run(t, store)}
		time.Sleep(2 * time.Second)
		first, _ := leading(t, all)
		for range 300 {
			time.Sleep(time.Second)
			still, _ := leading(t, all)
			require.Same(t, first, still)
		}
	})
}

// A store that is away for a while leaves nobody leading, and then one.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := three(t)
		time.Sleep(5 * time.Second)
		for _, i := range all {
			i.store.set(true)
		}
		time.Sleep(term)
		for _, i := range all {
			require.False(t, i.Leads())
		}
		time.Sleep(time.Minute)
		for _, i := range all {
			i.store.set(false)
		}
		time.Sleep(10 * time.Second)
		leading(t, all)
	})
}

func TestPlannedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := three(t)
		time.Sleep(time.Second)
		leader, others := leading(t, all)
		p := eventstore.Position{Commit: 40, Prepare: 37}
		changed := others[0].Changed()
		leader.Tell(p)
		leader.Tell(eventstore.Position{Commit: 4, Prepare: 4})
		time.Sleep(renewEvery + 2*lookEvery)
		for _, i := range all {
			require.Equal(t, p, i.Planned())
		}
		select {
		case <-changed:
		default:
			require.Fail(t, "nobody was told")
		}
		leader.end()
		time.Sleep(10 * time.Second)
		next, _ := leading(t, others)
		require.Equal(t, p, next.Planned(), "it is handed on")
		s, ok, err := Last(t.Context(), next.store)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, p.String(), s.Planned)
	})
}

// What was planned for other channels is not what this instance would have planned.
func TestOtherScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		p := eventstore.Position{Commit: 40, Prepare: 37}
		old := run(t, store)
		time.Sleep(time.Second)
		old.Tell(p)
		time.Sleep(renewEvery + lookEvery)
		next := &instance{Lease: New(Options{Store: store, Scope: "another", Logger: slog.New(slog.DiscardHandler)})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			next.Run(ctx)
		}()
		time.Sleep(time.Second)
		require.Equal(t, eventstore.Start, next.Planned())
		old.end()
		old.Release(t.Context())
		time.Sleep(time.Second)
		require.True(t, next.Leads())
		s, _, err := Last(t.Context(), store)
		require.NoError(t, err)
		require.Equal(t, eventstore.Start.String(), s.Planned)
		cancel()
		<-ended
	})
}

// What the last record says, no instance takes for an error of its own.
func TestForeignRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		_, err := store.Append(t.Context(), Stream, eventstore.NoStream, []eventstore.NewRecord{{Type: "x", Data: []byte("not JSON")}})
		require.NoError(t, err)
		l := run(t, store)
		time.Sleep(10 * time.Second)
		require.True(t, l.Leads())
		_, _, err = Last(t.Context(), errStore{store})
		require.ErrorIs(t, err, errAway)
	})
}

var errAway = errors.New("away")

type errStore struct{ eventstore.Store }

func (errStore) ReadLast(context.Context, string) (eventstore.Record, bool, error) {
	return eventstore.Record{}, false, errAway
}
