package projections

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// source is the world's log.
func (w *world) source() Source { return Source{Store: w.store, Keys: w.keys} }

// states lists the generations of m.
func states(t *testing.T, d *Database) string {
	all, err := d.Generations(bg)
	require.NoError(t, err)
	text := ""
	for _, g := range all {
		text += fmt.Sprintf("%d %s;", g.Number, g.State)
	}
	return text
}

// A generation is built beside the live one, has the same rows, and takes its place.
func TestRebuildBesideTheLiveOne(t *testing.T) {
	defer func(was map[State]time.Duration) { unusedTime = was }(unusedTime)
	unusedTime = map[State]time.Duration{Making: time.Minute, Building: time.Minute, Old: time.Nanosecond}
	onEach(t, func(t *testing.T, w *world) {
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		m.lookIdle = 20 * time.Millisecond
		w.follow(t, m)
		everything(w)
		w.shown(m)
		d, err := OpenDatabase(bg, m.database.Target(), "", w.options().Logger)
		require.NoError(t, err)
		d.kept = false
		defer func() { require.NoError(t, d.Close()) }()

		b, err := d.Build(bg)
		require.NoError(t, err)
		require.EqualValues(t, 2, b.Generation())
		require.Equal(t, "1 live;2 building;", states(t, d))
		_, err = d.Resume(bg, 2)
		if w.target.Shared() {
			require.ErrorIs(t, err, ErrHeld)
		}
		half := w.source()
		half.Until = w.facts()[20].Position
		steps := 0
		require.NoError(t, b.Fold(bg, half, func(Progress) { steps++ }))
		require.Positive(t, steps)
		require.EqualValues(t, 21, b.Progress().Facts)
		require.Equal(t, half.Until, b.Progress().Position)
		require.NoError(t, b.Close())
		b, err = d.Resume(bg, 2)
		require.NoError(t, err)
		require.NoError(t, b.Fold(bg, w.source(), func(Progress) {}))
		require.EqualValues(t, m.Status().Facts, b.Progress().Facts)

		require.Empty(t, differences(t, d, 1, 2))
		e, err := m.Event(bg, "party")
		require.NoError(t, err)
		require.NoError(t, d.Swap(bg, 2))
		require.NoError(t, b.Close())
		require.Eventually(t, func() bool { return states(t, d) == "2 live;" }, patience, 20*time.Millisecond)
		require.EqualValues(t, 2, m.current.Load())
		w.event("later", meeting("later"))
		again, err := w.shown(m).Event(bg, "party")
		require.NoError(t, err)
		require.Equal(t, e, again)
		_, err = m.Event(bg, "later")
		require.NoError(t, err)
		require.ErrorIs(t, d.Swap(bg, 7), ErrNoGeneration)
		require.ErrorIs(t, d.Drop(bg, 7), ErrNoGeneration)
		require.ErrorIs(t, d.Drop(bg, 0), ErrNoGeneration)
	})
}

// Somebody may still be dropping the tables of one that another has dropped.
func TestNoNumberIsGivenTwice(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.open(t.TempDir())
		defer func() { require.NoError(t, m.Close()) }()
		for number := range int64(3) {
			b, err := m.database.Build(bg)
			require.NoError(t, err)
			require.Equal(t, number+2, b.Generation())
			require.NoError(t, b.Close())
			require.NoError(t, m.database.Drop(bg, b.Generation()))
		}
	})
}

// An idle file is left in peace, and yet what was live before a rebuild is dropped soon.
func TestAnIdleFileIsTidied(t *testing.T) {
	defer func(was map[State]time.Duration) { unusedTime = was }(unusedTime)
	unusedTime = map[State]time.Duration{Making: time.Minute, Building: time.Minute, Old: time.Second}
	w := newWorld(t)
	m := w.open(t.TempDir())
	defer func() { require.NoError(t, m.Close()) }()
	require.Equal(t, lookIdleFiles, m.lookIdle)
	w.follow(t, m)
	everything(w)
	w.shown(m)
	require.NoError(t, m.Rebuild(bg, func(BuildProgress) {}))
	require.Eventually(t, func() bool { return states(t, m.database) == "2 live;" }, patience, 20*time.Millisecond)
	require.Equal(t, lookIdleFiles, m.lookAgain(false))
	require.Equal(t, lookEvery, m.lookAgain(true))
}

