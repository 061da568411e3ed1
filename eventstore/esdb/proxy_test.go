package esdb_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between client and server and does to the wire what wires do.
type proxy struct {
	listener net.Listener
	wait     sync.WaitGroup

	mu    sync.Mutex
	to    string
	pairs map[*pair]struct{}
	down  bool
	after func(sent int) fault // looks at what a client has sent so far on a connection
	delay time.Duration
}

// fault is what happens to a connection.
type fault int

const (
	none  fault = iota
	cut         // both ends are closed
	stall       // nothing goes through any more, and nobody is told
	twice       // a chunk comes twice
)

// pair is a connection of a client and ours to the server.
type pair struct {
	client, server net.Conn
	stalled        chan struct{}
	once           sync.Once
}

func newProxy(t *testing.T, to string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, to: to, pairs: map[*pair]struct{}{}}
	p.wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.set(func() { p.down = true })
		p.cutAll()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) at() string { return "esdb://" + p.listener.Addr().String() + "?tls=false" }

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *proxy) serve(conn net.Conn) {
	p.mu.Lock()
	to, down := p.to, p.down
	p.mu.Unlock()
	if down {
		_ = conn.Close()
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		_ = conn.Close()
		return
	}
	c := &pair{client: conn, server: server, stalled: make(chan struct{})}
	p.set(func() { p.pairs[c] = struct{}{} })
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, conn, server, true) })
	both.Go(func() { p.pump(c, server, conn, false) })
	both.Wait()
	p.set(func() { delete(p.pairs, c) })
}

func (p *proxy) pump(c *pair, from, to net.Conn, client bool) {
	defer c.cut()
	buffer, sent := make([]byte, 16<<10), 0
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		delay, after := p.delay, p.after
		p.mu.Unlock()
		time.Sleep(delay)
		chunk := buffer[:n]
		if client && after != nil {
			switch sent += n; after(sent) {
			case cut:
				_, _ = to.Write(chunk[:n/2])
				return
			case stall:
				c.stall()
			case twice:
				chunk = append(append([]byte{}, chunk...), chunk...)
			}
		}
		select {
		case <-c.stalled:
			continue // read and lost
		default:
		}
		if _, err := to.Write(chunk); err != nil {
			return
		}
	}
}

func (c *pair) cut() {
	_ = c.client.Close()
	_ = c.server.Close()
}

func (c *pair) stall() { c.once.Do(func() { close(c.stalled) }) }

func (p *proxy) each(do func(*pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		do(c)
	}
}

func (p *proxy) cutAll()   { p.each((*pair).cut) }
func (p *proxy) stallAll() { p.each((*pair).stall) }
