//go:build unix

package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/charmbracelet/x/term"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// screen is a terminal that a process runs on, and what stands there.
type screen struct {
	*process
	folder    string
	terminal  *os.File // the side of the one who types
	side      *os.File // the side of the process
	before    *term.State
	mu        sync.Mutex
	shown     *vt.Emulator
	raw       text
	following sync.WaitGroup
}

// onTerminal starts a demo by hand on a terminal of its own.
func onTerminal(t *testing.T, kind string, args ...string) *screen {
	t.Helper()
	terminal, side, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(terminal, &pty.Winsize{Rows: 50, Cols: 110}))
	s := &screen{folder: t.TempDir(), terminal: terminal, side: side, shown: vt.NewEmulator(110, 50)}
	s.before, err = term.GetState(side.Fd())
	require.NoError(t, err)
	s.following.Go(func() { // what it shows
		var p [4096]byte
		for {
			n, err := terminal.Read(p[:])
			if n > 0 {
				s.mu.Lock()
				_, _ = s.shown.Write(p[:n])
				s.mu.Unlock()
				_, _ = s.raw.Write(p[:n])
			}
			if err != nil {
				return
			}
		}
	})
	// What a terminal answers to what it is asked would get between the keys.
	s.following.Go(func() { _, _ = io.Copy(io.Discard, s.shown) })
	t.Cleanup(func() {
		_ = side.Close()
		_ = terminal.Close()
		_ = s.shown.InputPipe().(io.Closer).Close()
		s.following.Wait()
	})
	s.process = launch(t, launchOptions{
		args: append([]string{"demo", "--interactive"}, args...), env: []string{"TERM=" + kind, "TMPDIR=" + s.folder},
		change: func(cmd *exec.Cmd) {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		},
	})
	return s
}

func (s *screen) now() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// tells shows the screen where a test has failed.
func (s *screen) tells(t *testing.T) {
	if t.Failed() {
		t.Logf("on the screen:\n%s", strings.TrimSpace(s.now()))
	}
}

// shows waits until all of that stands on the screen.
func (s *screen) shows(t *testing.T, want ...string) {
	t.Helper()
	defer s.tells(t)
	until(t, "the screen shows "+strings.Join(want, " and "), func() bool {
		now := s.now()
		for _, w := range want {
			if !strings.Contains(now, w) {
				return false
			}
		}
		return true
	})
}

const (
	enter, escape, down, controlC, clearLine = "\r", "\x1b", "\x1b[B", "\x03", "\x15"
)

func (s *screen) press(t *testing.T, keys string) {
	t.Helper()
	_, err := s.terminal.WriteString(keys)
	require.NoError(t, err)
}

// fills answers field after field: keys that come before the next one has the
// focus would still go to the one before.
func (s *screen) fills(t *testing.T, titlesAndKeys ...string) {
	t.Helper()
	for pair := range slices.Chunk(titlesAndKeys, 2) {
		s.shows(t, "┃ "+pair[0])
		s.press(t, pair[1]+enter)
	}
}

// left is how everything must be once the demo has ended.
func (s *screen) left(t *testing.T, code int) {
	t.Helper()
	defer s.tells(t)
	require.Equal(t, code, s.exit(t))
	s.shows(t, "the temporary folder is removed")
	after, err := term.GetState(s.side.Fd())
	require.NoError(t, err)
	require.Equal(t, s.before, after, "the terminal is as before")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.False(t, s.shown.CursorHidden())
	require.Empty(t, leftovers(t, s.folder))
	_, address, ok := strings.Cut(s.raw.String(), "http://")
	require.True(t, ok)
	address, _, _ = strings.Cut(address, ",")
	_, err = net.Dial("tcp", address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the service has ended")
}

func TestDemoByHandOnATerminal(t *testing.T) {
	s := onTerminal(t, "xterm-256color")
	s.shows(t, "What now?", "Create an event", "Quit", "Esc goes back")
	s.fills(t, "What now?", "", "Title", "", "Description", "Rounds", "Time zone", "", "Start", "", "End", clearLine+"soon")
	s.shows(t, "that is no time") // and goes no further
	s.fills(t, "End", clearLine+"+1h", "Location", "", "Seats", "1", "Tags", "")
	s.shows(t, "refused (422 invalid)", "- title: must not be blank", "- end_time:")
	s.fills(t, "Correct it?", "",
		"Title", "Course", "Description", "", "Time zone", "", "Start", "", "End", clearLine+"+3h", "Location", "", "Seats", "", "Tags", "")
	s.shows(t, "created: Course")
	s.fills(t, "What about this event?", down,
		"User id", "u-1", "Name", "Ann", "E-mail", "ann@example.org", "Phone", "", "Channels", "", "Time zone", "")
	s.shows(t, "Ann <ann@example.org>, confirmed", "1 registered for 1 seats")
	s.fills(t, "What about this event?", strings.Repeat(down, 5), "Message", "", "Channels", "")
	s.shows(t, "on its way; recipients: 1")
	s.fills(t, "What about this event?", down)
	s.shows(t, "┃ User id")
	s.press(t, escape) // leaves the form
	s.shows(t, "┃ What about this event?", "sent by email to a***@example.org: Ann, please bring soft shoes.")
	require.NotContains(t, s.now(), "User id", "nothing is left of the form")
	s.press(t, escape)
	s.fills(t, "What now?", strings.Repeat(down, 8))
	s.left(t, exitOK)
}

// Ctrl-C, or a signal, wherever it comes.
func TestDemoByHandEndsOnATerminal(t *testing.T) {
	for name, end := range map[string]func(*screen){
		"Ctrl-C":  func(s *screen) { s.press(t, controlC) },
		"SIGTERM": func(s *screen) { require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM)) },
	} {
		t.Run(name+" in the menu", func(t *testing.T) {
			s := onTerminal(t, "xterm-256color")
			s.shows(t, "What now?")
			end(s)
			s.left(t, exitFailure)
		})
		t.Run(name+" in a form", func(t *testing.T) {
			s := onTerminal(t, "xterm-256color")
			s.shows(t, "What now?")
			s.press(t, enter)
			s.shows(t, "Title")
			s.press(t, "Cou")
			end(s)
			s.left(t, exitFailure)
		})
		t.Run(name+" on a dumb terminal", func(t *testing.T) {
			s := onTerminal(t, "dumb")
			s.shows(t, "between 1 and 9")
			end(s)
			s.left(t, exitFailure)
		})
	}
}

// A dumb terminal, or --plain on another, gets no control sequence.
func TestDemoByHandPlain(t *testing.T) {
	for _, how := range [][]string{{"dumb"}, {"xterm-256color", "--plain"}} {
		t.Run(strings.Join(how, " "), func(t *testing.T) {
			s := onTerminal(t, how[0], how[1:]...)
			s.shows(t, "between 1 and 9:")
			s.press(t, "6\n")
			s.shows(t, "holes 0")
			s.press(t, "\x04") // the end of what is typed
			s.left(t, exitOK)
			require.NotContains(t, s.raw.String(), "\x1b")
		})
	}
}
