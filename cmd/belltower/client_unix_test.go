//go:build linux || darwin

package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// onTerminal runs the binary on a terminal of so many columns, types an answer
// once it is asked, and gives the exit code.
func (c commandLine) onTerminal(columns uint16, env []string, answer string, args ...string) (code int, out string) {
	c.t.Helper()
	terminal, theirs, err := pty.Open()
	require.NoError(c.t, err)
	defer terminal.Close()
	require.NoError(c.t, pty.Setsize(theirs, &pty.Winsize{Rows: 24, Cols: columns}))
	var read text
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := terminal.Read(buffer) // an error is the end: nobody writes any more
			_, _ = read.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	p := launch(c.t, launchOptions{args: args, env: append(append([]string{"TERM=xterm"}, c.env...), env...), change: func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	}})
	require.NoError(c.t, theirs.Close())
	if answer != "" {
		until(c.t, "it asks", func() bool { return strings.Contains(read.String(), "[y/N]") })
		_, err := terminal.WriteString(answer + "\n")
		require.NoError(c.t, err)
	}
	code = p.exit(c.t)
	<-ended
	return code, strings.ReplaceAll(read.String(), "\r\n", "\n")
}

func TestClientOnATerminal(t *testing.T) {
	c := asking(t)
	event := c.event("--location", "鐘樓 the tower by the river, second door on the left", "--title", "Bell-ringing course for absolute beginners")
	whole := c.does("events", "list")
	for _, columns := range []uint16{200, 120, 80, 60, 40} {
		code, out := c.onTerminal(columns, []string{"NO_COLOR=1"}, "", "events", "list")
		require.Equal(t, exitOK, code, out)
		require.NotContains(t, out, "\x1b")
		require.Contains(t, out, event, "an id is never cut")
		for line := range strings.Lines(out) {
			require.LessOrEqual(t, displaywidth.String(strings.TrimSuffix(line, "\n")), int(columns), out)
		}
		if columns == 200 {
			require.Equal(t, whole, out)
		}
	}
	_, out := c.onTerminal(80, nil, "", "events", "list")
	require.Contains(t, out, "\x1b[1mID\x1b[0m")
	_, out = c.onTerminal(80, []string{"TERM=dumb"}, "", "events", "list")
	require.NotContains(t, out, "\x1b")

	code, out := c.onTerminal(80, nil, "n", "events", "delete", event)
	require.Equal(t, exitFailure, code, out)
	require.Contains(t, out, `Delete "Bell-ringing course for absolute beginners" and its 0 participants? [y/N]`)
	require.Contains(t, out, "not done")
	require.Contains(t, c.does("events", "list", "-q"), event)
	code, out = c.onTerminal(80, nil, "y", "events", "delete", event)
	require.Equal(t, exitOK, code, out)
	require.Empty(t, c.does("events", "list", "-q"))
}