// differences compares two generations.
func differences(t *testing.T, d *Database, one, two int64) (all []rowdiff.Difference) {
	require.NoError(t, d.View(bg, one, func(a *View) error {
		return d.View(bg, two, func(b *View) error {
			rows, err := Compare(bg, a, b, func(d rowdiff.Difference) error {
				all = append(all, d)
				return nil
			})
			require.Positive(t, rows)
			return err
		})
	}))
	return all
}

func TestCompareFindsEachDifference(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		everything(w)
		w.event("bye", meeting("bye"), guest("bye", "zoe"), waiting("bye", "yan"))
		w.event("bye", events.EventDeleted{EventID: "bye"})
		m := w.open(t.TempDir())
		defer m.Close()
		require.NoError(t, m.foldBatch(w.facts()))
		b, err := m.database.Build(bg)
		require.NoError(t, err)
		require.NoError(t, b.Fold(bg, w.source(), func(Progress) {}))
		require.Empty(t, differences(t, m.database, 1, 2))
		require.NoError(t, b.Sweep(bg))
		require.Empty(t, differences(t, m.database, 1, 2), "swept or not")
		for _, statement := range []string{
			"UPDATE {participants} SET line = NULL, name = 'Bob' WHERE id = 'bob'",
			"DELETE FROM {words} WHERE folded = 'lodz'",
			"DELETE FROM {attempts} WHERE notification_id = 'late' AND number = 2",
			"INSERT INTO {event_tags} VALUES ('extra', 1)",
			"UPDATE {tallies} SET n = n + 1 WHERE name = 'email'",
		} {
			_, err := b.w.exec(statement)
			require.NoError(t, err)
		}
		require.NoError(t, b.Close())
		var found []string
		for _, d := range differences(t, m.database, 1, 2) {
			found = append(found, d.String())
		}
		require.Equal(t, []string{
			`event_tags "extra", 1 should not be there`,
			`participants "bob": name is (3 characters, hidden), and should be (9 characters, hidden)`,
			`participants "bob": line is empty, and should be 9`,
			`attempts "late", 2 is missing`,
			`tallies "channel", "email": n is 9, and should be 8`,
			`words "event", (4 characters, hidden), 1 is missing`,
		}, found)
	})
}

// Rows of another version go on answering for others, until those of this one are there.
func TestAnotherVersionIsBuiltBeside(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		everything(w)
		dir := t.TempDir()
		m := w.open(dir)
		w.shownBy(t, m)
		target := m.database.Target()
		_, err := m.writer.exec("UPDATE generations SET version = 2 WHERE generation = 1")
		require.NoError(t, err)
		require.NoError(t, m.Close())

		m = w.open(dir)
		defer func() { require.NoError(t, m.Close()) }()
		require.Zero(t, m.Status().Position)
		require.False(t, m.Status().CaughtUp)
		require.Equal(t, "1 live;2 building;", states(t, m.database))
		w.follow(t, m)
		w.shown(m)
		require.Eventually(t, func() bool { return states(t, m.database) == "1 old;2 live;" }, patience, 5*time.Millisecond)
		require.True(t, m.Status().CaughtUp)
		if target.Shared() {
			x, err := Examine(bg, target)
			require.NoError(t, err)
			require.Len(t, x.Generations, 2)
			require.NotEmpty(t, x.Database)
		}
	})
}

// onServers runs test on the databases that instances can share.
func onServers(t *testing.T, test func(t *testing.T, w *world)) {
	for _, kind := range []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			w.target = sqldbtest.Fresh(t, kind)
			test(t, w)
		})
	}
}

