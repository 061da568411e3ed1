package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
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
	require.Len(t, all["files"], 2)
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
		"planner": {"error": "no room"}, "channels": [{"name": "sms", "provider": "x", "state": "paused"}]}`), &s))
	e.judge(s)
	var said []string
	for _, f := range e.findings {
		said = append(said, f.Check+" "+string(f.State))
		require.NotEmpty(t, f.Advice)
	}
	require.Equal(t, "holes failing, planner failing, sending warning, channel warning, overtaken warning", strings.Join(said, ", "))
}
