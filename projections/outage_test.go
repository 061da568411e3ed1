package projections

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
)

// wire is what stands between us and a server, and can be cut.
type wire struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup
	mu       sync.Mutex
	cut      bool
	open     []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: listener, to: to}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		w.set(true)
		w.running.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.open = append(w.open, near, far)
		if w.cut {
			_, _ = near.Close(), far.Close()
		}
		w.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			w.running.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

// set cuts all connections and lets none through, or does so again.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// While the server can't be reached, queries say so and the rows stand still;
// then they go on where they were.
func TestTheServerIsDownForAWhile(t *testing.T) {
	onServers(t, func(t *testing.T, w *world) {
		variable := map[sqldb.Kind]string{sqldb.PostgreSQL: "BELLTOWER_TEST_POSTGRES", sqldb.MySQL: "BELLTOWER_TEST_MYSQL"}[w.target.Kind()]
		server, err := url.Parse(os.Getenv(variable))
		require.NoError(t, err)
		wire := newWire(t, server.Host)
		_, name, _ := strings.Cut(strings.TrimPrefix(w.target.String(), server.Scheme+"://"), "/")
		name, _, _ = strings.Cut(name, "?")
		through := *server
		through.Host, through.Path = wire.listener.Addr().String(), "/"+name
		w.target, err = sqldb.Parse(through.String())
		require.NoError(t, err)

		m := w.open("")
		defer func() { _ = m.Close() }() // its sessions are cut
		m.pause = func(ctx context.Context, _ int) { wait(ctx, 10*time.Millisecond) }
		w.event("a", meeting("a"))
		w.follow(t, m)
		w.shown(m)
		wire.set(true)
		w.event("b", meeting("b"))
		require.Eventually(t, func() bool { return m.Status().Err != nil }, patience, time.Millisecond)
		require.False(t, m.Status().CaughtUp)
		_, err = m.Event(bg, "a")
		require.True(t, Unreadable(err), err)
		_, err = m.Counts(bg)
		require.True(t, Unreadable(err), err)
		wire.set(false)
		_, err = w.shown(m).Event(bg, "b")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return m.Status().CaughtUp }, patience, time.Millisecond)
	})
}
