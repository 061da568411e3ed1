package esdb_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/freeport"
)

// proxy stands between client and server and does to the wire what wires do.
type proxy struct {
	*toxiproxy.Proxy
	t *testing.T
}

func newProxy(t *testing.T, to string) *proxy {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &proxy{toxiproxy.NewProxy(server, t.Name(), freeport.Address(t), to), t}
	p.up()
	t.Cleanup(p.down)
	return p
}

func (p *proxy) at() string { return "esdb://" + p.Listen + "?tls=false" }

// down cuts all connections and takes no others.
func (p *proxy) down() { p.Stop() }

// up takes connections, at the same address as before.
func (p *proxy) up() { require.NoError(p.t, p.Start()) }

func (p *proxy) cutAll() {
	p.down()
	p.up()
}

// attributes are those of a toxic, as toxiproxy documents them.
type attributes map[string]any

// add lets a toxic work on a direction of all connections, those to come too.
func (p *proxy) add(kind, direction string, a attributes) (remove func()) {
	said, err := json.Marshal(map[string]any{"name": kind + direction, "type": kind, "stream": direction, "attributes": a})
	require.NoError(p.t, err)
	_, err = p.Toxics.AddToxicJson(strings.NewReader(string(said)))
	require.NoError(p.t, err)
	return func() { require.NoError(p.t, p.Toxics.RemoveToxic(context.Background(), kind+direction)) }
}

const (
	up   = "upstream"
	down = "downstream"
)

func init() { toxics.Register("repeat", new(repeat)) }

// repeat is a toxic that sends what comes after so many bytes twice.
type repeat struct {
	After int64 `json:"after"`
}

// NewState implements toxics.StatefulToxic: it counts the bytes.
func (r *repeat) NewState() any { return new(int64) }

// Pipe implements toxics.Toxic.
func (r *repeat) Pipe(stub *toxics.ToxicStub) {
	sent := stub.State.(*int64)
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			*sent += int64(len(c.Data))
			stub.Output <- c
			if *sent > r.After {
				stub.Output <- &stream.StreamChunk{Data: c.Data, Timestamp: c.Timestamp}
			}
		}
	}
}
