package esdb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdbserver"
	"github.com/belltower/belltower/internal/memstore"
)

// serveVariable makes this binary a server: of the embedded log in a folder, or
// of a store that keeps nothing.
const serveVariable = "ESDB_BENCH_SERVE"

const nothing = "nothing"

func TestMain(m *testing.M) {
	if what := os.Getenv(serveVariable); what != "" {
		if err := serveUntilStdinEnds(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveUntilStdinEnds prints its connection string, and at the end what it has done.
func serveUntilStdinEnds(what string) error {
	var store eventstore.Store = &forgetful{Store: memstore.New()}
	if what != nothing {
		log, err := embedded.Open(context.Background(), what, embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		store = log
		defer func() {
			s := log.Stats()
			fmt.Println(float64(s.Appends) / float64(max(s.Syncs, 1)))
		}()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server, ended := esdbserver.New(esdbserver.Options{Store: store}), make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Println("esdb://" + listener.Addr().String() + "?tls=false")
	_, err = io.Copy(io.Discard, os.Stdin)
	server.Close()
	return errors.Join(err, <-ended, store.Close())
}

// benchServer starts a server in a process of its own, as servers are, and gives
// its connection string. end ends it, and gives what it said at last and the CPU
// time that it took.
func benchServer(b *testing.B, what string) (at string, end func() (said string, cpu time.Duration)) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), exe)
	cmd.Env = append(os.Environ(), serveVariable+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		b.Fatal("the server doesn't say where it is")
	}
	return lines.Text(), func() (said string, cpu time.Duration) {
		_ = in.Close()
		for lines.Scan() {
			said = lines.Text()
		}
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		return said, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
}

// forgetful takes every append and keeps nothing.
type forgetful struct {
	eventstore.Store // empty
	position         atomic.Uint64
}

func (f *forgetful) Append(context.Context, string, int64, []eventstore.NewRecord) (eventstore.Position, error) {
	p := f.position.Add(1)
	return eventstore.Position{Commit: p, Prepare: p}, nil
}
