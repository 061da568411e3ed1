// Package client asks a Belltower service over HTTP.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks one service. Its methods may be called concurrently.
type Client struct {
	URL   string // such as http://127.0.0.1:8080
	Token string // empty: none is sent

	// Patience is how long a request that may safely be repeated is tried again
	// while the service can't answer now, or the connection breaks off.
	Patience time.Duration
	// Reconnect has a connection that can't be made tried again, too.
	Reconnect bool
}

// Request is what is asked.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         any    // sent as JSON; nil: none
	Key          string // Idempotency-Key; empty: none
	IfMatch      string // a revision; empty: any
	After        string // Consistency-Token of a write that has to be seen; empty: none
	Slow         bool   // the answer comes when the work is done, however long that takes
}

// repeatable tells whether doing r twice does no more than doing it once.
func (r Request) repeatable() bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Key != ""
}

// Reply is an answer, whatever its status.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Token is the Consistency-Token of a write.
func (r Reply) Token() string { return r.Header.Get("Consistency-Token") }

// Unreachable says that no answer came.
type Unreachable struct {
	URL string
	Err error
}

func (e *Unreachable) Error() string { return fmt.Sprintf("can't reach %s: %s", e.URL, reason(e.Err)) }

func (e *Unreachable) Unwrap() error { return e.Err }

// reason leaves out of err what Unreachable says itself.
func reason(err error) string {
	var asked *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer came in time"
	case errors.As(err, &asked):
		return reason(asked.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection broke off"
	}
	return err.Error()
}

// answerTime bounds how long an answer may take, but for slow ones: longer than
// the service itself allows.
const answerTime = 60 * time.Second

// transport follows no redirections: a POST would become a GET on the way.
var transport = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// CloseIdle closes connections that are kept for further requests.
func CloseIdle() { transport.CloseIdleConnections() }

// Ask makes one attempt. Its error is the context's or an *Unreachable; a
// refusal is an answer.
func (c *Client) Ask(ctx context.Context, r Request) (Reply, error) {
	if !r.Slow {
		limited, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		reply, err := c.ask(limited, r)
		if err != nil && ctx.Err() != nil {
			return Reply{}, ctx.Err()
		}
		return reply, err
	}
	return c.ask(ctx, r)
}

func (c *Client) ask(ctx context.Context, r Request) (Reply, error) {
	request, err := c.request(ctx, r)
	if err != nil {
		return Reply{}, err
	}
	answer, err := transport.Do(request)
	if err != nil {
		return Reply{}, &Unreachable{c.URL, err}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return Reply{}, &Unreachable{c.URL, err}
	}
	return Reply{answer.StatusCode, answer.Header, body}, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	address := strings.TrimRight(c.URL, "/") + r.Path
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	var body io.Reader
	if r.Body != nil {
		data, err := json.Marshal(r.Body)
		if err != nil {
			return nil, fmt.Errorf("encode what is asked: %w", err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, address, body)
	if err != nil {
		return nil, err
	}
	if r.After != "" {
		request.Header.Set("Consistency-Token", r.After)
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.Key != "" {
		request.Header.Set("Idempotency-Key", r.Key)
	}
	if r.IfMatch != "" {
		request.Header.Set("If-Match", strconv.Quote(r.IfMatch))
	}
	return request, nil
}

// Do makes a request, patiently where it may be repeated, and gives the answer
// of one that succeeded. A refusal is a *Problem.
func (c *Client) Do(ctx context.Context, r Request) (Reply, error) {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		reply, err := c.Ask(ctx, r)
		if err == nil && reply.Status < 300 {
			return reply, nil
		}
		if err == nil {
			err = problemOf(c.URL, reply)
		}
		pause := pauseFor(reply, attempt)
		if !r.repeatable() || !c.again(err) || time.Since(began)+pause > c.Patience {
			return reply, err
		}
		if err := sleep(ctx, pause); err != nil {
			return reply, err
		}
	}
}

// again tells whether trying once more may help.
func (c *Client) again(err error) bool {
	var (
		problem *Problem
		dial    *net.OpError
	)
	switch {
	case errors.As(err, &problem):
		return problem.Temporary()
	case errors.As(err, &dial) && dial.Op == "dial":
		return c.Reconnect
	}
	var gone *Unreachable
	return errors.As(err, &gone)
}

// pauseFor is how long to wait before the next attempt: as told, else longer
// each time, and never the same for all who wait.
func pauseFor(r Reply, attempt int) time.Duration {
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		return time.Duration(seconds)*time.Second + rand.N(100*time.Millisecond)
	}
	pause := min(100*time.Millisecond<<min(attempt, 5), 2*time.Second)
	return pause/2 + rand.N(pause)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
