package outgoing_test

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/belltower/belltower/channels/outgoing"
)

// resolve has every name looked up with these answers, one set for each lookup
// and the last from then on.
func resolve(t *testing.T, answers ...[]string) {
	t.Helper()
	var (
		mu       sync.Mutex
		lookups  = map[dnsmessage.Type]int{}
		answered sync.WaitGroup
		before   = net.DefaultResolver
	)
	reply := func(kind dnsmessage.Type) (addresses []netip.Addr) {
		mu.Lock()
		defer mu.Unlock()
		i := min(lookups[kind], len(answers)-1)
		lookups[kind]++
		for _, text := range answers[i] {
			if ip := netip.MustParseAddr(text); ip.Is4() == (kind == dnsmessage.TypeA) {
				addresses = append(addresses, ip)
			}
		}
		return addresses
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		answered.Go(func() {
			defer theirs.Close()
			for answerOne(theirs, reply) == nil { //nolint:revive // until the resolver goes
			}
		})
		return ours, nil
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		answered.Wait()
	})
}

// answerOne answers a question as a server does over TCP (RFC 1035, section 4.2.2).
func answerOne(conn net.Conn, reply func(dnsmessage.Type) []netip.Addr) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	packed := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, packed); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(packed); err != nil {
		return err
	}
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	question := m.Questions[0]
	for _, ip := range reply(question.Type) {
		header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
		if ip.Is4() {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		} else {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
	return err
}

// named gives a server's URL under a name that its certificate is for.
func named(server *httptest.Server) string {
	return strings.Replace(server.URL, "127.0.0.1", "example.com", 1)
}

// A name that leads elsewhere the next time leads nowhere: the address is looked
// at that is connected to, not one that was looked up before.
func TestRebinding(t *testing.T) {
	calls := 0
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	known := x509.NewCertPool()
	known.AddCert(secure.Certificate())
	for _, server := range []*httptest.Server{plain, secure} {
		for _, inside := range []string{"127.0.0.1", "::ffff:127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "10.0.0.1", "0.0.0.0", "100.64.0.1"} {
			// That the server is called the first time, at an address that is allowed
			// then, shows that only the address makes the difference.
			calls = 0
			resolve(t, []string{"127.0.0.1"}, []string{inside})
			c := client(t, outgoing.Options{Allowed: thisMachine[:1], RootCAs: known})
			_, failure := get(t, c, named(server))
			require.Nil(t, failure)
			c.CloseIdle() // the connection to the first address would be kept
			if netip.MustParseAddr(inside).Unmap().IsLoopback() {
				c = client(t, outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("10.9.9.9/32")}, RootCAs: known})
			}
			_, failure = get(t, c, named(server))
			require.NotNil(t, failure, inside)
			require.True(t, failure.Forbidden, "%s: %s", inside, failure.Words())
			require.False(t, failure.Sent)
			require.Equal(t, 1, calls, inside)
		}
	}
}

// Without TLS nothing is called but what is allowed, whatever a name leads to.
func TestNamesWithoutTLS(t *testing.T) {
	resolve(t, []string{"8.8.8.8", "2606:4700::1111"})
	_, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine}), "http://example.com")
	require.NotNil(t, failure)
	require.True(t, failure.Forbidden, failure.Words())
}

// A proxy that the environment names is asked for nothing. It would be, for a
// name such as this one: those of this machine are excepted.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	called := ""
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called = r.Host }))
	defer server.Close()
	resolve(t, []string{"127.0.0.1"})
	resp, err := http.Get(named(server)) // by a client that asks the proxy, which isn't there
	if err == nil {
		resp.Body.Close()
	}
	require.ErrorContains(t, err, "proxyconnect tcp")
	_, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine}), named(server))
	require.Nil(t, failure)
	require.Equal(t, strings.TrimPrefix(named(server), "http://"), called)
	resp, err = client(t, outgoing.Options{Allowed: thisMachine}).HTTP().Get(named(server))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
}
