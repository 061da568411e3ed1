//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/esdb"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/projections"
)

// TestInstancesOnPostgreSQL is TestInstances on one database that has the read
// models, the keys and the planner's table of all.
func TestInstancesOnPostgreSQL(t *testing.T) {
	beside(t)
	database := sqldbtest.FreshURL(t, sqldb.PostgreSQL)
	budget(t, 5*time.Minute)
	torment(t, hardship{
		crowds: sized(t, 2, 20, 20), people: sized(t, 10, 250, 250), reminders: sized(t, 2, 4, 4),
		faults: sized(t, 2, 12, 500), pace: time.Duration(sized(t, 3, 5, 5)) * time.Second, database: database,
	})
}

// TestInstancesOnMySQL is the same, smaller.
func TestInstancesOnMySQL(t *testing.T) {
	beside(t)
	database := sqldbtest.FreshURL(t, sqldb.MySQL)
	budget(t, 5*time.Minute)
	torment(t, hardship{
		crowds: sized(t, 2, 10, 10), people: sized(t, 10, 100, 100), reminders: sized(t, 1, 4, 4),
		faults: sized(t, 2, 6, 200), pace: time.Duration(sized(t, 3, 5, 5)) * time.Second, database: database,
	})
}

// suspended is what an instance finds that was suspended while it used the
// database: the server has ended its session, the time of what it asked is over,
// and another has taken over.
var suspended = []string{
	"context deadline exceeded",
	"idle-in-transaction timeout", "invalid connection", "bad connection", "unexpected EOF", "connection reset", "broken pipe",
	"another instance has taken over", "the lease was lost",
}

// ring gives the keys of the instances.
func (s *sharing) ring() *keys.Ring {
	if s.database == "" {
		return ringIn(s.t, s.folder)
	}
	ring, err := keys.OpenDatabase(s.t.Context(), target(s.t, s.database), keys.Existing())
	require.NoError(s.t, err)
	return ring
}

func target(t *testing.T, database string) sqldb.Target {
	t.Helper()
	parsed, err := sqldb.Parse(database)
	require.NoError(t, err)
	return parsed
}

// compareShared folds the store into read models of another database, and finds
// the rows of the shared one that differ. The instances have ended.
func (s *sharing) compareShared() {
	t, quiet := s.t, slog.New(slog.DiscardHandler)
	store, err := esdb.Open(t.Context(), s.at, esdb.Options{Prefixes: commands.StreamPrefixes, Logger: quiet})
	require.NoError(t, err)
	defer store.Close()
	ring := s.ring()
	defer ring.Close()
	shared, err := projections.OpenDatabase(t.Context(), target(t, s.database), s.dir, quiet)
	require.NoError(t, err)
	defer shared.Close()
	anew, err := projections.OpenDatabase(t.Context(), sqldb.File(filepath.Join(s.dir, "anew.db")), s.dir, quiet)
	require.NoError(t, err)
	defer anew.Close()
	b, err := anew.Build(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.Fold(t.Context(), projections.Source{Store: store, Keys: ring}, func(projections.Progress) {}))
	defer b.Close()
	live := liveGeneration(t, shared)
	var rows int64
	require.NoError(t, shared.View(t.Context(), live, func(have *projections.View) error {
		return anew.View(t.Context(), b.Generation(), func(want *projections.View) error {
			if have.Position != want.Position {
				return fmt.Errorf("the rows show the log up to %s, and it ends at %s", have.Position, want.Position)
			}
			rows, err = projections.Compare(t.Context(), want, have, func(d rowdiff.Difference) error {
				s.ledger.blame(diverged, "read models: %s", d)
				return nil
			})
			return err
		})
	}))
	require.Positive(t, rows)
}

func liveGeneration(t *testing.T, d *projections.Database) int64 {
	t.Helper()
	all, err := d.Generations(t.Context())
	require.NoError(t, err)
	live := slices.IndexFunc(all, func(g projections.Generation) bool { return g.State == projections.Live })
	require.GreaterOrEqual(t, live, 0, "%v", all)
	return all[live].Number
}

// TestProjectorIsReplaced kills the instance that keeps the read models of a shared
// database up to date, and tells how long it takes until another does. That is
// meant to be 5 seconds at most; a slow machine may take longer here.
func TestProjectorIsReplaced(t *testing.T) {
	beside(t)
	for _, kind := range []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL} {
		t.Run(string(kind), func(t *testing.T) {
			database := sqldbtest.FreshURL(t, kind)
			budget(t, 5*time.Minute)
			s := newSharing(t, seeded(t), 1, 1, database)
			first := s.instances[0]
			first.service.ready(t) // alone, it is the one
			for n := range sized(t, 1, 3, 50) {
				second := &instance{number: n + 1, folder: filepath.Join(s.dir, fmt.Sprint("instance-", n+1))}
				s.instances = []*instance{first, second}
				s.start(second)
				second.service.ready(t)
				killed := time.Now()
				s.kill(first)
				took := shownAfter(t, second.service, killed)
				t.Logf("%s: shown again %v after the kill", kind, took.Round(10*time.Millisecond))
				require.Less(t, took, 2*time.Minute)
				first = second
			}
			s.instances = []*instance{first}
			first.service.finish(t)
		})
	}
}

// shownAfter writes something, and gives when it was shown, since a time.
func shownAfter(t *testing.T, v *service, since time.Time) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now().Add(30 * 24 * time.Hour)
	made, err := v.api.ask(ctx, request{method: "POST", path: "/v1/events", body: object{
		"title": "shown", "description": "soon", "start_time": at(start), "end_time": at(start.Add(time.Hour)),
	}})
	require.NoError(t, err)
	require.Equal(t, 201, made.status, made.body)
	for {
		seen, err := v.api.ask(ctx, request{method: "GET", path: "/v1/events/" + made.body.text("id")})
		require.NoError(t, errors.Join(err, ctx.Err()))
		if seen.status == 200 {
			return time.Since(since)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
