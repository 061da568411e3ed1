package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var demoSteps = []string{
	"1. An event is scheduled", "2. Every rule refuses once", "3. Participants register", "4. A request that comes twice",
	"5. An announcement goes out", "6. A reminder, 15 minutes before", "7. The event moves", "8. Someone declines",
	"9. Stopped, the processor sends nothing", "10. Cancelling", "11. Statistics", "12. Cleaning up", "Stopped cleanly",
}

// shown looks at what the demo says.
func shown(t *testing.T, out, err string) {
	t.Helper()
	rest := out
	for _, step := range demoSteps {
		_, after, ok := strings.Cut(rest, step)
		require.True(t, ok, "%q is not shown in its place\n%s", step, out)
		rest = after
	}
	require.Len(t, sentLines(t, out), 12)
	require.Empty(t, err)
	require.NotContains(t, out, "level=")
	require.NotContains(t, out, "map[", "people read this")
	require.Contains(t, out, "holes 0")
	require.Regexp(t, regexp.MustCompile(`Ann's was due at .* and sent \d+(\.\d+)?[mµ]?s later`), out)
}

func leftovers(t *testing.T, folder string) []string {
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestDemo(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	var out, err bytes.Buffer
	code := run(t.Context(), []string{"demo"}, nil, output{&out, &err})
	require.Equal(t, exitOK, code, err.String())
	shown(t, out.String(), err.String())
	require.Empty(t, leftovers(t, folder))
}

func TestDemoAsBinary(t *testing.T) {
	folder := t.TempDir()
	code, out, err := once(t, []string{"TMPDIR=" + folder}, "demo")
	require.Equal(t, exitOK, code, err)
	shown(t, out, err)
	require.Empty(t, leftovers(t, folder))
}

// Whenever it is interrupted, nothing is left behind.
func TestDemoInterrupted(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for _, at := range []string{"Belltower", demoSteps[2], demoSteps[5]} {
			t.Run(s.String()+" at "+at, func(t *testing.T) {
				folder := t.TempDir()
				p := launch(t, launchOptions{args: []string{"demo"}, env: []string{"TMPDIR=" + folder}})
				p.says(t, &p.out, at)
				require.NoError(t, p.cmd.Process.Signal(s))
				require.Equal(t, exitFailure, p.exit(t))
				require.Equal(t, "belltower: interrupted; the temporary folder is removed\n", p.err.String())
				require.NotContains(t, p.out.String(), "Stopped cleanly")
				require.Empty(t, leftovers(t, folder))
			})
		}
	}
}

// Before it has begun, there is nothing to be removed.
func TestDemoNotBegun(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere/at/all")
	var out, err bytes.Buffer
	require.Equal(t, exitFailure, run(t.Context(), []string{"demo"}, nil, output{&out, &err}))
	require.Contains(t, err.String(), "make a temporary folder")
	require.Empty(t, out.String())
}

// In-process as well, a service that has ended leaves nothing running.
func TestServeLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var out, err text
	ended := make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		ended <- run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, nil, output{&out, &err})
	}()
	until(t, "it serves", func() bool { return strings.Contains(out.String(), "delivers to nobody") })
	cancel()
	require.Equal(t, exitOK, <-ended, err.String())
	// Nor does one that could not start.
	require.Equal(t, exitFailure, run(t.Context(), []string{"serve", "--listen", "192.0.2.1:1", "--data", t.TempDir()}, nil, output{&out, &err}))
}
