package reminders

import (
	"context"
	"time"

	"github.com/sony/gobreaker/v2"
)

// ProcessorStatus is how sending goes.
type ProcessorStatus struct {
	State                string // "running" or "stopped"
	CheckIntervalSeconds int
	Due                  int // PENDING and due
	OldestDueSeconds     float64
	InFlight             int // claimed and not concluded
}

// Status tells how sending goes.
func (r *Reminders) Status(ctx context.Context) (ProcessorStatus, error) {
	p, err := r.processor(ctx)
	if err != nil {
		return ProcessorStatus{}, err
	}
	due, oldest, err := r.backlog()
	if err != nil {
		return ProcessorStatus{}, err
	}
	inFlight := r.sender.inFlightNow()
	if r.o.Leader != nil {
		if inFlight, err = r.table.claims(); err != nil {
			return ProcessorStatus{}, err
		}
	}
	status := ProcessorStatus{State: "running", CheckIntervalSeconds: p.Interval(), Due: due, InFlight: inFlight}
	if p.Stopped {
		status.State = "stopped"
	}
	if due > 0 {
		status.OldestDueSeconds = max(0, r.o.Now().Sub(oldest).Seconds())
	}
	return status, nil
}

// ChannelStatus is how a channel does.
type ChannelStatus struct {
	Name     string
	Provider string
	State    string // "ready" or "paused"
}

// PlannerStatus is how far planning has come.
type PlannerStatus struct {
	Position   string
	LagSeconds float64
	Error      string
	Planning   []Planning
}

// Stats is what the process manager counts.
type Stats struct {
	Conservation Conservation
	Planner      PlannerStatus
	Channels     []ChannelStatus
	Overtaken    int64 // sends that a change was acknowledged under, after waiting for a second
}

// Stats tells what the process manager counts.
func (r *Reminders) Stats(ctx context.Context) (Stats, error) {
	conservation, err := r.auditor.conservation(ctx)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Conservation: conservation, Planner: r.planner.status(), Overtaken: r.sender.overtaken.Load()}
	for _, l := range r.sender.lanes {
		state := "ready"
		if r.sender.paused(l) {
			state = "paused"
		}
		s.Channels = append(s.Channels, ChannelStatus{Name: l.Name, Provider: l.Provider, State: state})
	}
	return s, nil
}

func (p *planner) status() PlannerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PlannerStatus{Position: p.position.String(), Planning: append([]Planning{}, p.planning...)}
	if !p.caughtUp && !p.created.IsZero() {
		s.LagSeconds = max(0, p.now().Sub(p.created).Seconds())
	}
	for _, a := range p.aside {
		s.Error = a.err.Error()
	}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}

func (s *sender) inFlightNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.lanes {
		n += l.Workers - l.free
	}
	return n
}

// paused tells whether a channel waits for its provider.
func (s *sender) paused(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(l.resumeAt) || l.circuit.State() == gobreaker.StateOpen
}

// pausedOn tells whether a channel waits for its provider, or did a minute ago:
// what has waited is on its way then.
func (s *sender) pausedOn(channel string) bool {
	l := s.lane(channel)
	if l == s.disused {
		return false
	}
	if s.paused(l) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(l.resumeAt.Add(grace))
}

// comesTo tells whether a channel works off what is due, in its order, and has
// not come past what was due at a time: so much is before it.
func (s *sender) comesTo(channel string, due time.Time) bool {
	l := s.lane(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(l.startAt.Add(grace)) && !l.reached.After(due)
}

// quiet waits until nothing is in flight.
func (s *sender) quiet(ctx context.Context) error {
	settled := make(chan struct{})
	s.mu.Lock()
	s.quieters = append(s.quieters, settled)
	s.settle()
	s.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle tells who waits for it that nothing is in flight. s.mu is held.
func (s *sender) settle() {
	for _, l := range s.lanes {
		if l.free < l.Workers {
			return
		}
	}
	for _, q := range s.quieters {
		close(q)
	}
	s.quieters = nil
}
