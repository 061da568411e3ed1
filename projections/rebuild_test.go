package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

func unheard(BuildProgress) {}

// happen makes n events with two guests and a message each; every fifth is deleted.
func (w *world) happen(from, n int) {
	for i := from; i < from+n; i++ {
		id, ann := fmt.Sprintf("%036d", i), fmt.Sprintf("%036d", 1000+i)
		w.event(id, meeting(id))
		w.event(id, guest(id, ann))
		w.event(id, waiting(id, fmt.Sprintf("%036d", 2000+i)))
		w.notification(id, scheduled(id, id, ann, dawn))
		w.notification(id, events.SendingStarted{NotificationID: id, EventID: id, Attempt: 1})
		w.notification(id, events.NotificationSent{NotificationID: id, EventID: id, Attempt: 1, SentTime: dawn, Personal: events.Personal{Key: 1, Message: "Come, Ann"}})
		if i%5 == 0 {
			w.event(id, events.EventDeleted{EventID: id})
		}
	}
}

// verified gives what Verify finds.
func (w *world) verified(t *testing.T, m *Models) (found []rowdiff.Difference) {
	dir := t.TempDir()
	rows, err := m.Verify(bg, dir, eventstore.Start, unheard, func(d rowdiff.Difference) error {
		found = append(found, d)
		return nil
	})
	require.NoError(w.t, err)
	require.Positive(w.t, rows)
	left, err := os.ReadDir(dir)
	require.NoError(w.t, err)
	require.Empty(w.t, left)
	return found
}

// numbers are the generations that are there, by state.
func numbers(t *testing.T, m *Models) map[State][]int64 {
	all, err := m.database.Generations(bg)
	require.NoError(t, err)
	of := map[State][]int64{}
	for _, g := range all {
		of[g.State] = append(of[g.State], g.Number)
	}
	return of
}

// A rebuild goes on beside a projection that goes on too, and takes nothing from
// it; on a server it is another process's, and several instances go over to it.
func TestRebuildTakesNothingFromTheLiveOne(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(0, 40)
		m := w.shown(w.models(t))
		instances, builds := []*Models{m}, m
		if w.target.Shared() {
			instances = append(instances, w.shown(w.models(t)))
			builds = w.open(t.TempDir())
			defer func() { require.NoError(t, builds.Close()) }()
		}
		before := numbers(t, m)[Live]
		require.Len(t, before, 1)
		live := func(from int) {
			began := time.Now()
			for i := range 10 {
				w.happen(from+i, 1)
				for _, instance := range instances {
					w.shown(instance)
				}
			}
			t.Logf("what happens is shown after %s", time.Since(began)/10)
		}
		live(50)

		var parts []float64
		require.NoError(t, builds.Rebuild(bg, func(p BuildProgress) {
			if len(parts) == 0 { // in the middle of it
				live(100)
			}
			parts = append(parts, p.Part())
		}))
		require.NotEmpty(t, parts)
		require.IsNonDecreasing(t, parts)
		require.InDelta(t, 1, parts[len(parts)-1], 0)
		of := numbers(t, m)
		require.Len(t, of[Live], 1)
		require.NotEqual(t, before, of[Live])
		require.Empty(t, of[Building])

		for round := range 5 { // until all have gone over
			live(200 + 10*round)
		}
		for _, instance := range instances {
			until := time.Now().Add(patience)
			for instance.current.Load() != of[Live][0] {
				require.True(t, time.Now().Before(until), "it doesn't go over to the live generation")
				time.Sleep(10 * time.Millisecond)
			}
			for _, i := range []int{1, 101, 201} {
				_, err := instance.Event(bg, fmt.Sprintf("%036d", i))
				require.NoError(t, err)
			}
		}
		live(500)
		require.Empty(t, w.verified(t, m))
	})
}

func TestRebuildWhereNobodyFollows(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(0, 10)
		dir := t.TempDir()
		m := w.open(dir)
		defer func() { require.NoError(t, m.Close()) }()
		require.NoError(t, m.Rebuild(bg, unheard))
		require.NoError(t, m.Rebuild(bg, unheard))
		of := numbers(t, m)
		require.Len(t, of[Live], 1)
		require.Empty(t, of[Building])
		if !w.target.Shared() {
			require.Empty(t, of[Old], "nobody uses them")
		}
		require.Empty(t, w.verified(t, m))
	})
}

func TestRebuildThatIsInterruptedChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(0, 40)
		m := w.shown(w.models(t))
		before := numbers(t, m)
		ctx, cancel := context.WithCancel(bg)
		err := m.Rebuild(ctx, func(BuildProgress) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, numbers(t, m), "it has dropped what it had built")
		require.Empty(t, w.verified(t, m))

		// A process that is killed can't.
		b, err := m.database.Build(bg)
		require.NoError(t, err)
		require.NoError(t, b.Fold(bg, Source{Store: w.store, Keys: w.keys, Until: eventstore.Position{Commit: w.last.Commit / 2, Prepare: w.last.Prepare / 2}}, func(Progress) {}))
		require.NoError(t, b.disconnect())
		require.Len(t, numbers(t, m)[Building], 1)
		require.NoError(t, m.Rebuild(bg, unheard))
		require.Empty(t, numbers(t, m)[Building])
		require.NotEqual(t, before[Live], numbers(t, m)[Live])
		w.happen(300, 5)
		require.Empty(t, w.verified(t, w.shown(m)))
	})
}

func TestVerifyNamesWhatDiffers(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(1, 4)
		dir := t.TempDir()
		m := w.open(dir)
		defer func() { require.NoError(t, m.Close()) }()
		stop := w.follow(t, m)
		w.shown(m)
		stop()
		require.Empty(t, w.verified(t, m))
		one, two := fmt.Sprintf("%036d", 1), fmt.Sprintf("%036d", 2)
		for _, query := range []string{
			"UPDATE {events} SET participant_count = 7 WHERE id = '" + one + "'",
			"UPDATE {participants} SET name = 'Mallory' WHERE event_id = '" + one + "' AND status = 'confirmed'",
			"UPDATE {notifications} SET message = 'Stay away' WHERE id = '" + one + "'",
			"DELETE FROM {notifications} WHERE id = '" + two + "'",
			"INSERT INTO {event_tags} VALUES ('ghost', 1)",
			"UPDATE {tallies} SET n = n + 1 WHERE kind = 'channel'",
		} {
			_, err := m.writer.exec(query)
			require.NoError(t, err)
		}
		found := map[string]rowdiff.Difference{}
		for _, d := range w.verified(t, m) {
			require.NotContains(t, d.String(), "Mallory")
			require.NotContains(t, d.String(), "Stay")
			require.NotContains(t, d.String(), "Ann")
			found[d.Table+" "+d.Column] = d
		}
		require.Len(t, found, 6, "%v", found)
		count := found["events participant_count"]
		require.Equal(t, []string{`"` + one + `"`, "2", "7"}, []string{count.Key, count.Want, count.Got})
		require.Equal(t, rowdiff.Missing, found["notifications "].Kind)
		require.Equal(t, rowdiff.Surplus, found["event_tags "].Kind)
		require.Contains(t, found, "participants name")
		require.Contains(t, found, "notifications message")
		require.Contains(t, found, "tallies n")
		require.Len(t, w.verified(t, m), 6, "it has mended nothing")
	})
}

// What is swept of deleted events, and when, makes no difference.
func TestVerifyWhateverIsSwept(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.happen(5, 1)
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		require.NoError(t, m.writer.foldAll(w.facts(), 4096))
		for more := true; more; {
			require.Empty(t, w.verified(t, m))
			var err error
			more, err = m.writer.sweep()
			require.NoError(t, err)
		}
	})
}

func TestVerifyUntil(t *testing.T) {
	w := newWorld(t)
	w.happen(1, 3)
	m := w.open(t.TempDir())
	defer func() { require.NoError(t, m.Close()) }()
	facts := w.facts()
	require.NoError(t, m.writer.foldAll(facts[:10], 4096))
	verify := func(until eventstore.Position) error {
		_, err := m.Verify(bg, t.TempDir(), until, unheard, func(rowdiff.Difference) error { return nil })
		return err
	}
	require.NoError(t, verify(facts[9].Position))
	require.NoError(t, verify(w.last), "they are compared where they are")
	require.ErrorIs(t, verify(facts[8].Position), ErrBehind)
}

