//go:build unix

package main

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// From one service on a folder to instances that share its log and a database: the
// keys are moved there, and until then everybody says how.
func TestKeysMove(t *testing.T) {
	onDatabase(t, func(t *testing.T, database string) {
		folder, person := used(t)
		away := filepath.Join(filepath.Dir(folder), "instance")
		store, at := storeServing(t, folder, "127.0.0.1:0")
		env := []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + at, "BELLTOWER_READ_MODELS=" + database}
		code, _, said := once(t, env, "serve", "--listen", "127.0.0.1:0", "--data", away)
		require.Equal(t, exitFailure, code)
		require.Contains(t, said, "belltower keys move --keys FOLDER")
		found := examined(t, exitOK, "--data", away, "--store", at, "--read-models", database)
		one(t, found, "keys", warning, "are not there")
		require.Contains(t, found["keys"][0].Advice, "belltower keys move")

		c := commandLine{t, []string{"BELLTOWER_READ_MODELS=" + database}}
		shown := sqldbShown(t, database)
		require.Regexp(t, `^\d+ keys were moved from .*keys\.db to `, c.does("keys", "move", "--data", folder))
		require.Contains(t, c.does("keys", "move", "--keys", folder), "before: nothing is to be done")
		_, said = commandLine{t, []string{"BELLTOWER_READ_MODELS=" + sqldbtest.FreshURL(t, kindOf(t, database))}}.ends(exitFailure, "keys", "move", "--data", folder)
		require.Contains(t, said, "were moved to "+shown)

		p := launch(t, launchOptions{args: []string{"serve", "--listen", "127.0.0.1:0", "--data", away}, env: env})
		p.await(t)
		p.ready(t)
		require.Equal(t, "N1", p.does(t, 200, "GET", person, nil).text("name"), "what was sealed before opens")
		p.finish(t, syscall.SIGTERM)
		store.finish(t, syscall.SIGTERM)

		// The file isn't gone on with, wherever it is named.
		one(t, examined(t, exitFound, "--data", folder), "keys", failing, "were moved to "+shown)
		other := filepath.Join(filepath.Dir(folder), "other")
		code, _, said = once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, "serve", "--listen", "127.0.0.1:0", "--data", other, "--keys", folder)
		require.Equal(t, exitFailure, code)
		require.Contains(t, said, "the keys were moved to "+shown)
	})
}

func sqldbShown(t *testing.T, database string) string {
	t.Helper()
	target, err := sqldb.Parse(database)
	require.NoError(t, err)
	return target.String()
}

func TestKeysMoveMistakes(t *testing.T) {
	folder, _ := used(t)
	env := []string{"BELLTOWER_DATA=" + folder}
	const nowhere = "postgres://u:s3cret@127.0.0.1:1/none"
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"keys move", exitUsage, "it names no database that instances could share"},
		{"keys move --read-models redis://x/y", exitUsage, "--read-models (BELLTOWER_READ_MODELS)"},
		{"keys move more", exitUsage, "takes no arguments"},
		{"keys copy", exitUsage, `keys has no command "copy"`},
		{"keys move --read-models " + nowhere, exitFailure, "open postgres://u@127.0.0.1:1/none"},
		{"keys move --keys " + folder + "-none --read-models " + nowhere, exitFailure, "there are no keys"},
	} {
		_, said := commandLine{t, env}.ends(c.code, strings.Fields(c.args)...)
		require.Contains(t, said, c.says, c.args)
		require.NotContains(t, said, "s3cret")
	}
	p := serving(t, folder)
	p.ready(t)
	_, said := commandLine{t, env}.ends(exitFailure, "keys", "move", "--read-models", nowhere)
	require.Contains(t, said, "in use by another belltower: stop what runs on it first")
	p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	p.finish(t, syscall.SIGTERM)
}

func TestFlagsBeforeTheirCommand(t *testing.T) {
	for _, args := range []string{"-q events list", "--json stats", "--bogus"} {
		_, said := commandLine{t: t}.ends(exitUsage, strings.Fields(args)...)
		require.Contains(t, said, "flags stand behind the command", args)
	}
	_, said := commandLine{t: t}.ends(exitUsage, "events", "list", "--bogus")
	require.NotContains(t, said, "flags stand behind")
}

