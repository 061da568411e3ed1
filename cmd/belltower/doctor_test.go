package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/projections"
)

// examined runs the doctor and gives what it has found, by check.
func examined(t *testing.T, code int, args ...string) (all map[string][]finding) {
	t.Helper()
	got, out, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, append([]string{"doctor", "--json"}, args...)...)
	require.Equal(t, code, got, "%s\n%s", out, said)
	var report struct {
		Failing  int
		Findings []finding
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), out)
	all = map[string][]finding{}
	bad := 0
	for _, f := range report.Findings {
		all[f.Check] = append(all[f.Check], f)
		if f.State == failing {
			bad++
		}
		if f.State != good {
			require.NotEmpty(t, f.Advice, "what to do about: %s", f.Found)
		}
	}
	require.Equal(t, bad, report.Failing)
	return all
}

// one expects one finding of a check.
func one(t *testing.T, all map[string][]finding, check string, state verdict, says string) {
	t.Helper()
	require.Len(t, all[check], 1, "%v", all)
	require.Equal(t, state, all[check][0].State, "%v", all[check])
	require.Contains(t, all[check][0].Found, says)
}

func TestDoctorOfAFolder(t *testing.T) {
	folder, _ := used(t)
	all := examined(t, exitOK, "--data", folder)
	one(t, all, "folder", good, folder)
	one(t, all, "lock", good, "no service runs")
	one(t, all, "keys", good, "they open the log")
	require.Contains(t, all["log"][0].Found, "the last ones are whole")
	require.Len(t, all["files"], 3)
	for _, name := range []string{"streams.db, ", "read.db, ", "planner.db, ", "snapshots.db, "} {
		require.Contains(t, all["files"][2].Found, name)
	}
	one(t, all, "read models", good, "built from")
	require.NoFileExists(t, filepath.Join(folder, "read.db-wal"), "it changes nothing")
	require.FileExists(t, filepath.Join(folder, "read.db.sum"))
	require.Len(t, all["free space"], 1)
	require.Len(t, all["time zones"], 1)

	require.NoError(t, os.Chmod(folder, 0o755))
	one(t, examined(t, exitOK, "--data", folder), "folder", warning, "open to other users")
	require.NoError(t, os.Chmod(folder, 0o700))

	// For people, with what to do.
	code, out, _ := once(t, nil, "doctor", "--data", folder+"-away")
	require.Equal(t, exitFound, code)
	require.Contains(t, out, "failing")
	require.Contains(t, out, "→ name the folder with --data")
	_, err := os.Stat(folder + "-away")
	require.ErrorIs(t, err, os.ErrNotExist, "it makes nothing")
}

func TestDoctorFindsKeysOfAnotherLog(t *testing.T) {
	folder, _ := used(t)
	other, _ := used(t)
	own := filepath.Join(folder, "keys.db")
	require.NoError(t, os.Rename(own, own+".own"))
	all := examined(t, exitFound, "--data", folder)
	require.Contains(t, all["files"][1].Found, "no name and no address")

	foreign, err := os.ReadFile(filepath.Join(other, "keys.db"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(own, foreign, 0o600))
	one(t, examined(t, exitFound, "--data", folder), "keys", failing, "can't be opened")
}

func TestDoctorFindsADamagedLog(t *testing.T) {
	folder, _ := used(t)
	path := filepath.Join(folder, "events.db")
	require.NoError(t, os.Truncate(path, 8192))
	all := examined(t, exitFound, "--data", folder)
	require.Equal(t, failing, all["log"][0].State)
	require.Contains(t, all["log"][0].Advice, "backup")
}

// A hole that is made by hand shows, within a check interval, in the statistics,
// in the metrics and to the doctor; the audit finds it too, and whoever makes the
// table anew has none.
func TestAHoleIsSeenEverywhere(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	p := serving(t, folder)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil)).text("id")
	p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, nil))
	p.does(t, 201, "POST", "/v1/events/"+event+"/reminders", object{"minutes_before": 60})
	p.does(t, 200, "POST", "/v1/processor/start", object{"check_interval_seconds": 1})
	planned := func() bool {
		return len(p.does(t, 200, "GET", "/v1/notifications", nil).items()) == 1
	}
	until(t, "the reminder is planned", planned)
	p.caughtUp(t)
	all := examined(t, exitOK, "--data", folder, "--url", p.url)
	one(t, all, "lock", good, "a service runs")
	one(t, all, "service", good, "ready")
	one(t, all, "holes", good, "none")
	one(t, all, "planner", good, "up to date")
	one(t, all, "sending", good, "running")

	holes := func(n float64) bool {
		return p.does(t, 200, "GET", "/v1/stats", nil).inner("conservation")["holes"].(float64) == n
	}
	require.True(t, holes(0))
	rowless(t, folder)
	began := time.Now()
	until(t, "the hole is seen", func() bool { return holes(1) })
	t.Logf("seen after %s, at a check interval of 1 s", time.Since(began).Round(time.Millisecond))
	one(t, examined(t, exitFound, "--data", folder, "--url", p.url), "holes", failing, "1 notifications")
	require.Contains(t, metricsOf(t, p), "belltower_notifications_holes 1\n")

	code, _, said := once(t, nil, "audit", "--data", folder)
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, "in use")
	p.finish(t, syscall.SIGTERM)
	code, out, said := once(t, nil, "audit", "--data", folder)
	require.Equal(t, exitFound, code, "%s\n%s", out, said)
	require.Contains(t, out, "open, and not in the planner's table")
	require.Contains(t, said, "events compared")

	require.NoError(t, os.Remove(filepath.Join(folder, "planner.db")))
	p = serving(t, folder)
	p.ready(t)
	until(t, "it is planned again", planned)
	p.finish(t, syscall.SIGTERM)
	code, out, said = once(t, nil, "audit", "--data", folder, "--json")
	require.Equal(t, exitOK, code, "%s\n%s", out, said)
	require.Contains(t, out, `"holes_in_all": 0`)
	require.Contains(t, out, `"wanted": 1`)
}

