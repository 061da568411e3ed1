package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// refusesFolder expects that serve fails on a folder and says why, on one line for people.
func refusesFolder(t *testing.T, folder string, says ...string) {
	t.Helper()
	code, out, said := once(t, []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, "serve", "--listen", "127.0.0.1:0", "--data", folder)
	require.Equal(t, exitFailure, code, said)
	for _, text := range says {
		require.Contains(t, said, text)
	}
	require.Empty(t, out)
	require.NotContains(t, said, "goroutine")
	require.Equal(t, 1, strings.Count(said, "belltower: "), said)
}

func TestFolderIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, []byte("I was here first"), 0o600))
	refusesFolder(t, file, "data folder", file, "not a directory")
	refusesFolder(t, filepath.Join(file, "below"), "data folder", file, "not a directory")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "I was here first", string(content))
}

// used makes a data folder with an event and a participant in it.
func used(t *testing.T) (folder, participant string) {
	folder = filepath.Join(t.TempDir(), "data")
	p := serving(t, folder)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(far, nil))
	path := "/v1/events/" + event.text("id")
	made := p.does(t, 201, "POST", path+"/participants", aPerson(1, nil))
	p.does(t, 202, "POST", path+"/announcements", object{"message": "Hear, hear"})
	until(t, "it is sent", func() bool { return len(p.does(t, 200, "GET", path+"/notifications?status=SENT", nil).items()) == 1 })
	p.finish(t, syscall.SIGTERM)
	return folder, "/v1/participants/" + made.text("id")
}

// Facts without their keys are not gone on with.
func TestMissingKeys(t *testing.T) {
	folder, participant := used(t)
	file := filepath.Join(folder, "keys.db")
	require.NoError(t, os.Rename(file, file+".away"))
	refusesFolder(t, folder, file, "there are no keys")
	require.NoFileExists(t, file)
	require.NoError(t, os.Rename(file+".away", file))
	p := serving(t, folder)
	p.ready(t)
	p.does(t, 200, "GET", participant, nil)
}

func TestGarbageForKeys(t *testing.T) {
	folder, _ := used(t)
	file := filepath.Join(folder, "keys.db")
	garbage := bytes.Repeat([]byte("no keys "), 1000)
	require.NoError(t, os.WriteFile(file, garbage, 0o600))
	refusesFolder(t, folder, file)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, garbage, kept, "it is left as it is")
}

func TestGarbageForLog(t *testing.T) {
	folder, _ := used(t)
	file := filepath.Join(folder, "events.db")
	garbage := bytes.Repeat([]byte("no log at all "), 1000)
	require.NoError(t, os.WriteFile(file, garbage, 0o600))
	refusesFolder(t, folder, file)
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, garbage, kept, "it is left as it is")
}

// What is made from the log is made anew, and nothing is sent again for that.
func TestDamagedDisposablesAreRebuilt(t *testing.T) {
	garbage := bytes.Repeat([]byte("rubbish "), 2000)
	for name, damage := range map[string]func(file string) error{
		"garbage": func(file string) error { return os.WriteFile(file, garbage, 0o600) },
		"empty":   func(file string) error { return os.Truncate(file, 0) },
		"cut short": func(file string) error {
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			return os.Truncate(file, info.Size()/2/4096*4096)
		},
		"gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			folder, participant := used(t)
			for _, file := range []string{"read.db", "planner.db", "snapshots.db"} {
				require.NoError(t, damage(filepath.Join(folder, file)))
			}
			p := serving(t, folder)
			p.ready(t)
			require.Equal(t, "N1", p.does(t, 200, "GET", participant, nil).text("name"))
			require.Len(t, p.does(t, 200, "GET", "/v1/notifications?status=SENT", nil).items(), 1)
			swept := p.does(t, 200, "POST", "/v1/notifications/send-due", nil)
			require.Zero(t, swept.number("sent"), swept)
			p.finish(t, syscall.SIGTERM)
			require.Empty(t, sentLines(t, p.out.String()))
			for line := range strings.Lines(p.err.String()) {
				if strings.Contains(line, "level=ERROR") {
					require.Contains(t, line, "code=not_ready", "it says no more than that it was asked too early")
				}
			}
		})
	}
}
