package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// servers are the kinds of databases that instances may share.
var servers = []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL}

// everyTable runs a test on an empty table in each database. open opens it again.
func everyTable(t *testing.T, test func(t *testing.T, open func() *table)) {
	opened := func(t *testing.T, open func() (*table, error)) func() *table {
		return func() *table {
			t.Helper()
			kept, err := open()
			require.NoError(t, err)
			return kept
		}
	}
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "planner.db")
		test(t, opened(t, func() (*table, error) { return tryTable(path) }))
	})
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) {
			target := sqldbtest.Fresh(t, kind)
			test(t, opened(t, func() (*table, error) { return openShared(t.Context(), target) }))
		})
	}
}

func shut(t *testing.T, all ...*table) {
	for _, kept := range all {
		require.NoError(t, kept.close())
	}
}

func atMicro(n int64) time.Time { return time.UnixMicro(n).UTC() }

// notified is some row, due at a microsecond.
func notified(id string, due int64) row {
	return row{ID: id, Event: "e", Participant: "p-" + id, Channel: "email", Due: atMicro(due), Expires: atMicro(due + 1000), Revision: 3}
}

func idsOf(rows []row, err error) ([]string, error) {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids, err
}

func TestTableKeepsRows(t *testing.T) {
	everyTable(t, func(t *testing.T, open func() *table) {
		kept := open()
		require.NoError(t, kept.lead())
		// More than any statement takes, and no multiple of it.
		const n = 777
		all := make([]row, n)
		for i := range all {
			all[i] = notified(fmt.Sprintf("n%04d", i), int64(i))
		}
		require.NoError(t, kept.change(func(c change) error { return c.keep(all, nil) }))
		rows, err := kept.rows(t.Context(), "boot = '' ORDER BY id")
		require.NoError(t, err)
		require.Equal(t, all, rows)

		// What is there is replaced, what is named is removed.
		claimed := all[5]
		claimed.Boot, claimed.Claim, claimed.Attempt, claimed.InDoubt, claimed.Revision = "Ünser", 45*time.Second, 2, true, 1<<40
		fresh := notified("new", 5000)
		var gone []string
		for _, r := range all[10:] {
			gone = append(gone, r.ID)
		}
		require.NoError(t, kept.change(func(c change) error { return c.keep([]row{claimed, fresh}, gone) }))
		shut(t, kept)
		kept = open()
		require.NoError(t, kept.lead())
		defer func() { shut(t, kept) }()
		rows, err = kept.rows(t.Context(), "event = ? ORDER BY id", "e")
		require.NoError(t, err)
		require.Len(t, rows, 11)
		require.Equal(t, claimed, rows[5])
		require.Equal(t, fresh, rows[10])
		found, err := kept.folding(t.Context(), []string{"n0005", "new", "n0010", "never"})
		require.NoError(t, err)
		require.Equal(t, folding{"n0005": {row: claimed, open: true, was: true}, "new": {row: fresh, open: true, was: true}}, found)

		ids, err := idsOf(kept.due(t.Context(), "email", atMicro(7), 4))
		require.NoError(t, err)
		require.Equal(t, []string{"n0000", "n0001", "n0002", "n0007"}, ids, "a share is for those that were due last")
		ids, err = idsOf(kept.due(t.Context(), "email", atMicro(7), 400))
		require.NoError(t, err)
		require.Equal(t, []string{"n0000", "n0001", "n0002", "n0003", "n0004", "n0006", "n0007"}, ids, "what is claimed isn't due")
		ids, err = idsOf(kept.due(t.Context(), "sms", atMicro(7), 400))
		require.NoError(t, err)
		require.Empty(t, ids)
		ids, err = idsOf(kept.expired(t.Context(), atMicro(1002), 400))
		require.NoError(t, err)
		require.Equal(t, []string{"n0000", "n0001"}, ids)
		ids, err = idsOf(kept.claimedBy(t.Context(), "Ünser"))
		require.NoError(t, err)
		require.Equal(t, []string{"n0005"}, ids)
		ids, err = idsOf(kept.claimedBy(t.Context(), "ünser"))
		require.NoError(t, err)
		require.Empty(t, ids, "text is compared by its bytes")
		ids, err = idsOf(kept.claimedByOthers(t.Context(), "Ünser", 10))
		require.NoError(t, err)
		require.Empty(t, ids)
		ids, err = idsOf(kept.claimedByOthers(t.Context(), "ünser", 10))
		require.NoError(t, err)
		require.Equal(t, []string{"n0005"}, ids)
		claims, err := kept.claims()
		require.NoError(t, err)
		require.Equal(t, 1, claims)
		next, err := kept.next("email", atMicro(4))
		require.NoError(t, err)
		require.Equal(t, atMicro(6), next)
		next, err = kept.next("email", atMicro(5000))
		require.NoError(t, err)
		require.Zero(t, next)
		next, err = kept.nextExpiry(atMicro(1000))
		require.NoError(t, err)
		require.Equal(t, atMicro(1000), next)
		due, oldest, err := kept.backlog("email", atMicro(7))
		require.NoError(t, err)
		require.Equal(t, 7, due)
		require.Equal(t, atMicro(0), oldest)
		due, oldest, err = kept.backlog("push", atMicro(7))
		require.NoError(t, err)
		require.Zero(t, due)
		require.Zero(t, oldest)
		of, err := kept.openOf(t.Context(), "e", "p-n0003")
		require.NoError(t, err)
		require.Equal(t, []Open{{NotificationID: "n0003", ParticipantID: "p-n0003"}}, of)
	})
}

