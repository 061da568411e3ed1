package channeltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// HTTP is a kind of channel whose provider is called over HTTP.
type HTTP struct {
	// New makes a channel whose provider is at base.
	New func(t *testing.T, base string, client *outgoing.Client) channels.Channel
	// To gives an address that the channel takes, of a provider at base.
	To func(base string) string
	// Accept answers a message as the provider does that takes it.
	Accept http.HandlerFunc
	// Refuse answers as a provider does that refuses a message and says reason.
	Refuse func(w http.ResponseWriter, reason string)
	// Read reads a request as the provider does, and fails the test where the
	// provider would misread it.
	Read func(t *testing.T, r *http.Request, body []byte) Sent
	// Beside answers a call that isn't a message's, such as one for a token, and
	// tells whether it did. It may be nil.
	Beside func(w http.ResponseWriter, r *http.Request) bool
	// Secrets must appear in no result and no error.
	Secrets []string

	Lost      channels.Outcome // when no answer came
	Cut       channels.Outcome // when an answer's body is not whole
	Redirect  channels.Outcome // when the provider redirects
	Forbidden channels.Outcome // when the provider's name resolves to an address that may not be called
}

// provider is the server at the other end. It keeps what it is given, and answers as told.
type provider struct {
	h      HTTP
	server *httptest.Server

	mu     sync.Mutex
	given  []given
	answer http.HandlerFunc
}

type given struct {
	request *http.Request
	body    []byte
}

func (h HTTP) serve(t *testing.T) *provider {
	p := &provider{h: h, answer: h.Accept}
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that tests break
	p.server.Start()
	t.Cleanup(p.server.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if p.h.Beside != nil && p.h.Beside(w, r) {
		return
	}
	p.mu.Lock()
	p.given = append(p.given, given{r, body})
	answer := p.answer
	p.mu.Unlock()
	answer(w, r)
}

func (p *provider) then(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// anew forgets what was given.
func (p *provider) anew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given, p.answer = nil, p.h.Accept
}

func (p *provider) all() []given {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.given
}

// client may call what is on this machine.
func client(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	t.Cleanup(c.CloseIdle)
	return c
}

func (p *provider) channel(t *testing.T) channels.Channel {
	return p.h.New(t, p.server.URL, client(t))
}

func (p *provider) subject() Subject {
	return Subject{
		To: p.h.To(p.server.URL), Secrets: p.h.Secrets, Lost: p.h.Lost,
		New: func(t *testing.T) Rig {
			p.anew()
			var sent []Sent // read once, as there are many
			return Rig{
				Channel: p.channel(t),
				Sent: func() []Sent {
					for _, g := range p.all()[len(sent):] {
						sent = append(sent, p.h.Read(t, g.request, g.body))
					}
					return sent
				},
				Refuse: func(reason string) {
					p.then(func(w http.ResponseWriter, _ *http.Request) { p.h.Refuse(w, reason) })
				},
				Stall: func() <-chan struct{} {
					arrived := make(chan struct{})
					p.then(func(_ http.ResponseWriter, r *http.Request) {
						close(arrived)
						<-r.Context().Done()
					})
					return arrived
				},
			}
		},
	}
}

// RunHTTP holds a channel to the port's promises, and to what they mean over HTTP.
func RunHTTP(t *testing.T, h HTTP) {
	p := h.serve(t)
	Run(t, p.subject())
	for name, test := range map[string]func(*testing.T, *provider){
		"an answer that breaks off":          breaksOff,
		"no answer is no refusal":            losesTheAnswer,
		"a redirect is not followed":         followsNoRedirect,
		"it waits as long as it is told":     heedsRetryAfter,
		"what can't be reached took nothing": missesProvider,
		"its own network is not called":      callsNoPrivateAddress,
	} {
		t.Run(name, func(t *testing.T) {
			p.anew()
			test(t, p)
		})
	}
}

// attempt sends a message, and checks that it was at most one call.
func (p *provider) attempt(ctx context.Context, t *testing.T, c channels.Channel) channels.Result {
	t.Helper()
	before := len(p.all())
	result := p.subject().send(ctx, t, c, p.subject().message())
	require.LessOrEqual(t, len(p.all()), before+1, "one attempt is one call")
	return result
}

// raw writes an answer by hand: head and a part of what it announces.
func raw(w http.ResponseWriter, accept http.HandlerFunc, r *http.Request, then func(net.Conn)) {
	whole := httptest.NewRecorder()
	accept(whole, r)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 %d Answer\r\n", whole.Code)
	header := whole.Header().Clone()
	header.Set("Content-Length", fmt.Sprint(whole.Body.Len()+10))
	header.Write(conn)
	io.WriteString(conn, "\r\n")
	conn.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	then(conn)
}

func breaksOff(t *testing.T, p *provider) {
	c := p.channel(t)
	p.then(func(w http.ResponseWriter, r *http.Request) { raw(w, p.h.Accept, r, func(net.Conn) {}) })
	require.Equal(t, p.h.Cut, p.attempt(t.Context(), t, c).Outcome, "after its head")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.then(func(w http.ResponseWriter, r *http.Request) {
		raw(w, p.h.Accept, r, func(conn net.Conn) {
			time.AfterFunc(50*time.Millisecond, cancel) // the head is read by then, or no answer came at all
			io.Copy(io.Discard, conn)                   // until the client goes
		})
	})
	require.Contains(t, []channels.Outcome{p.h.Cut, p.h.Lost}, p.attempt(ctx, t, c).Outcome, "its body hangs")

	p.then(func(w http.ResponseWriter, r *http.Request) {
		p.h.Accept(w, r)
		io.WriteString(w, strings.Repeat(" ", 2<<20))
	})
	require.Equal(t, p.h.Cut, p.attempt(t.Context(), t, c).Outcome, "it is endless")
}

func losesTheAnswer(t *testing.T, p *provider) {
	for name, end := range map[string]func(net.Conn){
		"reset":    func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) },
		"closed":   func(net.Conn) {},
		"not HTTP": func(conn net.Conn) { io.WriteString(conn, "220 smtp.example.org\r\n") },
	} {
		c := p.channel(t)
		for _, connection := range []string{"new", "kept"} { // which the transport might try again by itself
			p.then(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				end(conn)
				conn.Close()
			})
			require.Equal(t, p.h.Lost, p.attempt(t.Context(), t, c).Outcome, "%s, a %s connection", name, connection)
			p.then(p.h.Accept)
			require.Equal(t, channels.Accepted, p.attempt(t.Context(), t, c).Outcome)
		}
	}
}