// The read models of instances that share a log are rebuilt, verified and built
// elsewhere from that log, while an instance serves and while none does.
func TestReplayOfASharedLog(t *testing.T) {
	for _, kind := range sqldbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			database := "sqlite"
			if kind != sqldb.SQLite {
				database = sqldbtest.FreshURL(t, kind)
			}
			folder := t.TempDir()
			data := filepath.Join(folder, "instance")
			_, at := storeServing(t, filepath.Join(folder, "store"), "127.0.0.1:0")
			p := launch(t, launchOptions{
				args: []string{"serve", "--listen", "127.0.0.1:0", "--data", data},
				env:  []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin, "BELLTOWER_STORE=" + at, "BELLTOWER_READ_MODELS=" + database},
			})
			p.await(t)
			p.ready(t)
			path := "/v1/events/" + p.does(t, 201, "POST", "/v1/events", anEvent(far, nil)).text("id")
			for i := range 3 {
				p.does(t, 201, "POST", path+"/participants", aPerson(i, nil))
			}
			c := commandLine{t, []string{
				"BELLTOWER_DATA=" + data, "BELLTOWER_STORE=" + at, "BELLTOWER_READ_MODELS=" + database,
				"BELLTOWER_LISTEN=" + strings.TrimPrefix(p.url, "http://"), "BELLTOWER_ADMIN_TOKEN=" + testAdmin,
			}}
			rows := target(t, database, data)
			before := liveTable(t, rows, "events")
			c.replays("", exitOK)
			require.NotEqual(t, before, liveTable(t, rows, "events"), "another generation is live")
			until(t, "the instance has gone over", func() bool {
				return len(p.does(t, 200, "GET", path+"/participants", nil).items()) == 3
			})
			require.Positive(t, c.replays("--verify", exitOK).RowsCompared)
			p.does(t, 201, "POST", path+"/participants", aPerson(3, nil))

			p.finish(t, syscall.SIGTERM)
			change(t, rows, "UPDATE "+liveTable(t, rows, "events")+" SET participant_count = 99")
			wrong := c.replays("--verify", exitFound)
			require.EqualValues(t, 1, wrong.DifferencesInAll)
			require.Equal(t, "participant_count", wrong.Differences[0].Column)
			c.replays("", exitOK)
			require.Zero(t, c.replays("--verify", exitOK).DifferencesInAll)

			into := filepath.Join(folder, "into.db")
			if kind != sqldb.SQLite {
				into = sqldbtest.FreshURL(t, kind)
			}
			c.env = append(c.env, intoVariable+"="+into)
			there := target(t, into, "")
			require.Positive(t, c.replays("--until "+time.Now().Format(time.RFC3339Nano), exitOK).Facts)
			require.EqualValues(t, 4, count(t, there, "participants"))
			_, said := c.ends(exitFailure, "replay", "--until", "2001-02-03T04:05:06Z")
			require.Contains(t, said, "nothing from")
			require.EqualValues(t, 4, count(t, there, "participants"))
		})
	}
}

// replays replays the read models and gives what came of it.
func (c commandLine) replays(args string, code int) replayed {
	c.t.Helper()
	out, said := c.ends(code, append([]string{"replay", "--json", "--projection", "read_models"}, strings.Fields(args)...)...)
	var all []replayed
	require.NoError(c.t, json.Unmarshal([]byte(out), &all), "%s%s", out, said)
	require.Len(c.t, all, 1)
	return all[0]
}

// target is the database that --read-models or --into names.
func target(t *testing.T, text, data string) sqldb.Target {
	t.Helper()
	if !strings.Contains(text, "://") && text != "sqlite" {
		return sqldb.File(text)
	}
	parsed, err := sqldb.Parse(text)
	require.NoError(t, err)
	return parsed.In(data, "read.db")
}

// behind runs do on a database, behind the back of whoever uses it.
func behind(t *testing.T, target sqldb.Target, do func(db *sql.DB)) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), target, sqldb.Options{Connections: 1})
	require.NoError(t, err)
	do(db.DB)
	require.NoError(t, db.Close())
}

// liveTable is the name of a table of the live generation.
func liveTable(t *testing.T, target sqldb.Target, name string) (table string) {
	t.Helper()
	behind(t, target, func(db *sql.DB) {
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT generation FROM generations WHERE state = 'live'").Scan(&table))
	})
	return "g" + table + "_" + name
}

func count(t *testing.T, target sqldb.Target, name string) (n int64) {
	t.Helper()
	table := liveTable(t, target, name)
	behind(t, target, func(db *sql.DB) {
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	})
	return n
}

func change(t *testing.T, target sqldb.Target, statement string) {
	t.Helper()
	if target.Path() != "" {
		spoiled(t, target.Path(), statement)
		return
	}
	behind(t, target, func(db *sql.DB) {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	})
}