func TestTableKeepsWork(t *testing.T) {
	everyTable(t, func(t *testing.T, open func() *table) {
		kept := open()
		defer func() { shut(t, kept) }()
		require.NoError(t, kept.lead())
		works := func(after string, limit int) []work {
			all, err := kept.nextWork(after, limit)
			require.NoError(t, err)
			return all
		}
		did := func(do func(c change) error) {
			t.Helper()
			require.NoError(t, kept.change(do))
		}
		did(func(c change) error { return errors.Join(c.addWork("b"), c.addWork("a"), c.addWork("c")) })
		require.Equal(t, []work{{event: "c"}, {event: "a"}}, works("b", 2))
		half := work{event: "a", participant: "p", notification: "n", checked: true, ordinal: 500}
		did(func(c change) error { return c.advance(half, false) })
		did(func(c change) error { return c.addWork("a") })
		half.again = true
		require.Equal(t, []work{half, {event: "b"}, {event: "c"}}, works("", 10))
		did(func(c change) error { return c.advance(half, true) })
		require.Equal(t, work{event: "a"}, works("", 10)[0], "once more from the start")
		did(func(c change) error { return c.advance(work{event: "a"}, true) })
		left, err := kept.allWork()
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"b", "c"}, left)

		// Notifications of one event, in turn, of two that a participant has too.
		var all []row
		for _, id := range []string{"3", "1", "2", "5", "4"} {
			r := notified(id, 1)
			r.Participant = map[string]string{"1": "a", "2": "b", "3": "b", "4": "b", "5": "c"}[id]
			all = append(all, r)
		}
		other := notified("6", 1)
		other.Event = "f"
		did(func(c change) error { return c.keep(append(all, other), nil) })
		w, seen := work{event: "e"}, []string{}
		for {
			rows, err := kept.openAfter(t.Context(), w, 2)
			require.NoError(t, err)
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				seen = append(seen, r.ID)
				w.participant, w.notification = r.Participant, r.ID
			}
		}
		require.Equal(t, []string{"1", "2", "3", "4", "5"}, seen)
	})
}

func someRecord(commit uint64) eventstore.Record {
	return eventstore.Record{ID: uuid.New(), Position: eventstore.Position{Commit: commit, Prepare: commit}}
}

// A change is made as a whole or not at all, and what it keeps of places is there
// when the table is opened again.
func TestTableChangesAsAWhole(t *testing.T) {
	everyTable(t, func(t *testing.T, open func() *table) {
		kept := open()
		require.NoError(t, kept.lead())
		at, fact, err := kept.mark(markPlanned)
		require.NoError(t, err)
		require.Equal(t, eventstore.Start, at)
		require.Equal(t, uuid.Nil, fact)
		first, second := someRecord(7), someRecord(9)
		failed := errors.New("failed")
		both := func(r eventstore.Record, id string, end error) func(c change) error {
			return func(c change) error {
				return errors.Join(c.keep([]row{notified(id, 1)}, nil), c.addWork(id), c.setMark(markApplied, r), end)
			}
		}
		require.NoError(t, kept.change(both(first, "a", nil)))
		require.ErrorIs(t, kept.change(both(second, "b", failed)), failed)
		require.NoError(t, kept.change(func(c change) error { return c.setMark(markPlanned, first) }), "it goes on after that")
		shut(t, kept)

		kept = open()
		defer func() { shut(t, kept) }()
		require.NoError(t, kept.lead())
		for _, name := range []string{markApplied, markPlanned} {
			at, fact, err = kept.mark(name)
			require.NoError(t, err)
			require.Equal(t, first.Position, at)
			require.Equal(t, first.ID, fact)
		}
		ids, err := idsOf(kept.rows(t.Context(), "id <> ''"))
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, ids)
		left, err := kept.allWork()
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, left)

		require.NoError(t, kept.reset("email"))
		at, _, err = kept.mark(markApplied)
		require.NoError(t, err)
		require.Equal(t, eventstore.Start, at)
		for _, name := range []string{"open", "work"} {
			require.NoError(t, kept.query(t.Context(), "SELECT count(*) FROM {"+name+"}", nil, func(c columns) { require.Zero(t, c.int(0), name) }))
		}
		channels, err := kept.meta("channels")
		require.NoError(t, err)
		require.Equal(t, "email", channels)
		require.NoError(t, kept.change(both(second, "b", nil)))
	})
}

