package sqldbtest

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
)

// Cable is the way to a server, which can be cut.
type Cable struct {
	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// Cabled gives a way to the server of a URL that can be cut.
func Cabled(t testing.TB, server string) (sqldb.Target, *Cable) {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &Cable{to: u.Host, listener: listener, conns: map[net.Conn]struct{}{}}
	u.Host = listener.Addr().String()
	c.running.Go(c.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		c.Cut()
		c.running.Wait()
	})
	through, err := sqldb.Parse(u.String())
	require.NoError(t, err)
	return through, c
}

func (c *Cable) serve() {
	for {
		from, err := c.listener.Accept()
		if err != nil {
			return
		}
		to, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.to)
		if err != nil || !c.hold(from, to) {
			_ = from.Close()
			continue
		}
		c.running.Go(func() { c.carry(from, to) })
		c.running.Go(func() { c.carry(to, from) })
	}
}

// hold keeps the ends of a connection, unless the cable is cut.
func (c *Cable) hold(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range ends {
		if c.cut {
			_ = end.Close()
		}
		c.conns[end] = struct{}{}
	}
	return !c.cut
}

func (c *Cable) carry(from, to net.Conn) {
	_, _ = io.Copy(to, from) // it ends with either
	_ = from.Close()
	_ = to.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, from)
	delete(c.conns, to)
}

// Cut breaks all connections, and lets no new ones come about.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for end := range c.conns {
		_ = end.Close()
	}
}

// Mend undoes Cut.
func (c *Cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}
