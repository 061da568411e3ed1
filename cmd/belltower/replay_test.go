package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // to look at what was built
)

// left is a data folder in which two people wait to be reminded, and nobody runs.
func left(t *testing.T) (folder string, c commandLine) {
	folder = filepath.Join(t.TempDir(), "data")
	service := inside(t, folder)
	c = commandLine{t, []string{"BELLTOWER_URL=" + service.url, "BELLTOWER_TOKEN=" + testAdmin}}
	event := c.event()
	for _, name := range []string{"Ann", "Bob"} {
		c.does("participants", "add", event, "-q", "--user", name, "--name", name, "--email", name+"@example.org")
	}
	c.does("reminders", "add", event, "--before", "1h")
	until(t, "both are planned", func() bool { return strings.Count(c.does("notifications", "list", "-q"), "\n") == 2 })
	until(t, "the planner has seen that", func() bool {
		stats, err := demoClient{url: service.url, token: testAdmin}.ask(t.Context(), "GET", "/v1/stats", "", nil)
		require.NoError(t, err)
		return derived(stats.body)
	})
	require.NoError(t, service.stop())
	return folder, commandLine{t: t, env: []string{"BELLTOWER_DATA=" + folder}}
}

// reports reads what --json prints.
func (c commandLine) reports(code int, args ...string) (all []replayed, said string) {
	c.t.Helper()
	out, said := c.ends(code, append([]string{"replay", "--json"}, args...)...)
	require.NoError(c.t, json.Unmarshal([]byte(out), &all), "%s%s", out, said)
	return all, said
}

// spoiled runs a statement on a SQLite file, and takes away the seal that would tell.
func spoiled(t *testing.T, file, statement string) {
	db, err := sql.Open("sqlite", file)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.NoError(t, os.Remove(file+".sum"))
}

// tableOf is a table of the live generation in a SQLite file.
func tableOf(t *testing.T, file, name string) string {
	db, err := sql.Open("sqlite", file)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var table string
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT 'g' || generation || '_' || ? FROM generations WHERE state = 'live'", name).Scan(&table))
	return table
}

func TestReplayInAFolder(t *testing.T) {
	folder, c := left(t)
	file := filepath.Join(folder, "read.db")
	before := tableOf(t, file, "events")
	out := c.does("replay")
	require.Regexp(t, `^read_models  built anew: \d+ facts, \d+\.\d s\nplanner      built anew: \d+ facts, \d+\.\d s\n$`, out)
	events := tableOf(t, file, "events")
	require.NotEqual(t, before, events, "another generation is live")

	verified, _ := c.reports(exitOK, "--verify")
	require.Len(t, verified, 2)
	for _, one := range verified {
		require.Equal(t, "verify", one.Purpose)
		require.Positive(t, one.Facts, one.Projection)
		require.Positive(t, one.RowsCompared, one.Projection)
		require.Zero(t, one.DifferencesInAll, one.Projection)
	}

	spoiled(t, file, "UPDATE "+events+" SET participant_count = 99")
	spoiled(t, filepath.Join(folder, "planner.db"), "DELETE FROM open")
	out, said := c.ends(exitFound, "replay", "--verify")
	require.Regexp(t, `events "[0-9a-f-]{36}": participant_count is 99, and should be 2\n`, out)
	require.Equal(t, 2, strings.Count(out, " is missing\n"), out)
	require.Contains(t, said, "3 differences")

	c.does("replay", "--projection", "planner")
	verified, _ = c.reports(exitFound, "--verify")
	require.EqualValues(t, 1, verified[0].DifferencesInAll, "it was not asked to mend the read models")
	require.Zero(t, verified[1].DifferencesInAll)
	c.does("replay", "--projection", "read_models")
	c.does("replay", "--verify")
}

