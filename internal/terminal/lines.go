// Package terminal is how commands speak to people: lines that stay whole, and
// how far work has come.
package terminal

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Lines keeps what several goroutines write from getting into one another.
type Lines struct {
	Out io.Writer
	mu  sync.Mutex
}

// Write writes p undivided.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Out.Write(p)
}

// Say writes to people. Where nobody can be reached, nothing is left to be done about it.
func (l *Lines) Say(format string, args ...any) { _, _ = fmt.Fprintf(l, format, args...) }

// Columns is how wide the terminal is that a stream leads to; 0: to none.
func Columns(stream any) int {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}