func TestBuildInto(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		w := newWorld(t)
		w.happen(1, 9)
		until := w.facts()[20].Position
		source := Source{Store: w.store, Keys: w.keys, Until: until}
		require.NoError(t, BuildInto(bg, target, source, unheard))
		require.NoError(t, BuildInto(bg, target, source, unheard), "again, in place of the one before")

		d, err := OpenDatabase(bg, target, "", w.options().Logger)
		require.NoError(t, err)
		all, err := d.Generations(bg)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, []any{Live, until, int64(21)}, []any{all[0].State, all[0].Position, all[0].Facts})
		require.NoError(t, d.Close())

		// A service goes on from there, and from then on it is left alone.
		w.target = target
		m := w.shown(w.models(t))
		require.Empty(t, w.verified(t, m))
		if target.Shared() { // a file is in the folder of its service, which is locked
			require.Eventually(t, func() bool { return errors.Is(BuildInto(bg, target, source, unheard), ErrNotOurs) }, patience, 10*time.Millisecond)
		}
	})
}

func TestBuildIntoLeavesAloneWhatIsntItsOwn(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		w := newWorld(t)
		w.happen(1, 1)
		source := Source{Store: w.store, Keys: w.keys}
		db, err := sqldb.Open(bg, target, sqldb.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		_, err = db.ExecContext(bg, "CREATE TABLE treasure (n INTEGER)")
		require.NoError(t, err)
		require.ErrorIs(t, BuildInto(bg, target, source, unheard), ErrNotOurs)
		tables, err := tablesOf(bg, db)
		require.NoError(t, err)
		require.Equal(t, []string{"treasure"}, tables)
	})
	w := newWorld(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(text, []byte("to be kept, as it is, whatever anybody says to it"), 0o600))
	require.ErrorIs(t, BuildInto(bg, sqldb.File(text), Source{Store: w.store, Keys: w.keys}, unheard), ErrNotOurs)
	kept, err := os.ReadFile(text)
	require.NoError(t, err)
	require.Contains(t, string(kept), "to be kept")
	require.ErrorContains(t, BuildInto(bg, sqldb.File(dir), Source{Store: w.store, Keys: w.keys}, unheard), "it is a folder")

	// The rows of a service.
	w.happen(1, 1)
	m := w.shown(w.models(t))
	require.ErrorIs(t, BuildInto(bg, m.database.Target(), Source{Store: w.store, Keys: w.keys}, unheard), ErrNotOurs)
}

// A server that goes away while it is built into is named, without its password, and
// the next one begins anew.
func TestBuildIntoAServerThatGoesAway(t *testing.T) {
	for _, kind := range []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL} {
		t.Run(string(kind), func(t *testing.T) {
			target, cable := sqldbtest.Cabled(t, sqldbtest.FreshURL(t, kind))
			w := newWorld(t)
			w.happen(1, 20)
			source := Source{Store: w.store, Keys: w.keys}
			err := BuildInto(bg, target, source, func(BuildProgress) { cable.Cut() })
			require.Error(t, err)
			require.ErrorContains(t, err, target.String())
			require.NotContains(t, err.Error(), "belltower:belltower")
			cable.Mend()
			require.Eventually(t, func() bool { // the server may not know yet that the first has gone
				err = BuildInto(bg, target, source, unheard)
				return err == nil
			}, patience, 100*time.Millisecond, "%v", err)
		})
	}
}

func TestOneRebuildAtATime(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		w := newWorld(t)
		w.happen(1, 3)
		source := Source{Store: w.store, Keys: w.keys}
		var once sync.Once
		require.NoError(t, BuildInto(bg, target, source, func(BuildProgress) {
			once.Do(func() { require.ErrorContains(t, BuildInto(bg, target, source, unheard), "another process") })
		}))
	})
}

func TestLastBefore(t *testing.T) {
	w := newWorld(t)
	w.happen(1, 5)
	records := w.records()
	for i, r := range records {
		last, err := LastBefore(bg, w.store, r.Created)
		require.NoError(t, err)
		require.Equal(t, r.Position, last, "record %d: a time is inclusive", i)
	}
	last, err := LastBefore(bg, w.store, records[0].Created.Add(-time.Microsecond))
	require.NoError(t, err)
	require.Equal(t, eventstore.Start, last)
	last, err = LastBefore(bg, w.store, w.now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, w.last, last)
}
