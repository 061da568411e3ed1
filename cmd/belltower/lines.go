package main

import (
	"fmt"
	"io"
	"sync"
)

// lines keeps what several goroutines write from getting into one another.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

// Write writes p undivided.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// say writes to people. Where nobody can be reached, nothing is left to be done about it.
func (l *lines) say(format string, args ...any) { _, _ = fmt.Fprintf(l, format, args...) }