func followsNoRedirect(t *testing.T, p *provider) {
	elsewhere := p.h.serve(t)
	c := p.channel(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		p.then(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.server.URL+r.URL.Path, code)
		})
		result := p.attempt(t.Context(), t, c)
		require.Equal(t, p.h.Redirect, result.Outcome, code)
		require.NotContains(t, result.Detail+result.Code, elsewhere.server.URL)
	}
	require.Empty(t, elsewhere.all())
}

func heedsRetryAfter(t *testing.T, p *provider) {
	c := p.channel(t)
	now := time.Now()
	date := now.Add(90 * time.Second).Truncate(time.Second)
	for header, want := range map[string]time.Time{
		"30":                               now.Add(30 * time.Second),
		"0":                                now,
		date.UTC().Format(http.TimeFormat): date,
		"Sun, 06 Nov 1994 08:49:37 GMT":    now,
	} {
		p.then(retryLater(header))
		result := p.attempt(t.Context(), t, c)
		require.Equal(t, channels.Later, result.Outcome)
		require.False(t, result.NotBefore.Before(want), "%s: never earlier than told", header)
		require.WithinDuration(t, want, result.NotBefore, 2*time.Minute, header)
	}
	for _, header := range []string{"", "-5", "soon", "99999999999999999999999999999999999"} {
		p.then(retryLater(header))
		result := p.attempt(t.Context(), t, c)
		require.Equal(t, channels.Later, result.Outcome, header)
		require.True(t, result.NotBefore.Before(time.Now().Add(2*time.Minute)), header) // a provider's own usual wait
	}
}

func retryLater(header string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func missesProvider(t *testing.T, p *provider) {
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewUnstartedServer(p)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that we mean to fail
	secure.StartTLS()
	defer secure.Close()
	for name, base := range map[string]string{"nobody listens": closed.URL, "an unknown certificate": secure.URL} {
		s := p.subject()
		s.To = p.h.To(base)
		result := s.send(t.Context(), t, p.h.New(t, base, client(t)), s.message())
		require.Equal(t, channels.Later, result.Outcome, name)
		require.NotEmpty(t, result.Detail)
	}
	require.Empty(t, p.all())
}

func callsNoPrivateAddress(t *testing.T, p *provider) {
	secure := httptest.NewTLSServer(p)
	defer secure.Close()
	// It is a name, so only what it resolves to can tell.
	base := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)
	guarded := outgoing.New(outgoing.Options{})
	t.Cleanup(guarded.CloseIdle)
	s := p.subject()
	s.To = p.h.To(base)
	result := s.send(t.Context(), t, p.h.New(t, base, guarded), s.message())
	require.Equal(t, p.h.Forbidden, result.Outcome, result.Detail)
	require.Empty(t, p.all())
}

// Answer is what a provider may say to a message, and what it means.
type Answer struct {
	Name   string
	Status int
	Header map[string]string
	Body   string
	Want   channels.Outcome
	Code   string // of the result; "" is not looked at
}

// RunAnswers lets the provider give each answer once, and looks what the channel
// makes of it.
func RunAnswers(t *testing.T, h HTTP, rows []Answer) {
	p := h.serve(t)
	for _, row := range rows {
		t.Run(strings.TrimSpace(fmt.Sprint(row.Status, " ", row.Name)), func(t *testing.T) {
			p.anew()
			p.then(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range row.Header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(row.Status)
				io.WriteString(w, row.Body)
			})
			result := p.attempt(t.Context(), t, p.channel(t))
			require.Len(t, p.all(), 1)
			require.Equal(t, row.Want, result.Outcome, result.Detail)
			if row.Code != "" {
				require.Equal(t, row.Code, result.Code)
			}
			if row.Want != channels.Accepted {
				require.NotEmpty(t, result.Detail)
				require.NotEmpty(t, result.Code)
			}
		})
	}
}