// everyShared runs a test on a table that two share.
func everyShared(t *testing.T, test func(t *testing.T, url string)) {
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) { test(t, sqldbtest.FreshURL(t, kind)) })
	}
}

func sharedTable(t *testing.T, target sqldb.Target) *table {
	t.Helper()
	kept, err := openShared(t.Context(), target)
	require.NoError(t, err)
	return kept
}

func parsed(t *testing.T, url string) sqldb.Target {
	t.Helper()
	target, err := sqldb.Parse(url)
	require.NoError(t, err)
	return target
}

// put puts a row, with the place where it came from.
func put(kept *table, id string, at eventstore.Record) error {
	return kept.change(func(c change) error {
		return errors.Join(c.keep([]row{notified(id, 1)}, nil), c.setMark(markApplied, at))
	})
}

// Whoever led before changes nothing once another leads, whatever it believes, and
// who only looks never does.
func TestWhoLedBeforeChangesNothing(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		target := parsed(t, url)
		var opening sync.WaitGroup
		opened := make([]*table, 5)
		for i := range opened { // at once, where nothing is yet
			opening.Go(func() {
				var err error
				if opened[i], err = openShared(context.Background(), target); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		if t.Failed() {
			return
		}
		defer shut(t, opened...)
		a, b := opened[0], opened[1]
		require.ErrorIs(t, put(a, "early", someRecord(1)), errTaken, "it has never led")
		require.NoError(t, a.lead())
		require.NoError(t, put(a, "a", someRecord(1)))
		require.NoError(t, b.lead())
		require.ErrorIs(t, put(a, "late", someRecord(2)), errTaken)
		require.ErrorIs(t, a.reset("x"), errTaken)
		require.NoError(t, put(b, "b", someRecord(2)))
		require.ErrorIs(t, put(a, "late", someRecord(3)), errTaken)
		for _, kept := range []*table{a, b} {
			ids, err := idsOf(kept.rows(t.Context(), "id <> '' ORDER BY id"))
			require.NoError(t, err)
			require.Equal(t, []string{"a", "b"}, ids)
		}
		require.NoError(t, a.lead())
		require.NoError(t, put(a, "again", someRecord(3)))
		require.ErrorIs(t, put(b, "late", someRecord(4)), errTaken)

		// A server that was put back to an earlier state, or has failed over to one,
		// is not gone on with.
		require.NoError(t, a.query(t.Context(), "SELECT value FROM {meta} WHERE name = ?", []any{markEpoch}, func(c columns) { require.Equal(t, "3", c.text(0)) }))
		db := a.database.(*server).db
		_, err := db.ExecContext(t.Context(), db.Bind(prefix, "UPDATE {meta} SET value = '' WHERE name = ?"), markApplied)
		require.NoError(t, err)
		require.ErrorIs(t, put(a, "late", someRecord(4)), errTaken)
	})
}

// A process that stands still in the middle of a change, as when its machine is
// suspended, doesn't keep another from taking over.
func TestWhoStandsStillHoldsUpNobody(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		a, b := sharedTable(t, parsed(t, url)), sharedTable(t, parsed(t, url))
		defer shut(t, a, b)
		require.NoError(t, a.lead())
		within, wake, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			done <- a.change(func(c change) error {
				if err := c.keep([]row{notified("late", 1)}, nil); err != nil {
					return err
				}
				close(within)
				<-wake
				return c.setMark(markApplied, someRecord(1))
			})
		}()
		<-within
		began := time.Now()
		require.NoError(t, b.lead())
		t.Logf("taken over after %v", time.Since(began).Round(time.Millisecond))
		require.NoError(t, put(b, "b", someRecord(2)))
		close(wake)
		require.Error(t, <-done)
		require.ErrorIs(t, put(a, "late", someRecord(3)), errTaken)
		ids, err := idsOf(b.rows(t.Context(), "id <> ''"))
		require.NoError(t, err)
		require.Equal(t, []string{"b"}, ids)
	})
}

