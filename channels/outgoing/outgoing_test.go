package outgoing_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

func TestMain(m *testing.M) {
	// The environment is looked at once, so it names a proxy, where nobody listens,
	// before anything else.
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		_ = os.Setenv(name, "http://127.0.0.1:9")
	}
	goleak.VerifyTestMain(m)
}

func client(t *testing.T, o outgoing.Options) *outgoing.Client {
	c := outgoing.New(o)
	t.Cleanup(c.CloseIdle)
	return c
}

var thisMachine = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func get(t *testing.T, c *outgoing.Client, url string) (outgoing.Answer, *outgoing.Failure) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	a, err := c.Do(req)
	var failure *outgoing.Failure
	require.True(t, err == nil || errors.As(err, &failure), err)
	return a, failure
}

// Addresses inside one's own network are refused in all their spellings, and
// others are not.
func TestAddresses(t *testing.T) {
	c := client(t, outgoing.Options{})
	for _, forbidden := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:100.64.0.1]", "[::ffff:168.63.129.16]", "[fec0::1%25lo]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
		"[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]", "[2001:db8::1]", "[2001::1]", "[100::1]", "[64:ff9b:1::1]", "[3fff::1]", "[5f00::1]",
	} {
		require.Error(t, c.CheckURL("https://"+forbidden+"/x"), forbidden)
		_, failure := get(t, c, "https://"+forbidden+":1/x")
		require.NotNil(t, failure)
		require.True(t, failure.Forbidden, forbidden)
		require.False(t, failure.Sent)
	}
	for _, fine := range []string{"8.8.8.8", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[64:ff9b::808:808]", "[2002:808:808::]", "api.example.org"} {
		require.NoError(t, c.CheckURL("https://"+fine+"/x"), fine)
	}
}

func TestURLs(t *testing.T) {
	c := client(t, outgoing.Options{})
	for _, wrong := range []string{
		"", "s3cr3t", "http://api.example.org/s3cr3t", "ftp://api.example.org/s3cr3t", "https:///s3cr3t", "https://%zz/s3cr3t", "https:s3cr3t",
		"https://u:s3cr3t@api.example.org", "https://api.example.org/#s3cr3t", "file:///s3cr3t", "https://api.example.org:/s3cr3t", "https://api.example.org:port/s3cr3t", "//api.example.org/s3cr3t",
	} {
		err := c.CheckURL(wrong)
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	some := client(t, outgoing.Options{Allowed: thisMachine})
	require.NoError(t, some.CheckURL("http://127.0.0.1:8080/x"))
	require.NoError(t, some.CheckURL("http://localhost/x"), "what it resolves to is looked at when it is called")
	require.Error(t, some.CheckURL("http://8.8.8.8/x"), "without TLS only to what is allowed")
	require.Error(t, some.CheckURL("https://10.0.0.1/x"))
}

// A name is judged by what it resolves to at the very moment of the connection.
func TestNamesAreJudgedByTheirAddresses(t *testing.T) {
	called := false
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true })
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	name := strings.NewReplacer("127.0.0.1", "localhost")
	elsewhere := client(t, outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, url := range []string{name.Replace(plain.URL), name.Replace(secure.URL)} {
		_, failure := get(t, elsewhere, url)
		require.NotNil(t, failure, url)
		require.True(t, failure.Forbidden, failure.Words())
		result := failure.Result("x", channels.Unknown)
		require.Equal(t, channels.Broken, result.Outcome)
	}
	require.False(t, called)
	_, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine}), name.Replace(plain.URL))
	require.Nil(t, failure)
	require.True(t, called)
}

func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	_, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine}), server.URL)
	require.NotNil(t, failure)
	require.False(t, failure.Sent)
	require.Contains(t, failure.Words(), "certificate")
	known := x509.NewCertPool()
	known.AddCert(server.Certificate())
	a, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine, RootCAs: known}), server.URL)
	require.Nil(t, failure)
	require.Equal(t, "HTTP/2.0", string(a.Body))
	require.Equal(t, "200 OK\nHTTP/2.0", a.Words())
}

// What is behind the bound is not even read.
func TestEndlessAnswer(t *testing.T) {
	const all = 64 << 20 // far more than connections hold
	written := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for part := make([]byte, 1<<20); written < all; written += len(part) {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}))
	a, failure := get(t, client(t, outgoing.Options{Allowed: thisMachine}), server.URL)
	require.Nil(t, failure)
	require.True(t, a.Cut)
	server.Close()
	require.Less(t, written, all)
}

// An answer is read up to a bound, and so is its head.
func TestBounds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		}
		if r.URL.Path == "/zip" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		io.WriteString(w, strings.Repeat("x", 1<<20))
	}))
	defer server.Close()
	c := client(t, outgoing.Options{Allowed: thisMachine})
	for _, path := range []string{"/body", "/zip"} {
		a, failure := get(t, c, server.URL+path)
		require.Nil(t, failure)
		require.True(t, a.Cut)
		require.Len(t, a.Body, 256<<10)
		require.Less(t, len(a.Words()), 3000)
	}
	_, failure := get(t, c, server.URL+"/head")
	require.NotNil(t, failure)
	require.True(t, failure.Sent)
	require.Equal(t, channels.Result{Outcome: channels.Unknown, Code: "no_answer", Detail: "x: no answer came"}, failure.Result("x", channels.Unknown))

	resp, err := c.HTTP().Get(server.URL + "/body") // for libraries, half an answer is none
	if !assert.Error(t, err) {
		resp.Body.Close()
	}
}

func TestNoRedirect(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer server.Close()
	c := client(t, outgoing.Options{Allowed: thisMachine})
	a, failure := get(t, c, server.URL)
	require.Nil(t, failure)
	require.Equal(t, http.StatusFound, a.Status)
	require.True(t, a.Redirects())
	resp, err := c.HTTP().Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusFound, resp.StatusCode)
}

// What ended before there was a connection took nothing.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.org", nil)
	require.NoError(t, err)
	_, err = client(t, outgoing.Options{}).Do(req)
	var failure *outgoing.Failure
	require.ErrorAs(t, err, &failure)
	require.False(t, failure.Sent)
	require.Equal(t, channels.Later, failure.Result("x", channels.Unknown).Outcome)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Time{
		"30": now.Add(30 * time.Second), "0": now, "Tue, 06 May 2031 16:01:00 GMT": now.Add(time.Minute), "Sun, 06 Nov 1994 08:49:37 GMT": now,
		"": {}, "-5": {}, "soon": {}, "1.5": {}, "99999999999999999999": {},
	} {
		require.Equal(t, want, outgoing.RetryAfter(outgoing.Answer{Header: http.Header{"Retry-After": {header}}}, now), header)
	}
}

// What a provider says is taken up only where it can't quote anything.
func TestWordsAndReferences(t *testing.T) {
	for text, want := range map[string]string{"invalid_auth": "invalid_auth", "UNREGISTERED": "UNREGISTERED", "Zebulon": "", "ann@example.org": "", "": "", "s3cr3t": "", "a b": ""} {
		require.Equal(t, want, outgoing.Word(text), text)
	}
	for text, want := range map[string]string{"SM0123": "SM0123", "projects/x/messages/0:1%2": "projects/x/messages/0:1%2", "a b": "", "a\r\nb": "", "": "", strings.Repeat("x", 201): ""} {
		require.Equal(t, want, outgoing.Ref(text), text)
	}
}