// Of several instances one projects; all show what it has, and another one goes on after it.
func TestInstancesShareTheRows(t *testing.T) {
	onServers(t, func(t *testing.T, w *world) {
		one, two := w.open(t.TempDir()), w.open(t.TempDir())
		defer two.Close()
		w.event("a", meeting("a"))
		stop := w.follow(t, one)
		w.shown(one)
		w.follow(t, two)
		w.event("b", meeting("b"))
		for _, m := range []*Models{one, two} {
			_, err := w.shown(m).Event(bg, "b")
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return two.Status().CaughtUp }, patience, 10*time.Millisecond)
		// What changes no row is shown by both, too.
		p := w.addRecords("lease", eventstore.NewRecord{ID: eventID(1), Type: "lease-renewed", Data: []byte(`{}`), Metadata: []byte(`{}`)})
		require.NoError(t, two.WaitFor(bg, p))

		require.NoError(t, one.Close())
		stop()
		w.event("c", meeting("c"))
		_, err := w.shown(two).Event(bg, "c")
		require.NoError(t, err)
		require.Empty(t, w.logged.String())
		require.Equal(t, "1 live;", states(t, two.database))
	})
}

// One that stops in the middle of a transaction, and neither ends nor goes on, is
// overtaken; when it goes on, it changes nothing.
func TestAStoppedInstanceIsOvertaken(t *testing.T) {
	onServers(t, func(t *testing.T, w *world) {
		stopped, m := w.open(t.TempDir()), w.open(t.TempDir())
		defer m.Close()
		defer stopped.Close()
		w.event("a", meeting("a"))
		held, err := stopped.writer.acquire("stopped")
		require.NoError(t, err)
		require.True(t, held)
		_, err = stopped.writer.exec(stopped.writer.db.BeginWriting())
		require.NoError(t, err)
		_, err = stopped.writer.exec("UPDATE {checkpoint} SET facts = 99")
		require.NoError(t, err)

		began := time.Now()
		w.follow(t, m)
		w.shown(m)
		t.Logf("overtaken after %s", time.Since(began).Round(time.Millisecond))
		_, err = stopped.writer.exec("COMMIT")
		require.Error(t, err, "its session was ended")
		require.NoError(t, stopped.take(bg, stopped.known))
		require.NoError(t, stopped.writer.load())
		require.EqualValues(t, 1, stopped.writer.checkpoint.facts)
		held, err = stopped.database.renew(bg, 1, "stopped", leaseNews{})
		require.NoError(t, err)
		require.False(t, held)
	})
}

// A fact that can't be folded stops the rows until it can, for all instances.
func TestMended(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		shown := w.last
		w.keys.broken.Store(true)
		g := guest("a", "ann")
		g.Personal.Key = 7
		bad := w.event("a", g)
		m := w.models(t)
		w.again <- struct{}{}
		require.ErrorContains(t, m.Status().Err, bad.String())
		require.ErrorIs(t, m.Status().Err, errBrokenKeys)
		require.Equal(t, shown, m.Status().Position)
		w.keys.broken.Store(false)
		close(w.again) // the try before may be the one that succeeds
		w.shown(m)
		require.NoError(t, m.Status().Err)
		_, err := m.Participant(bg, "ann")
		require.NoError(t, err)
	})
}

var errBrokenKeys = errors.New("the keys can't be read")

// A connection that breaks is made anew.
func TestTheServerEndsTheSession(t *testing.T) {
	onServers(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		m := w.open(t.TempDir())
		defer m.Close()
		m.pause = func(ctx context.Context, _ int) { wait(ctx, 10*time.Millisecond) }
		w.follow(t, m)
		w.shown(m)
		admin, err := sqldb.Open(bg, w.target, sqldb.Options{})
		require.NoError(t, err)
		defer admin.Close()
		var session int64
		require.NoError(t, admin.QueryRowContext(bg, "SELECT session FROM generations WHERE generation = 1").Scan(&session))
		kill := map[sqldb.Kind]string{sqldb.PostgreSQL: "SELECT pg_terminate_backend(%d)", sqldb.MySQL: "KILL %d"}
		_, err = admin.ExecContext(bg, fmt.Sprintf(kill[admin.Kind()], session))
		require.NoError(t, err)
		w.event("b", meeting("b"))
		_, err = w.shown(m).Event(bg, "b")
		require.NoError(t, err)
	})
}
