package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/internal/seal"
	"github.com/belltower/belltower/internal/sqldb"
)

var bg = context.Background()

func TestFollowShowsWhatIsAppended(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		m := w.models(t)
		w.shown(m)
		for range 20 {
			w.event("b", events.EventCapacityChanged{EventID: "b"})
		}
		w.event("c", meeting("c"))
		e, err := w.shown(m).Event(bg, "c")
		require.NoError(t, err)
		require.Equal(t, "Meeting c", e.Title)
		s := m.Status()
		require.Equal(t, w.last, s.Position)
		require.EqualValues(t, 22, s.Facts)
		require.NoError(t, s.Err)
	})
}

func TestFollowGoesOnAfterARestart(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		everything(w)
		m := w.open(dir)
		stop := w.follow(t, w.shownBy(t, m))
		stop()
		require.NoError(t, m.Close())
		require.ErrorIs(t, m.WaitFor(bg, eventstore.Position{Commit: 1 << 40}), ErrClosed)

		w.event("later", meeting("later"))
		m = w.open(dir)
		require.True(t, m.Status().Position.Before(w.last))
		require.Less(t, eventstore.Start.Compare(m.Status().Position), 0)
		w.follow(t, m)
		_, err := w.shown(m).Event(bg, "later")
		require.NoError(t, err)
		require.NoError(t, m.Close())
		require.Empty(t, w.logged.String())
	})
}

// shownBy follows until all is shown.
func (w *world) shownBy(t *testing.T, m *Models) *Models {
	stop := w.follow(t, m)
	w.shown(m)
	stop()
	return m
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.models(t)
		ctx, cancel := context.WithCancel(bg)
		cancel()
		require.ErrorIs(t, m.WaitFor(ctx, eventstore.Position{Commit: 1}), context.Canceled)
		require.NoError(t, m.WaitFor(ctx, eventstore.Start))
	})
}

func TestOnlyOneFollows(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.models(t)
		w.event("a", meeting("a"))
		w.shown(m)
		require.Error(t, m.Follow(bg))
	})
}

func TestAFileThatCantBeReadIsBuiltAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, w *world, path string)
		says  string
	}{
		"a database of another kind": {func(t *testing.T, w *world, path string) {
			alter(t, sqldb.File(path), "DROP TABLE generations")
		}, "another version wrote it"},
		"garbage": {func(t *testing.T, w *world, path string) {
			require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("garbage ", 2000)), 0o600))
		}, "can't be read"},
		"an empty file": {func(t *testing.T, w *world, path string) {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		}, "another version wrote it"},
		"a damaged page": {func(t *testing.T, w *world, path string) {
			content, err := os.ReadFile(path)
			require.NoError(t, err)
			for i := len(content) - 4096; i < len(content); i++ {
				content[i] ^= 0xa5
			}
			require.NoError(t, os.WriteFile(path, content, 0o600))
		}, "the file is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			dir := t.TempDir()
			w.event("a", meeting("a"), guest("a", "ann"))
			m := w.open(dir)
			require.NoError(t, w.shownBy(t, m).Close())

			require.NoError(t, os.Remove(filepath.Join(dir, fileName+seal.Suffix)), "as after a crash")
			tt.spoil(t, w, filepath.Join(dir, fileName))
			m = w.open(dir)
			require.Contains(t, w.logged.String(), tt.says)
			require.Zero(t, m.Status().Position)
			require.False(t, m.Status().CaughtUp)
			w.follow(t, m)
			_, err := w.shown(m).Event(bg, "a")
			require.NoError(t, err)
			require.NoError(t, m.Close())
		})
	}
}

func TestRowsThatDontFitAreBuiltAnew(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, w *world, target sqldb.Target)
		says  string
	}{
		"another version": {func(t *testing.T, w *world, target sqldb.Target) {
			alter(t, target, "UPDATE g1_checkpoint SET version = 0")
		}, "version"},
		"no checkpoint": {func(t *testing.T, w *world, target sqldb.Target) {
			alter(t, target, "DELETE FROM g1_checkpoint")
		}, "no checkpoint"},
		"no table": {func(t *testing.T, w *world, target sqldb.Target) {
			alter(t, target, "DROP TABLE g1_checkpoint")
		}, "can't be read"},
		"a checkpoint behind the log's end": {func(t *testing.T, w *world, target sqldb.Target) {
			w.putBack()
			w.event("a", meeting("a"))
		}, "no fact"},
		"another fact at the checkpoint": {func(t *testing.T, w *world, target sqldb.Target) {
			w.putBack()
			w.event("a", meeting("a"), guest("a", "other"))
		}, "another fact"},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, w *world) {
				dir := t.TempDir()
				w.event("a", meeting("a"), guest("a", "ann"))
				m := w.open(dir)
				require.NoError(t, w.shownBy(t, m).Close())

				tt.spoil(t, w, m.database.Target())
				if !w.target.Shared() {
					seal.Put(m.database.Target().Path())
				}
				m = w.open(dir)
				require.Contains(t, w.logged.String(), tt.says)
				require.Zero(t, m.Status().Position)
				require.False(t, m.Status().CaughtUp)
				w.follow(t, m)
				_, err := w.shown(m).Event(bg, "a")
				require.NoError(t, err)
				require.NoError(t, m.Close())
			})
		})
	}
}

