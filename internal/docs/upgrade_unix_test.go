//go:build unix

package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// docs/upgrade.md, from a binary whose read models have another version to the
// present one, and back.
func TestUpgradePage(t *testing.T) {
	needed(t, "bash", "curl", "sqlite3", "go")
	steps := of(blocks(t, "docs/upgrade.md"), "sh")
	require.Len(t, steps, 6)
	port := freePort(t)
	p := place{folder: t.TempDir(), replaced: []string{"127.0.0.1:8080", "127.0.0.1:" + port}}
	require.NoError(t, os.WriteFile(filepath.Join(p.folder, "belltower.yaml"), []byte("listen: 127.0.0.1:"+port+"\n"), 0o600))
	for _, folder := range []string{"bin", "new"} {
		require.NoError(t, os.Mkdir(filepath.Join(p.folder, folder), 0o755))
	}
	built(t, filepath.Join(p.folder, "bin", "belltower"), "-overlay="+older(t))
	built(t, filepath.Join(p.folder, "new", "belltower"))
	t.Cleanup(func() { // whatever runs
		if text, err := os.ReadFile(filepath.Join(p.folder, "belltower.pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				until(t, "the service has ended", func() bool { return syscall.Kill(pid, 0) != nil })
			}
		}
	})

	const wait = "until curl -fsS http://127.0.0.1:8080/readyz; do sleep 0.2; done"
	p.run(t, steps[0], wait)
	text, err := os.ReadFile(filepath.Join(p.folder, "data", "admin-token"))
	require.NoError(t, err)
	token, url := strings.TrimSpace(string(text)), "http://127.0.0.1:"+port+"/v1"
	start := time.Now().Add(48 * time.Hour)
	event := ask(t, "POST", url+"/events", token, map[string]any{"title": "Ringing", "description": "Rounds", "start_time": start, "end_time": start.Add(time.Hour)})
	of := url + "/events/" + event["id"].(string)
	ask(t, "POST", of+"/participants", token, map[string]any{"user_id": "ann", "name": "Ann", "email": "ann@example.org"})
	ask(t, "POST", of+"/reminders", token, map[string]any{"minutes_before": 60})
	shown := func() string {
		var all []any
		for _, path := range []string{"", "/participants", "/notifications", "/history"} {
			all = append(all, ask(t, "GET", of+path, token, nil))
		}
		data, err := json.Marshal(all)
		require.NoError(t, err)
		return string(data)
	}
	until(t, "the reminder is planned", func() bool { return strings.Contains(shown(), `"status":"PENDING"`) })
	before := shown()

	p.run(t, steps[1:5]...)
	require.Contains(t, p.log(), "beside those of another", "the rows are of another version")
	require.Equal(t, before, shown())
	for _, backup := range []string{"events-backup.db", "keys-backup.db"} {
		require.FileExists(t, filepath.Join(p.folder, backup))
	}
	p.run(t, steps[5]) // its rows are still there
	require.Equal(t, before, shown())
}

// older is an overlay in which the rows have another version.
func older(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "projections", "schema.go"))
	require.NoError(t, err)
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	const version = "\nconst version = "
	require.Equal(t, 1, strings.Count(string(source), version))
	changed := filepath.Join(t.TempDir(), "schema.go")
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(source), version, version+"1000 + ", 1)), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(file, overlay, 0o600))
	return file
}
