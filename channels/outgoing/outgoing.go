// Package outgoing makes the HTTP calls of all channels, so that one place decides
// where a call may go and what became of it: https, no redirects, no addresses
// inside one's own network, bounded answers, and errors that name neither a URL
// nor what was sent.
package outgoing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"crypto/tls"

	"github.com/belltower/belltower/channels"
)

// Options say where calls may go.
type Options struct {
	// Allowed are networks that may be called although they are private, loopback
	// or otherwise not of the public Internet; http without TLS goes nowhere else.
	Allowed []netip.Prefix
	RootCAs *x509.CertPool // that certificates are verified with; nil: the system's
}

// Bounds of a call. Its whole time is bounded by its context.
const (
	connectTime = 10 * time.Second
	idleTime    = 15 * time.Second // shorter than providers', whose closing looks like a lost answer
	maxHeader   = 64 << 10
	maxBody     = 256 << 10
)

// Client makes calls. Its methods may be called concurrently.
type Client struct {
	allowed    []netip.Prefix
	transports map[string]*http.Transport // by scheme
}

// New makes a client. It takes no proxy from the environment: a proxy would look
// names up itself, where addresses can't be checked.
func New(o Options) *Client {
	c := &Client{allowed: o.Allowed, transports: map[string]*http.Transport{}}
	for scheme, check := range map[string]func(netip.Addr) bool{"https": c.permits, "http": c.permitsPlain} {
		dialer := &net.Dialer{Timeout: connectTime, Control: guard(check)}
		c.transports[scheme] = &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
			TLSHandshakeTimeout:    connectTime,
			IdleConnTimeout:        idleTime,
			MaxIdleConnsPerHost:    128, // as many as a channel's workers
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // so that the bound of an answer is that of what is read
			ForceAttemptHTTP2:      true,
		}
	}
	return c
}

// CloseIdle closes the connections that wait for another call.
func (c *Client) CloseIdle() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// CheckURL refuses a URL that no call could go to, whatever its host resolves to.
// Its errors don't quote it: some URLs are secrets.
func (c *Client) CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Hostname() == "", u.Opaque != "", strings.HasSuffix(u.Host, ":"):
		return errors.New("it is not a URL such as https://api.example.org")
	case u.User != nil:
		return errors.New("it has a user or a password in it")
	case u.Fragment != "":
		return errors.New("it has a fragment in it")
	case u.Scheme == "http" && len(c.allowed) == 0:
		return errors.New("it is not https, and no network is allowed to be called without")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it is not https")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if u.Scheme == "http" && !c.permitsPlain(ip) || !c.permits(ip) {
			return errors.New("its address is none that may be called")
		}
	}
	return nil
}

// Answer is what a provider said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    bool // the body was longer than is read, or ended too early; Status and Header are whole
}

// Redirects tells whether the answer sends us elsewhere, where we don't go.
func (a Answer) Redirects() bool { return a.Status >= 300 && a.Status < 400 }

// Words are the answer for who asked for it; they may quote what was sent.
func (a Answer) Words() string {
	words := fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
	if text := strings.TrimSpace(strings.ToValidUTF8(string(a.Body), "\uFFFD")); text != "" {
		const longest = 2000
		if len(text) > longest {
			text = strings.ToValidUTF8(text[:longest], "") + "…"
		}
		words += "\n" + text
	}
	return words
}

// Failure is that no answer came. It quotes nothing.
type Failure struct {
	Sent      bool // the request was given to a connection: it may have been read
	Forbidden bool // the address is none that may be called
	cause     error
}

func (f *Failure) Error() string {
	switch {
	case f.Forbidden:
		return "the address is none that may be called"
	case f.Sent:
		return "no answer came"
	}
	return "no connection could be made"
}

// Words are what went wrong, for who asked for it: they may name an address.
func (f *Failure) Words() string { return f.Error() + ": " + f.cause.Error() }

// Result says what a failure means. lost is what it means that the answer was lost.
func (f *Failure) Result(name string, lost channels.Outcome) channels.Result {
	r := channels.Result{Outcome: channels.Later, Code: "no_connection", Detail: name + ": " + f.Error()}
	switch {
	case f.Forbidden:
		r.Outcome, r.Code = channels.Broken, "forbidden_address"
	case f.Sent:
		r.Outcome, r.Code = lost, "no_answer"
	}
	return r
}

// Do makes one call. Its error is always a *Failure.
func (c *Client) Do(req *http.Request) (Answer, error) {
	if err := c.CheckURL(req.URL.String()); err != nil {
		return Answer{}, &Failure{Forbidden: true, cause: err}
	}
	if err := req.Context().Err(); err != nil {
		return Answer{}, &Failure{cause: err}
	}
	// Until there is a connection nothing can have been taken; from then on
	// everything may have been, whatever goes wrong.
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	if req.GetBody != nil {
		req.GetBody = nil // with it, some requests would be sent again by the transport
	}
	resp, err := c.transports[req.URL.Scheme].RoundTrip(req) // which follows no redirect
	if err != nil {
		return Answer{}, &Failure{Sent: connected.Load(), Forbidden: errors.Is(err, errForbidden), cause: err}
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil || len(a.Body) > maxBody {
		a.Body, a.Cut = a.Body[:min(len(a.Body), maxBody)], true
	}
	return a, nil
}

// HTTP is c for libraries that want an http.Client.
func (c *Client) HTTP() *http.Client {
	return &http.Client{
		Transport:     roundTripper{c},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type roundTripper struct{ c *Client }

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	a, err := r.c.Do(req)
	if err != nil {
		return nil, err
	}
	if a.Cut {
		return nil, &Failure{Sent: true, cause: io.ErrUnexpectedEOF}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status)), StatusCode: a.Status, Header: a.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader(string(a.Body))), ContentLength: int64(len(a.Body)), Request: req,
	}, nil
}
