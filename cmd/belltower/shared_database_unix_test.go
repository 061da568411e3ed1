//go:build unix

package main

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// onDatabase runs a test on a database of each server.
func onDatabase(t *testing.T, test func(t *testing.T, database string)) {
	for _, kind := range []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL} {
		t.Run(string(kind), func(t *testing.T) { test(t, sqldbtest.FreshURL(t, kind)) })
	}
}

// Instances that share a store and a database share no folder: the keys and the
// planner's table stand in the database, and doctor says so.
func TestInstancesShareADatabase(t *testing.T) {
	onDatabase(t, func(t *testing.T, database string) {
		folder := t.TempDir()
		_, at := storeServing(t, filepath.Join(folder, "store"), "127.0.0.1:0")
		env := []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + at, "BELLTOWER_READ_MODELS=" + database}
		data := func(n int) string { return filepath.Join(folder, fmt.Sprint("instance", n)) }
		start := func(n int) *process {
			p := launch(t, launchOptions{args: []string{"serve", "--listen", "127.0.0.1:0", "--data", data(n)}, env: env})
			p.await(t)
			p.ready(t)
			return p
		}
		all := []*process{start(0), start(1)}
		first, others := leader(t, all...)
		event := others[0].sees(t, 201, "POST", "/v1/events", "", anEvent(far, nil))
		path := "/v1/events/" + event.body.text("id")
		joined := others[0].sees(t, 201, "POST", path+"/participants", event.token(), aPerson(1, nil))
		person := first.sees(t, 200, "GET", path+"/participants", joined.token(), nil).body.items()
		require.Len(t, person, 1)
		require.NotEmpty(t, person[0].text("name"), "what one sealed the other opens")
		announce(t, others[0], path, "one")
		until(t, "it is sent", func() bool { return len(sentBy(t, all...)["one"]) == 1 })

		first.kill(t)
		announce(t, others[0], path, "two")
		until(t, "the other sends", func() bool { return len(sentBy(t, all...)["two"]) == 1 })
		for n := range 2 {
			for _, name := range []string{"keys.db", "planner.db", "read.db"} {
				require.NoFileExists(t, filepath.Join(data(n), name))
			}
		}
		found := examined(t, exitOK, "--data", data(0), "--store", at, "--read-models", database)
		require.Len(t, found["database"], 1)
		one(t, found, "keys", good, "their secret is as it was written")
		one(t, found, "planner's table", good, "planned up to position ")
		require.Empty(t, found["files"])
		others[0].finish(t, syscall.SIGTERM)

		// Another database, or a folder, has other keys.
		other := sqldbtest.FreshURL(t, kindOf(t, database))
		code, _, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + at, "BELLTOWER_READ_MODELS=" + other},
			"serve", "--listen", "127.0.0.1:0", "--data", data(2))
		require.Equal(t, exitFailure, code, said)
		require.Contains(t, said, "there are no keys")
		require.Contains(t, said, "--keys")
		one(t, examined(t, exitOK, "--data", data(0), "--store", at, "--read-models", other), "keys", warning, "are not there")
	})
}

func kindOf(t *testing.T, database string) sqldb.Kind {
	t.Helper()
	target, err := sqldb.Parse(database)
	require.NoError(t, err)
	return target.Kind()
}

// A folder that is named keeps the keys all the same, and a log in the data folder
// has its keys and the planner's table beside it.
func TestWhereKeysAndTableStand(t *testing.T) {
	onDatabase(t, func(t *testing.T, database string) {
		folder := t.TempDir()
		_, at := storeServing(t, filepath.Join(folder, "store"), "127.0.0.1:0")
		named := launch(t, launchOptions{
			args: []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(folder, "a"), "--keys", filepath.Join(folder, "keys"), "--store", at},
			env:  []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_READ_MODELS=" + database},
		})
		named.await(t)
		named.ready(t)
		require.FileExists(t, filepath.Join(folder, "keys", "keys.db"))
		require.NoFileExists(t, filepath.Join(folder, "a", "planner.db"))
		named.finish(t, syscall.SIGTERM)

		alone := launch(t, launchOptions{
			args: []string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(folder, "b")},
			env:  []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_READ_MODELS=" + sqldbtest.FreshURL(t, kindOf(t, database))},
		})
		alone.await(t)
		alone.ready(t)
		for _, name := range []string{"events.db", "keys.db", "planner.db"} {
			require.FileExists(t, filepath.Join(folder, "b", name))
		}
		alone.finish(t, syscall.SIGTERM)
	})
}