// Where the connection breaks, at whatever point, the table shows the change as a
// whole or not at all, and says which; then it is gone on with.
func TestACutInTheMiddleOfAChange(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		through, cable := sqldbtest.Cabled(t, url)
		a, b := sharedTable(t, through), sharedTable(t, parsed(t, url))
		defer shut(t, a, b)
		for round := range 8 {
			require.NoError(t, a.lead())
			before, id := someRecord(uint64(round*10)), fmt.Sprint("n", round)
			require.NoError(t, a.change(func(c change) error { return c.setMark(markApplied, before) }))
			after := someRecord(uint64(round*10 + 5))
			err := a.change(func(c change) error {
				cut := func(n int) {
					switch {
					case round%4 == n:
						cable.Cut()
					case round%4 == 3 && n == 2: // somewhere at the commit
						go cable.Cut()
					}
				}
				cut(0)
				if err := c.keep([]row{notified(id, 1)}, nil); err != nil {
					return err
				}
				cut(1)
				err := c.setMark(markApplied, after)
				cut(2)
				return err
			})
			cable.Cut()
			if round%4 < 3 {
				require.Error(t, err)
			}
			require.Error(t, put(a, "away", after))
			_, readErr := a.rows(t.Context(), "id = ''")
			require.Error(t, readErr)
			cable.Mend()
			require.NoError(t, b.lead(), "it waits for what the server still does for the broken connection")
			at, _, err2 := b.mark(markApplied)
			require.NoError(t, err2)
			ids, err2 := idsOf(b.rows(t.Context(), "id = ?", id))
			require.NoError(t, err2)
			switch {
			case at == after.Position:
				require.Equal(t, []string{id}, ids)
			case err == nil:
				require.Fail(t, "what was said to be there is gone")
			default:
				require.Equal(t, before.Position, at)
				require.Empty(t, ids)
			}
		}
	})
}

// Each version has tables of its own: what a newer one has there is no matter of ours.
func TestTablesOfAnotherVersion(t *testing.T) {
	everyShared(t, func(t *testing.T, url string) {
		db, err := sqldb.Open(t.Context(), parsed(t, url), sqldb.Options{Connections: 1})
		require.NoError(t, err)
		defer db.Close()
		_, err = db.ExecContext(t.Context(), fmt.Sprintf("CREATE TABLE planner%d_open (other INTEGER)", tableVersion+1))
		require.NoError(t, err)
		kept := sharedTable(t, parsed(t, url))
		defer shut(t, kept)
		require.NoError(t, kept.lead())
		require.NoError(t, put(kept, "a", someRecord(1)))
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), fmt.Sprintf("SELECT count(other) FROM planner%d_open", tableVersion+1)).Scan(&n))
		require.Zero(t, n)
	})
	// A file of another version is built anew.
	dir := t.TempDir()
	kept, err := tryTable(filepath.Join(dir, "planner.db"))
	require.NoError(t, err)
	require.NoError(t, put(kept, "a", someRecord(1)))
	require.NoError(t, kept.change(func(c change) error { return c.exec(fmt.Sprintf("PRAGMA user_version = %d", tableVersion+1)) }))
	shut(t, kept)
	kept, err = openTable(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer shut(t, kept)
	rows, err := kept.rows(t.Context(), "id <> ''")
	require.NoError(t, err)
	require.Empty(t, rows)
}

// openOf gives what is open for a participant of an event.
func (t *table) openOf(ctx context.Context, event, participant string) ([]Open, error) {
	open, err := t.openOfThese(ctx, event, []string{participant})
	if err != nil {
		return nil, err
	}
	return open[0], nil
}

// allPutOff names the events that are put off.
func (t *table) allPutOff() (events []string, err error) {
	err = t.query(context.Background(), "SELECT event FROM {putoff} ORDER BY event", nil, func(c columns) { events = append(events, c.text(0)) })
	return events, err
}

// Whatever waits: no row is given twice or left out while there is room, each event's are in
// their order, and no event has a second one before another's first.
func TestEventsTakeTurns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []row
		for i, event := range rapid.SliceOfN(rapid.IntRange(0, 3), 0, 30).Draw(t, "events") {
			rows = append(rows, row{ID: fmt.Sprint(i), Event: fmt.Sprint(event), Attempt: i})
		}
		taken := inTurn(rows)
		require.ElementsMatch(t, rows, taken)
		had, last := map[string]int{}, map[string]int{}
		for _, r := range taken {
			before, ok := last[r.Event]
			require.True(t, !ok || before < r.Attempt)
			last[r.Event] = r.Attempt
			for _, other := range rows {
				require.LessOrEqual(t, had[r.Event], had[other.Event]+left(rows, other.Event, had))
			}
			had[r.Event]++
		}
	})
}

// left is large where an event has had all of its turns.
func left(rows []row, event string, had map[string]int) int {
	n := 0
	for _, r := range rows {
		if r.Event == event {
			n++
		}
	}
	if had[event] == n {
		return n + len(rows)
	}
	return 0
}
