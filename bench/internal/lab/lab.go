// Package lab gives suites what they measure with: a temporary folder, the
// service built from this tree, PostgreSQL and Redis as processes of this
// machine on loopback, and processes in general. What it has started it ends.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Lab is made by New and closed when all is measured.
type Lab struct {
	Dir      string
	Progress func(format string, args ...any)

	binary   func(context.Context) (string, error)
	postgres func(context.Context) (*Postgres, error)

	mu      sync.Mutex
	closers []func() error
}

// New makes a lab in a temporary folder (TMPDIR says on which disk). binary is
// the path of a built service; empty: it is built from this tree when it is needed.
func New(binary string, progress func(format string, args ...any)) (*Lab, error) {
	dir, err := os.MkdirTemp("", "belltower-bench-")
	if err != nil {
		return nil, fmt.Errorf("make the bench's folder: %w", err)
	}
	l := &Lab{Dir: dir, Progress: progress}
	// PostgreSQL runs as another user where this one is root.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // names can't be listed, and what is in it has modes of its own
		return nil, errors.Join(fmt.Errorf("open the bench's folder: %w", err), os.RemoveAll(dir))
	}
	l.binary = once(func(ctx context.Context) (string, error) {
		if binary != "" {
			return filepath.Abs(binary)
		}
		return l.build(ctx)
	})
	l.postgres = once(l.startPostgres)
	return l, nil
}

// once keeps the first answer, an error too.
func once[T any](make func(context.Context) (T, error)) func(context.Context) (T, error) {
	var (
		mu   sync.Mutex
		done bool
		got  T
		err  error
	)
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			got, err = make(ctx)
			done = true
		}
		return got, err
	}
}

// Close ends what was started, the last first, and removes the folder.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closers = nil
	l.mu.Unlock()
	var failed []error
	for i := len(closers) - 1; i >= 0; i-- {
		failed = append(failed, closers[i]())
	}
	return errors.Join(append(failed, os.RemoveAll(l.Dir))...)
}

// OnClose has something done when the lab is closed.
func (l *Lab) OnClose(do func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, do)
}

// Folder makes an empty folder for one state. Remove it when it is of no more
// use: what a round leaves behind would be written out to disk in the next.
func (l *Lab) Folder(name string) (string, error) {
	dir, err := os.MkdirTemp(l.Dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return dir, nil
}

// Belltower gives the path of the built service.
func (l *Lab) Belltower(ctx context.Context) (string, error) { return l.binary(ctx) }

// build builds the service in its own module, so with the versions in its own
// go.mod and not with those that the peers ask for, and as the Dockerfile does.
func (l *Lab) build(ctx context.Context) (string, error) {
	l.Progress("building belltower")
	list := Command(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/belltower/belltower")
	root, err := output(list)
	if err != nil {
		return "", fmt.Errorf("find the service's source (run this in the folder bench): %w", err)
	}
	path := filepath.Join(l.Dir, "belltower")
	build := Command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/belltower")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := output(build); err != nil {
		return "", fmt.Errorf("build the service: %w", err)
	}
	return path, nil
}

// output runs cmd and gives what it says; an error has what it said of it.
func output(cmd *exec.Cmd) (string, error) {
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, complained.String())
	}
	return strings.TrimSpace(said.String()), nil
}
