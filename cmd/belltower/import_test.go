package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/cli"
)

// imports runs an import of a file with that text.
func (c commandLine) imports(code int, event, text string, more ...string) (out, said string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "people.csv")
	require.NoError(c.t, os.WriteFile(file, []byte(text), 0o600))
	out, said = c.ends(code, append([]string{"participants", "import", file, "--event", event}, more...)...)
	return out, strings.ReplaceAll(said, file, "people.csv")
}

const aFile = "\ufeffName;E-Mail;Phone;Time Zone\r\n" +
	"Ann;ann@example.org;+43 1 234 5678;Europe/Vienna\r\n" +
	"Bob;Bob@Example.org;;\r\n" +
	"Cem;not an address;12;Mars\r\n" +
	"\"Dora \"\"D\"\"\";dora@example.org;;\r\n" +
	"Eve;ann@example.org;;\r\n"

// The same file twice appends nothing; a line that fails is named, and the rest goes on.
func TestImport(t *testing.T) {
	c := asking(t)
	event := c.event("--capacity", "2")
	faults := `people.csv:4: email: must be one e-mail address, without a name; phone: must be a phone number such as +1234567890; time_zone: `
	out, said := c.imports(cli.ExitPartly, event, aFile)
	require.Equal(t, "added 3 (1 of them wait in line), updated 0, already there 0, failed 2\n", out)
	require.Contains(t, said, faults)
	require.Contains(t, said, "people.csv:6: Ann is registered already, with another name; --update changes that\n")
	require.Contains(t, said, "belltower: 2 of 5 lines failed\n")
	require.Contains(t, c.does("participants", "list", event), "Dora \"D\"")

	before, history := c.position(), c.does("events", "history", event, "--json")
	out, said = c.imports(cli.ExitPartly, event, aFile, "--json")
	require.Contains(t, said, faults)
	var report struct {
		Added, Waitlisted, Updated, Unchanged int
		Failed                                []struct {
			Line    int
			Message string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, 3, report.Unchanged)
	require.Zero(t, report.Added+report.Waitlisted+report.Updated)
	require.Len(t, report.Failed, 2)
	require.Equal(t, 4, report.Failed[0].Line)
	require.Equal(t, before, c.position(), "nothing was appended")
	require.Equal(t, history, c.does("events", "history", event, "--json"))

	// With --update it is as the file says, and once more appends nothing.
	const corrected = "name,email,phone\nAnna,ann@example.org,+43 1 999 9999\nBob,bob@example.org,\n"
	_, said = c.imports(cli.ExitPartly, event, corrected)
	require.Contains(t, said, "Ann is registered already, with another name, phone; --update changes that")
	require.Equal(t, before, c.position())
	out, _ = c.imports(exitOK, event, corrected, "--update")
	require.Equal(t, "added 0, updated 1, already there 1, failed 0\n", out)
	require.Contains(t, c.does("participants", "list", event), "+4319999999")
	before = c.position()
	out, _ = c.imports(exitOK, event, corrected, "--update")
	require.Equal(t, "added 0, updated 0, already there 2, failed 0\n", out)
	require.Equal(t, before, c.position())

	// Who has been removed is added again, each time anew.
	for range 2 {
		bob, _, _ := strings.Cut(c.does("participants", "list", event, "-q", "--search", "bob"), "\n")
		c.does("participants", "remove", bob)
		out, _ = c.imports(exitOK, event, corrected)
		require.Equal(t, "added 1 (1 of them wait in line), updated 0, already there 1, failed 0\n", out)
	}

	// What holds for all lines ends it.
	c.does("events", "cancel", event)
	out, said = c.imports(cli.ExitRefused, event, "name,email\nFay,fay@example.org\nGil,gil@example.org\n")
	require.Equal(t, "added 0, updated 0, already there 0, failed 0\n", out)
	require.Contains(t, said, "event_cancelled")
	require.Contains(t, said, "It ended at line 2.")
	c.does("events", "delete", event, "-y")
	_, said = c.imports(cli.ExitRefused, event, aFile)
	require.Contains(t, said, "event_not_found")
	_, said = c.imports(cli.ExitUsage, event, "Ann,ann@example.org\n")
	require.Contains(t, said, "people.csv: line 1: there is no column")
}

// Two who import the same file at once add everybody once.
func TestImportsRace(t *testing.T) {
	c := asking(t)
	event := c.event()
	var file strings.Builder
	file.WriteString("name,email\n")
	const n = 60
	for i := range n {
		fmt.Fprintf(&file, "N%d,n%d@example.org\n", i, i)
	}
	path := filepath.Join(t.TempDir(), "people.csv")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	type outcome struct {
		code      int
		out, said string
	}
	ended := make(chan outcome)
	const importers = 3
	for range importers {
		go func() {
			var out, said text
			code := run(t.Context(), []string{"participants", "import", path, "--event", event, "--json"}, c.env, output{&out, &said})
			ended <- outcome{code, out.String(), said.String()}
		}()
	}
	sum := map[string]int{}
	for range importers {
		o := <-ended
		require.Equal(t, exitOK, o.code, o.said)
		var report map[string]any
		require.NoError(t, json.Unmarshal([]byte(o.out), &report))
		for name, count := range report {
			if number, ok := count.(float64); ok {
				sum[name] += int(number)
			}
		}
	}
	require.Equal(t, n, sum["added"])
	require.Equal(t, (importers-1)*n, sum["unchanged"])
	require.Equal(t, n, strings.Count(c.does("participants", "list", event, "-q"), "\n"))
}

// A line that was taken for somebody who is gone says nothing about who is there now.
func TestImportOverAnotherByHand(t *testing.T) {
	c := asking(t)
	event := c.event()
	const file = "name,email,phone\nAnn,ann@example.org,+43 1 234 5678\n"
	c.imports(exitOK, event, file)
	c.does("participants", "update", strings.TrimSpace(c.does("participants", "list", event, "-q")), "--phone", "+43 1 999 9999")
	out, _ := c.imports(exitOK, event, file)
	require.Contains(t, out, "already there 1", "it was taken, and changed since")
	c.does("participants", "remove", strings.TrimSpace(c.does("participants", "list", event, "-q")))
	c.does("participants", "add", event, "--user", "ann@example.org", "--name", "Ann", "--email", "ann@example.org")
	_, said := c.imports(cli.ExitPartly, event, file)
	require.Contains(t, said, "Ann is registered already, with another phone")
}

// Broken off at any line, it is gone on with by running it again.
func TestImportGoesOn(t *testing.T) {
	c := asking(t)
	event := c.event()
	g := newGate(t)
	g.open(t, strings.TrimPrefix(c.env[0], "BELLTOWER_URL="))
	var posts atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.before = func(r *http.Request) {
		if r.Method == http.MethodPost && posts.Add(1) == 4 {
			cancel() // as Ctrl-C does; this request may or may not have come through
		}
	}
	file := filepath.Join(t.TempDir(), "people.csv")
	var text8 strings.Builder
	text8.WriteString("name,email\n")
	for i := range 8 {
		fmt.Fprintf(&text8, "N%d,n%d@example.org\n", i, i)
	}
	require.NoError(t, os.WriteFile(file, []byte(text8.String()), 0o600))
	var out, said text
	env := []string{"BELLTOWER_URL=" + g.server.URL, "BELLTOWER_TOKEN=" + testAdmin}
	require.Equal(t, exitFailure, run(ctx, []string{"participants", "import", file, "--event", event}, env, output{&out, &said}))
	require.Contains(t, out.String(), "added 3")
	require.Contains(t, said.String(), "It ended at line 5. Run it again")
	require.Contains(t, said.String(), "belltower: interrupted\n")

	again := c.does("participants", "import", file, "--event", event)
	require.Regexp(t, `^added [45], updated 0, already there [34], failed 0\n$`, again)
	require.Equal(t, 8, strings.Count(c.does("participants", "list", event, "-q"), "\n"))
}