func TestReplayIntoAnotherDatabase(t *testing.T) {
	folder, c := left(t)
	file := filepath.Join(t.TempDir(), "until.db")
	rows := func() (n int) {
		db, err := sql.Open("sqlite", file)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+tableOf(t, file, "participants")).Scan(&n))
		return n
	}
	reports, _ := c.reports(exitOK, "--into", file, "--until", "2")
	require.Len(t, reports, 1)
	require.EqualValues(t, 2, reports[0].Facts)
	require.Equal(t, 1, rows())
	reports, _ = c.reports(exitOK, "--into", file, "--until", time.Now().Format(time.RFC3339Nano))
	require.Greater(t, reports[0].Facts, int64(3))
	require.Equal(t, 2, rows())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "names and addresses are in it")

	_, said := c.ends(exitFailure, "replay", "--into", file, "--until", "1000000")
	require.Contains(t, said, "the log ends at")
	_, said = c.ends(exitFailure, "replay", "--into", file, "--until", "2001-02-03T04:05:06Z")
	require.Contains(t, said, "nothing from 2001-02-03T04:05:06Z or before")
	_, said = c.ends(exitFailure, "replay", "--into", filepath.Join(folder, "events.db"))
	require.Contains(t, said, "left alone")
	_, said = c.ends(exitFailure, "replay", "--verify", "--until", "2")
	require.Contains(t, said, "can't be taken back to 2")
	c.does("replay", "--verify", "--until", time.Now().Format(time.RFC3339Nano))
}

func TestReplayAsksTheServiceOnTheFolder(t *testing.T) {
	folder, c := left(t)
	service := inside(t, folder)
	defer func() { require.NoError(t, service.stop()) }()
	address := strings.TrimPrefix(service.url, "http://")
	c.env = append(c.env, "BELLTOWER_LISTEN="+address, adminTokenVariable+"="+testAdmin)
	file := filepath.Join(folder, "read.db")
	before := tableOf(t, file, "events")
	out := c.does("replay")
	require.Regexp(t, `^read_models  built anew: \d+ facts, \d+\.\d s\nplanner      built anew: `, out)
	require.NotEqual(t, before, tableOf(t, file, "events"))
	verified, _ := c.reports(exitOK, "--verify")
	require.Len(t, verified, 2)
	for _, one := range verified {
		require.Positive(t, one.RowsCompared, one.Projection)
		require.Zero(t, one.DifferencesInAll, one.Projection)
	}
	_, said := c.ends(exitFailure, "replay", "--into", filepath.Join(t.TempDir(), "x.db"))
	require.Contains(t, said, "stop it first")

	// The same from elsewhere, by its address; it is the administrator's alone.
	far := commandLine{t: t, env: []string{"BELLTOWER_URL=" + service.url, "BELLTOWER_TOKEN=" + testAdmin}}
	far.does("replay", "--projection", "planner")
	far.env[1] = "BELLTOWER_TOKEN=wrong"
	_, said = far.ends(4, "replay")
	require.Contains(t, said, "token")
}

func TestReplayMistakes(t *testing.T) {
	nowhere := commandLine{t: t, env: []string{"BELLTOWER_DATA=" + filepath.Join(t.TempDir(), "none")}}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--projection rows", exitUsage, `"rows"; there are: read_models, planner`},
		{"--until 3", exitUsage, "--into or --verify"},
		{"--until yesterday --verify", exitUsage, "neither a position such as 1234 nor a time"},
		{"--until 0 --verify", exitUsage, "neither a position"},
		{"--verify --into x.db", exitUsage, "give one"},
		{"--into mysql://root:s3cret@", exitUsage, "it names no host"},
		{"--into redis://x/y", exitUsage, "--into (BELLTOWER_REPLAY_INTO)"},
		{"--into sqlite", exitUsage, "it names no file"},
		{"--projection planner --into x.db", exitUsage, "for the read models"},
		{"--projection planner --verify --until 3", exitUsage, "for the read models"},
		{"more", exitUsage, "takes no arguments"},
		{"", exitFailure, "holds no log"},
		{"--verify", exitFailure, "holds no log"},
	} {
		_, said := nowhere.ends(c.code, append([]string{"replay"}, strings.Fields(c.args)...)...)
		require.Contains(t, said, c.says, c.args)
		require.NotContains(t, said, "s3cret")
	}
	require.NoDirExists(t, strings.TrimPrefix(nowhere.env[0], "BELLTOWER_DATA="))
}

// A folder that another process has, which is no service, can't be asked.
func TestReplayWhileTheFolderIsLockedByAnother(t *testing.T) {
	folder, c := left(t)
	lock := flock.New(filepath.Join(folder, "lock"))
	locked, err := lock.TryLock()
	require.NoError(t, err)
	require.True(t, locked)
	defer func() { require.NoError(t, lock.Close()) }()
	c.env = append(c.env, "BELLTOWER_LISTEN=127.0.0.1:1")
	_, said := c.ends(5, "replay")
	require.Contains(t, said, "127.0.0.1:1")
}
