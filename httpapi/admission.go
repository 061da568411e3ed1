package httpapi

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// limits are what the API takes at the same time; what is more is told to come
// again. Routes that watch the service are exempt.
type limits struct {
	working  int           // requests being answered
	waiting  int           // requests in line for that
	present  int           // requests that have begun, those whose bodies are still on their way too
	streams  int           // readers of the stream
	bodies   int64         // bytes of bodies in memory
	patience time.Duration // how long a request stays in line
}

var defaultLimits = limits{working: 256, waiting: 1024, present: 8192, streams: 1024, bodies: 256 << 20, patience: time.Second}

// admission keeps the limits. A request whose body comes slowly or which waits
// for the read models keeps no other from being answered: it takes its place in
// line once there is something to do.
type admission struct {
	limits
	work, line, all, streaming chan struct{}
	held                       atomic.Int64 // bytes of bodies
}

func newAdmission(l limits) *admission {
	return &admission{
		limits: l, work: make(chan struct{}, l.working), line: make(chan struct{}, l.waiting),
		all: make(chan struct{}, l.present), streaming: make(chan struct{}, l.streams),
	}
}

var errOverloaded = newProblem(http.StatusServiceUnavailable, "overloaded", "there is more to do than can be done now; try again")

// place is what a request holds, until it leaves.
type place struct {
	a       *admission
	taken   []chan struct{}
	working bool
	body    int64
}

// take takes one of a limited number.
func (p *place) take(of chan struct{}) error {
	select {
	case of <- struct{}{}:
		p.taken = append(p.taken, of)
		return nil
	default:
		return errOverloaded
	}
}

// leave gives back all that p holds.
func (p *place) leave() {
	for _, of := range p.taken {
		<-of
	}
	p.taken = nil
	if p.a != nil {
		p.a.held.Add(-p.body)
	}
}

// begin lets a call in that is still to be read.
func (s *server) begin(c *call, r *route) error {
	if r.open || r.path == "/metrics" {
		return nil
	}
	c.place.a = s.admission
	if r.path == streamPath {
		return c.place.take(s.admission.streaming)
	}
	return c.place.take(s.admission.all)
}

// enter waits in line until there is something to be done for the call.
func (c *call) enter() error {
	a := c.place.a
	if a == nil || c.place.working || c.URL.Path == streamPath {
		return nil
	}
	c.place.working = true
	if c.place.take(a.work) == nil {
		return nil
	}
	select {
	case a.line <- struct{}{}:
	default:
		return errOverloaded
	}
	defer func() { <-a.line }()
	timer := time.NewTimer(a.patience)
	defer timer.Stop()
	select {
	case a.work <- struct{}{}:
		c.place.taken = append(c.place.taken, a.work)
		return nil
	case <-timer.C:
		return errOverloaded
	case <-c.Context().Done():
		return c.Context().Err()
	}
}

// held counts what is read of a body.
type held struct {
	io.Reader
	place *place
}

func (h held) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if a := h.place.a; a != nil {
		h.place.body += int64(n)
		if a.held.Add(int64(n)) > a.bodies {
			return n, errOverloaded
		}
	}
	return n, err
}
