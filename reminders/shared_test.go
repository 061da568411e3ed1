package reminders

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
)

// sharing is instances on one store and one database, by the clock on the wall:
// the database doesn't know that of a bubble.
type sharing struct {
	t       *testing.T
	store   *joint
	ring    *keys.Ring
	handler *commands.Handler // of who asks
	email   *scripted
}

// member is one of them.
type member struct {
	*Reminders
	leader *played
	logged *lines
	end    func()
}

func newSharing(t *testing.T) *sharing {
	s := &sharing{t: t, store: &joint{Store: memstore.New()}, ring: keys.InMemory(), email: &scripted{}}
	s.store.Now = time.Now
	s.handler = s.commands()
	t.Cleanup(func() {
		s.handler.Close()
		require.NoError(t, s.ring.Close())
	})
	return s
}

// joint is a store of several processes, which notes from where it is read.
type joint struct {
	*memstore.Store
	mu   sync.Mutex
	from []eventstore.Position
}

func (*joint) Exclusive() bool { return false }

func (j *joint) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	j.mu.Lock()
	j.from = append(j.from, after)
	j.mu.Unlock()
	return j.Store.Subscribe(ctx, after)
}

// readFrom gives from where it was read, in turn.
func (j *joint) readFrom() []eventstore.Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.from)
}

func (s *sharing) registrations() []channels.Registration {
	return []channels.Registration{{Name: "email", Kind: channels.Email, Channel: s.email, Timeout: 5 * time.Second}}
}

func (s *sharing) commands() *commands.Handler {
	return commands.NewHandler(commands.Options{Store: s.store, Keys: s.ring, Now: time.Now, PhoneRegion: "DE", Channels: Kinds(s.registrations())})
}

func (s *sharing) join(target sqldb.Target) *member {
	s.t.Helper()
	m := &member{leader: &played{changed: make(chan struct{})}, logged: &lines{}}
	handler := s.commands()
	r, err := New(Options{
		Commands: handler, Store: s.store, Channels: s.registrations(), Leader: m.leader, Database: target,
		Now: time.Now, Logger: slog.New(slog.NewTextHandler(m.logged, nil)),
	})
	require.NoError(s.t, err)
	m.Reminders = r
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx, 10*time.Second); err != nil {
			s.t.Error(err)
		}
	})
	m.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		handler.Close()
		require.NoError(s.t, r.Close())
	})
	s.t.Cleanup(m.end)
	return m
}

func (s *sharing) asks(c commands.Command[*aggregates.Event]) {
	s.t.Helper()
	_, err := commands.Do(context.Background(), s.handler, c, commands.Caller{Actor: "test"}, nothing[*aggregates.Event])
	require.NoError(s.t, err)
}

// wanted makes an event with so many participants and an announcement to them.
func (s *sharing) wanted(id string, people int) {
	s.t.Helper()
	start := time.Now().Add(time.Hour)
	s.asks(commands.ScheduleEvent{EventID: id, Fields: aggregates.EventFields{
		Title: "Concert", Description: "Loud", CreatorID: "admin", StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "UTC",
	}})
	for i := range people {
		s.asks(commands.RegisterParticipant{EventID: id, ParticipantID: fmt.Sprint(id, i), Contact: contactOf(fmt.Sprint(id, i))})
	}
	s.asks(commands.Announce{EventID: id, AnnouncementID: id + "-a", Fields: aggregates.AnnouncementFields{Message: "Hear"}})
}

// sent waits until so many were sent, and looks whether any was twice.
func (s *sharing) sent(n int) {
	s.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for len(s.email.deliveries()) < n && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	all := s.email.deliveries()
	require.Len(s.t, all, n)
	seen := map[string]bool{}
	for _, d := range all {
		require.False(s.t, seen[d.ID], "sent twice")
		seen[d.ID] = true
	}
}

// Who takes over goes on with the table of who led before, and builds nothing anew.
func TestTakingOverASharedTable(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		s := newSharing(t)
		a, b := s.join(parsed(t, url)), s.join(parsed(t, url))
		a.leader.set(true, eventstore.Start)
		s.wanted("first", 3)
		s.sent(3)
		require.Empty(t, b.planner.status().Error)

		// b reads nothing that a has planned.
		end, err := s.store.End(t.Context())
		require.NoError(t, err)
		require.NoError(t, a.planner.waitFor(t.Context(), end))
		from := s.store.readFrom()
		a.leader.set(false, eventstore.Start)
		b.leader.set(true, end)
		s.wanted("second", 3)
		s.sent(6)
		for _, at := range s.store.readFrom()[len(from):] {
			require.False(t, at.Before(end), "the log was read again from %s", at)
		}
		// Both at once: the claims let one send each.
		a.leader.set(true, eventstore.Start)
		s.wanted("third", 20)
		s.sent(26)
		b.leader.set(false, eventstore.Start)

		// The one that ends leaves what it had not planned.
		a.end()
		s.wanted("fourth", 5)
		b.leader.set(true, eventstore.Start)
		s.sent(31)
	})
}

// Without its database nothing is planned and nothing is lost; it goes on once that
// is back.
func TestADatabaseAway(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		through, cable := sqldbtest.Cabled(t, url)
		s := newSharing(t)
		a, b := s.join(through), s.join(through)
		a.leader.set(true, eventstore.Start)
		s.wanted("first", 3)
		s.sent(3)
		cable.Cut()
		s.wanted("second", 3)
		for _, m := range []*member{a, b} {
			until(t, func() bool { return m.planner.status().Error != "" })
		}
		require.Len(t, s.email.deliveries(), 3)
		cable.Mend()
		s.sent(6)
		until(t, func() bool { return a.planner.status().Error == "" && b.planner.status().Error == "" })

		// Another takes over while it is away.
		cable.Cut()
		s.wanted("third", 3)
		a.leader.set(false, eventstore.Start)
		b.leader.set(true, eventstore.Start)
		cable.Mend()
		s.sent(9)
	})
}

func until(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 5*time.Minute, 5*time.Millisecond)
}