func TestUnreadable(t *testing.T) {
	ask := func(path string) error {
		db, err := sqldb.Open(bg, sqldb.File(path), sqldb.Options{})
		if err != nil {
			return err
		}
		defer db.Close()
		var n int
		return db.QueryRowContext(bg, "SELECT count(*) FROM events").Scan(&n)
	}
	garbage := filepath.Join(t.TempDir(), fileName)
	require.NoError(t, os.WriteFile(garbage, []byte(strings.Repeat("garbage ", 2000)), 0o600))
	require.True(t, Unreadable(ask(garbage)))
	require.True(t, Unreadable(ask(t.TempDir())), "it can't be opened")
	require.False(t, Unreadable(ask(filepath.Join(t.TempDir(), fileName))), "it has no such table")
	require.False(t, Unreadable(sql.ErrNoRows))
}

// putBack begins another log, whose facts have other ids.
func (w *world) putBack() {
	w.store, w.revision, w.ids = memstore.New(), map[string]int64{}, 1000
}

func alter(t *testing.T, target sqldb.Target, query string) {
	db, err := sqldb.Open(bg, target, sqldb.Options{})
	require.NoError(t, err)
	_, err = db.ExecContext(bg, query)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestAFactThatCantBeAppliedStopsVisibly(t *testing.T) {
	for name, record := range map[string]eventstore.NewRecord{
		"newer":        {ID: uuid.New(), Type: "event-teleported", Data: []byte(`{}`), Metadata: []byte(`{}`)},
		"bad data":     {ID: uuid.New(), Type: "EventScheduled", Data: []byte(`{"event_id": 7}`), Metadata: []byte(`{}`)},
		"bad metadata": {ID: uuid.New(), Type: "EventCancelled", Data: []byte(`{}`), Metadata: []byte(`7`)},
		"scheduled twice": {
			ID: uuid.New(), Type: "EventScheduled", Data: []byte(`{"event_id": "a"}`), Metadata: []byte(`{}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, w *world) {
				w.event("a", meeting("a"))
				shown := w.event("b", meeting("b"))
				bad := w.addRecords("event-c", record)
				w.event("d", meeting("d"))
				m := w.models(t)
				// It is tried again, and again it is told once.
				w.again <- struct{}{}
				w.again <- struct{}{}
				s := m.Status()
				require.ErrorContains(t, s.Err, bad.String())
				require.Equal(t, name == "newer", errors.Is(s.Err, events.ErrNewerFact))
				require.Equal(t, shown, s.Position)
				require.EqualValues(t, 2, s.Facts)
				require.False(t, s.CaughtUp)
				require.Positive(t, s.Lag)
				require.Equal(t, 1, strings.Count(w.logged.String(), "stand still"))
				_, err := m.Event(bg, "b")
				require.NoError(t, err)
				_, err = m.Event(bg, "d")
				require.ErrorIs(t, err, ErrNotFound)
			})
		})
	}
}

// updated is a store as a program sees it that knows a type of facts only once it is updated.
type updated struct {
	eventstore.Store
	done atomic.Bool
}

func (u *updated) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	s, err := u.Store.Subscribe(ctx, after)
	return &updatedSubscription{s, u}, err
}

type updatedSubscription struct {
	eventstore.Subscription
	store *updated
}

func (s *updatedSubscription) Next(ctx context.Context) (eventstore.Batch, error) {
	b, err := s.Subscription.Next(ctx)
	b.Records = slices.Clone(b.Records)
	for i := range b.Records {
		if b.Records[i].Type == "EventCancelled" && !s.store.done.Load() {
			b.Records[i].Type = "event-teleported"
		}
	}
	return b, err
}

func TestAStoppedProjectionGoesOnOnceThatIsMended(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		before := w.event("b", meeting("b"))
		w.event("a", events.EventCancelled{EventID: "a"})
		w.event("d", meeting("d"))
		o := w.options()
		store := &updated{Store: w.store}
		o.Store = store
		m, err := Open(bg, t.TempDir(), o)
		require.NoError(t, err)
		defer func() { require.NoError(t, m.Close()) }()
		mended := make(chan struct{})
		m.pause = func(ctx context.Context, _ int) {
			select {
			case <-mended:
			case <-ctx.Done():
			}
		}
		w.follow(t, m)
		require.Eventually(t, func() bool { return m.Status().Err != nil }, patience, time.Millisecond)
		require.ErrorIs(t, m.Status().Err, events.ErrNewerFact)
		require.Equal(t, before, m.Status().Position)

		store.done.Store(true)
		close(mended)
		w.shown(m)
		require.NoError(t, m.Status().Err)
		require.EqualValues(t, 4, m.Status().Facts, "each fact once")
		a, err := m.Event(bg, "a")
		require.NoError(t, err)
		require.Equal(t, "cancelled", a.Status)
		require.Empty(t, w.verified(t, m))
	})
}

// flaky is a store whose subscriptions break.
type flaky struct {
	eventstore.Store
	breaks atomic.Int32 // so many more times
}

var errBroken = errors.New("connection reset")

func (f *flaky) Subscribe(ctx context.Context, after eventstore.Position) (eventstore.Subscription, error) {
	s, err := f.Store.Subscribe(ctx, after)
	return &flakySubscription{Subscription: s, store: f}, err
}

type flakySubscription struct {
	eventstore.Subscription
	store *flaky
	sync.Mutex
	given bool
}

func (s *flakySubscription) Next(ctx context.Context) (eventstore.Batch, error) {
	if s.given && s.store.breaks.Add(-1) >= 0 {
		return eventstore.Batch{}, errBroken
	}
	b, err := s.Subscription.Next(ctx)
	s.given = true
	if len(b.Records) > 1 && s.store.breaks.Load() > 0 { // one at a time, so that it breaks between facts
		b.Records, b.CaughtUp = b.Records[:1], false
		b.Position = b.Records[0].Position
	}
	return b, err
}

func TestABrokenSubscriptionGoesOnFromTheCheckpoint(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		everything(w)
		o := w.options()
		store := &flaky{Store: w.store}
		store.breaks.Store(5)
		o.Store = store
		m, err := Open(bg, t.TempDir(), o)
		require.NoError(t, err)
		defer m.Close()
		m.pause = func(context.Context, int) {
			require.ErrorIs(t, m.Status().Err, errBroken)
			require.False(t, m.Status().CaughtUp)
		}
		stop := w.follow(t, m)
		w.shown(m)
		stop()
		require.NoError(t, m.Status().Err)
		require.EqualValues(t, len(w.records()), m.Status().Facts)
		require.LessOrEqual(t, store.breaks.Load(), int32(0))
	})
}

// showed is reached, by the writer.
func (m *Models) showed(p eventstore.Position, atEnd bool) {
	m.reached(m.writer.generation, p, m.writer.checkpoint, atEnd)
}

func TestStatus(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.open(t.TempDir())
		defer m.Close()
		require.Equal(t, Status{}, m.Status())
		w.event("a", meeting("a"))
		require.NoError(t, m.foldBatch(w.facts()))
		w.pass(3 * time.Second)
		m.showed(w.last, false)
		require.Equal(t, Status{Position: w.last, Facts: 1, Lag: 3 * time.Second}, m.Status())
		m.showed(w.last, true)
		require.Equal(t, Status{Position: w.last, Facts: 1, CaughtUp: true}, m.Status())
		m.showed(w.last, false)
		require.True(t, m.Status().CaughtUp, "a little behind is no alarm")
		w.pass(3 * time.Second)
		require.False(t, m.Status().CaughtUp)
		require.Equal(t, 6*time.Second, m.Status().Lag)
	})
}

func TestTheLeaseIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.event("a", meeting("a"))
	w.addRecords("lease", eventstore.NewRecord{ID: uuid.New(), Type: "lease-renewed", Data: []byte(`{}`), Metadata: []byte(`{}`)})
	m := w.shown(w.models(t))
	require.EqualValues(t, 1, m.Status().Facts)
}

func TestAnotherWriterIsNoticed(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		w.event("a", meeting("a"))
		one, two := w.open(dir), w.open(dir)
		defer two.Close()
		defer one.Close()
		require.NoError(t, one.foldBatch(w.facts()))
		w.event("b", meeting("b"))
		require.ErrorIs(t, two.writer.fold(w.facts()[1:]), errMoved)
		require.NoError(t, one.foldBatch(w.facts()[1:]))
	})
}

func TestErasedPeopleHaveNoName(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		ann := guest("a", "ann")
		ann.Personal.Phone, ann.Personal.Key = "+4912345678", 1
		bob := guest("a", "bob")
		bob.Personal.Key = 2
		w.event("a", meeting("a"), ann, bob)
		w.notification("n", scheduled("n", "a", "ann", dawn),
			events.SendingStarted{NotificationID: "n", Attempt: 1},
			events.NotificationSent{NotificationID: "n", Attempt: 1, SentTime: dawn, Personal: events.Personal{Key: 1, Message: "Hello ann"}})
		w.keys.erased.Store(int64(1), true)
		m := w.shown(w.models(t))
		p, err := m.Participant(bg, "ann")
		require.NoError(t, err)
		require.Equal(t, []any{"", "", (*string)(nil), "user-ann"}, []any{p.Name, p.Email, p.Phone, p.UserID})
		l, err := m.Participants(bg, "a", ParticipantFilter{Query: "guest"}, Page{Limit: 5})
		require.NoError(t, err)
		require.Len(t, l.Items, 1)
		n, err := m.Notification(bg, "n")
		require.NoError(t, err)
		require.Equal(t, sent, n.Status)
		require.Nil(t, n.Message)
	})
}

func TestDeletedEventsAreSwept(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		w.event("b", meeting("b"), guest("b", "stays"))
		for i := range 3 * slice / 2 {
			id := "g" + uuid.NewSHA1(uuid.Nil, []byte{byte(i), byte(i >> 8)}).String()
			w.event("a", waiting("a", id))
			w.notification("n"+id, scheduled("n"+id, "a", id, dawn))
		}
		m := w.open(t.TempDir())
		defer m.Close()
		require.NoError(t, m.foldBatch(w.facts()))
		before := len(w.facts())
		w.event("a", events.EventDeleted{EventID: "a"})
		require.NoError(t, m.foldBatch(w.facts()[before:]))

		left := func() (n int) {
			require.NoError(t, m.row(bg, "SELECT (SELECT count(*) FROM {participants}) + (SELECT count(*) FROM {notifications})"+
				" + (SELECT count(*) FROM {words}) + (SELECT count(*) FROM {gone})").Scan(&n))
			return n
		}
		all := left()
		for more := true; more; {
			c, err := m.Counts(bg)
			require.NoError(t, err)
			require.Equal(t, []int{1, 1, 0, 0}, []int{c.Events.Total, c.Participants.Total, c.Participants.ByStatus[waitlisted], c.Notifications.Total})
			due, oldest, _, err := m.Due(bg)
			require.NoError(t, err)
			require.Zero(t, due)
			require.Zero(t, oldest)
			was := left()
			more, err = m.writer.sweep()
			require.NoError(t, err)
			require.LessOrEqual(t, was-left(), slice)
		}
		require.Greater(t, all, 4*slice)
		require.Equal(t, 1+4+5, left(), "a participant, the words of an event and of the participant")

		w.event("b", events.EventDeleted{EventID: "b"})
		w.follow(t, m)
		require.Eventually(t, func() bool { return left() == 0 }, patience, 10*time.Millisecond)
	})
}

// Rows of a deleted event may be cleared by age while they wait to be swept: they
// are taken off the counts once all the same.
func TestClearedWhileSwept(t *testing.T) {
	for swept := range 4 {
		t.Run(fmt.Sprint(swept, " slices before"), func(t *testing.T) {
			onEach(t, func(t *testing.T, w *world) {
				w.event("e", meeting("e"), guest("e", "ann"))
				for i := range 2*slice + 1 {
					n := fmt.Sprint("n", i)
					w.notification(n, scheduled(n, "e", "ann", dawn), events.NotificationCancelled{NotificationID: n, Reason: events.CancelledByHand})
				}
				w.event("e", events.EventDeleted{EventID: "e"})
				w.pass(time.Second)
				deleted := len(w.facts())
				w.add("processor", events.NotificationsCleared{Before: w.now()})
				m := w.open(t.TempDir())
				defer m.Close()
				require.NoError(t, m.foldBatch(w.facts()[:deleted]))
				for range swept {
					_, err := m.writer.sweep()
					require.NoError(t, err)
				}
				require.NoError(t, m.foldBatch(w.facts()[deleted:]))
				for more := true; more; {
					c, err := m.Counts(bg)
					require.NoError(t, err)
					require.Zero(t, c.Participants.Total)
					require.Zero(t, c.Notifications.Total)
					require.Zero(t, c.Notifications.ByStatus[cancelled])
					more, err = m.writer.sweep()
					require.NoError(t, err)
				}
			})
		})
	}
}

func TestTheFilesAreTheirOwnersAlone(t *testing.T) {
	w := newWorld(t)
	w.event("e", meeting("e"))
	dir := t.TempDir()
	m := w.open(dir)
	defer func() { require.NoError(t, m.Close()) }()
	w.follow(t, m)
	w.shown(m)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
	}
}
