package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
)

// Fact is a domain event of the live stream.
type Fact struct {
	Position string
	Type     string
	Data     json.RawMessage // as the service has written it
}

// Stream says which domain events are wanted.
type Stream struct {
	EventID string   // of one event only; empty: all
	Types   []string // of these types only; none: all
	After   string   // position behind which it begins; see Position

	// Lost is told of a connection that broke off, once, and Found when there is
	// one again. Either may be nil.
	Lost  func(error)
	Found func()
}

// silence is how long nothing may come: the service sends a comment every 15 s.
const silence = time.Minute

// largestFact bounds one domain event, in bytes.
const largestFact = 8 << 20

// Position is the end of the log as it is now.
func (c *Client) Position(ctx context.Context) (string, error) {
	reply, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/stats"})
	if err != nil {
		return "", err
	}
	var stats struct {
		Store struct {
			Position string `json:"position"`
		} `json:"store"`
	}
	if err := json.Unmarshal(reply.Body, &stats); err != nil {
		return "", fmt.Errorf("read the statistics: %w", err)
	}
	return stats.Store.Position, nil
}

// stopped carries an error of the caller's out of a stream.
type stopped struct{ err error }

func (e *stopped) Error() string { return e.err.Error() }

// Watch gives each domain event behind s.After, in order, none left out and none
// twice, also where the connection breaks off or the service is restarted. It
// ends with an error of each's, a refusal (*Problem) or the context; and where
// there is no connection to begin with, as *Unreachable.
func (c *Client) Watch(ctx context.Context, s Stream, each func(Fact) error) error {
	ever, lost := false, false
	for failures := 0; ; failures++ {
		err := c.follow(ctx, &s, func() {
			if lost && s.Found != nil {
				s.Found()
			}
			ever, lost, failures = true, false, 0
		}, each)
		var (
			stop    *stopped
			problem *Problem
		)
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case !ever, errors.As(err, &problem) && !problem.Temporary():
			return err
		}
		if !lost && s.Lost != nil {
			s.Lost(err)
		}
		lost = true
		if err := sleep(ctx, pauseFor(Reply{}, failures)); err != nil {
			return err
		}
	}
}

// errBroken says that a stream ended that had been there.
var errBroken = errors.New("the stream ended")

// follow reads one connection to its end, and moves s.After along.
func (c *Client) follow(ctx context.Context, s *Stream, connected func(), each func(Fact) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(silence, cancel)
	defer idle.Stop()
	query := url.Values{}
	if s.EventID != "" {
		query.Set("event_id", s.EventID)
	}
	if len(s.Types) > 0 {
		query.Set("type", strings.Join(s.Types, ","))
	}
	request, err := c.request(ctx, Request{Method: http.MethodGet, Path: "/v1/stream", Query: query})
	if err != nil {
		return err
	}
	if s.After != "" {
		request.Header.Set("Last-Event-ID", s.After)
	}
	answer, err := transport.Do(request)
	if err != nil {
		return &Unreachable{c.URL, err}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return &Unreachable{c.URL, err}
		}
		return problemOf(c.URL, Reply{answer.StatusCode, answer.Header, body})
	}
	connected()
	alive := aliveReader{answer.Body, func() { idle.Reset(silence) }}
	for event, err := range sse.Read(alive, &sse.ReadConfig{MaxEventSize: largestFact}) {
		if err != nil {
			return errors.Join(errBroken, err)
		}
		if event.Data == "" {
			continue
		}
		if err := each(Fact{event.LastEventID, event.Type, json.RawMessage(event.Data)}); err != nil {
			return &stopped{err}
		}
		s.After = event.LastEventID
	}
	return errBroken
}

// aliveReader tells of everything that comes.
type aliveReader struct {
	io.Reader
	came func()
}

func (r aliveReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.came()
	return n, err
}