func metricsOf(t *testing.T, p *process) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/metrics", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+testAdmin)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return string(text)
}

// rowless takes all rows from the planner's table.
func rowless(t *testing.T, folder string) {
	t.Helper()
	conn, err := sqlite.OpenConn(filepath.Join(folder, "planner.db"), sqlite.OpenReadWrite)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	conn.SetBusyTimeout(patience)
	require.NoError(t, sqlitex.ExecuteTransient(conn, "DELETE FROM open", nil))
	require.Positive(t, conn.Changes())
}

func TestAuditOfNoFolder(t *testing.T) {
	folder := t.TempDir()
	code, _, said := once(t, nil, "audit", "--data", folder)
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, "holds no log")
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left, "it makes nothing")
	code, _, _ = once(t, nil, "audit", "more")
	require.Equal(t, exitUsage, code)
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"": "127.0.0.1:8080", "127.0.0.1:9": "127.0.0.1:9", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:80": "127.0.0.1:80", ":80": "127.0.0.1:80", "host:80": "host:80",
	} {
		require.Equal(t, want, reachable(listen), listen)
	}
}

func TestJudging(t *testing.T) {
	e := &examination{}
	var s serverStats
	require.NoError(t, json.Unmarshal([]byte(`{"processor": {"state": "stopped", "due": 3}, "conservation": {"holes": 2}, "overtaken": 1,
		"projections": [{"name": "read_models", "error": "fact at 7", "rebuild": {"purpose": "verify", "state": "done", "differences_in_all": 2}},
			{"name": "planner", "rebuild": {"purpose": "rebuild", "state": "failed", "error": "no room"}}],
		"planner": {"error": "no room"}, "channels": [{"name": "sms", "provider": "x", "state": "paused"}]}`), &s))
	e.judge(s)
	var said []string
	for _, f := range e.findings {
		said = append(said, f.Check+" "+string(f.State))
		require.NotEmpty(t, f.Advice)
	}
	require.Equal(t, "replay failing, read models failing, replay warning, holes failing, planner failing, sending warning, channel warning, overtaken warning", strings.Join(said, ", "))

	e = &examination{}
	s = serverStats{}
	require.NoError(t, json.Unmarshal([]byte(`{"projections": [{"name": "read_models", "rebuild": {"purpose": "rebuild", "state": "running", "part": 0.25}}]}`), &s))
	e.judge(s)
	require.Equal(t, finding{"replay", good, "read_models: rebuild, 25 % of the log so far", ""}, e.findings[0])
}

// What is live, and what is being built, is named on each database.
func TestDoctorNamesGenerations(t *testing.T) {
	for _, kind := range sqldbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			folder, _ := used(t)
			args := []string{"--data", folder}
			rows := sqldb.File(filepath.Join(folder, "read.db"))
			if kind != sqldb.SQLite {
				database := sqldbtest.FreshURL(t, kind)
				args = append(args, "--read-models", database)
				rows = target(t, database, "")
				one(t, examined(t, exitOK, args...), "read models", good, "no rows are live yet")
				p := serving(t, folder, "BELLTOWER_READ_MODELS="+database)
				p.ready(t)
				p.finish(t, syscall.SIGTERM)
			}
			one(t, examined(t, exitOK, args...), "read models", good, "generation 1 of version")
			d, err := projections.OpenDatabase(t.Context(), rows, folder, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			b, err := d.Build(t.Context())
			require.NoError(t, err)
			require.NoError(t, errors.Join(b.Close(), d.Close()))
			found := examined(t, exitOK, args...)["read models"]
			require.Len(t, found, 2, "%v", found)
			require.Contains(t, found[0].Found, "generation 1 of version")
			require.Regexp(t, "generation 2 of version .* is being built: 0 facts so far", found[1].Found)
		})
	}
}

// A projection that a fact stops says which one, everywhere; what it has shown is
// shown on, and the rest of the service goes on.
func TestDoctorFindsAStoppedProjection(t *testing.T) {
	for _, kind := range sqldbtest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			database := "sqlite"
			if kind != sqldb.SQLite {
				database = sqldbtest.FreshURL(t, kind)
			}
			folder, person := used(t)
			log, err := embedded.Open(t.Context(), folder, embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			at, err := log.Append(t.Context(), "event-of-tomorrow", eventstore.NoStream, []eventstore.NewRecord{
				{ID: uuid.New(), Type: "EventTeleported", Data: []byte(`{}`), Metadata: []byte(`{}`)},
			})
			require.NoError(t, err)
			require.NoError(t, log.Close())

			p := serving(t, folder, "BELLTOWER_READ_MODELS="+database)
			until(t, "it stands still", func() bool {
				return strings.Contains(p.does(t, 503, "GET", "/readyz", nil).text("detail"), "stand still at position")
			})
			models := p.does(t, 200, "GET", "/v1/stats", nil).list("projections")[0]
			require.Contains(t, models.text("error"), at.String())
			require.Equal(t, "N1", p.does(t, 200, "GET", person, nil).text("name"))
			p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
			args := []string{"--data", folder, "--url", p.url, "--read-models", database}
			until(t, "the doctor names it", func() bool { // on a server it is told with the lease
				named := 0
				for _, f := range examined(t, exitFound, args...)["read models"] {
					if f.State == failing && strings.Contains(f.Found, at.String()) {
						named++
					}
				}
				return named == 1 && kind == sqldb.SQLite || named == 2
			})
			p.finish(t, syscall.SIGTERM)
		})
	}
}
