package reminders

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
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

// InDoubt counts the notifications that are not final yet and of which an attempt's
// outcome is unknown.
func (r *Reminders) InDoubt(ctx context.Context) (int, error) { return r.table.inDoubt(ctx) }

// ChannelStatus is how a channel does by one who carries it.
type ChannelStatus struct {
	Name      string
	Provider  string
	State     string     // "ready", "paused" or "disabled"
	Reason    string     // why it isn't ready: what the provider said
	Since     *time.Time // nil: it isn't
	Endpoints []EndpointStatus
}

// EndpointStatus is a server that messages of a channel go to, which is paused
// while the others go on.
type EndpointStatus struct {
	Endpoint string
	Reason   string
	Since    time.Time
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
	s.Channels, err = r.sender.disabled(ctx, r.sender.channels())
	return s, err
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
		for _, c := range l.carriers {
			n += c.Workers - c.free
		}
	}
	return n
}

// channels tells how all do, in the order in which they were registered.
func (s *sender) channels() (all []ChannelStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, l := range s.lanes {
		for _, c := range l.carriers {
			status := ChannelStatus{Name: c.Name, Provider: c.Provider, State: "ready"}
			if c.paused(now) {
				why := c.pause
				if c.account.until.After(now) {
					why = c.account.pause
				}
				since := why.start(now)
				status.State, status.Reason, status.Since = "paused", why.reason, &since
			}
			for endpoint, g := range c.endpoints {
				if g.shut(now) {
					status.Endpoints = append(status.Endpoints, EndpointStatus{endpoint, g.reason, g.start(now)})
				}
			}
			slices.SortFunc(status.Endpoints, func(a, b EndpointStatus) int { return strings.Compare(a.Endpoint, b.Endpoint) })
			all = append(all, status)
		}
	}
	return all
}

// disabled marks the channels whose one destination is suppressed.
func (s *sender) disabled(ctx context.Context, all []ChannelStatus) ([]ChannelStatus, error) {
	i := -1
	for _, l := range s.lanes {
		for _, c := range l.carriers {
			i++
			d, ok := c.Channel.(channels.Destined)
			if !ok {
				continue
			}
			known, err := s.commands.Suppression(ctx, aggregates.Endpoint, d.Destination())
			if err != nil {
				return nil, err
			}
			if known.Active {
				all[i].State, all[i].Since = "disabled", &known.Since.At
				all[i].Reason = strings.TrimSpace(known.Reason + " " + known.Code)
			}
		}
	}
	return all, nil
}

// paused tells whether c waits for its provider. sender.mu is held.
func (c *carrier) paused(now time.Time) bool { return c.shut(now) || c.account.until.After(now) }

// pausedOn tells whether messages of a channel wait for a provider or one of its
// endpoints, or did a minute ago: what has waited is on its way then.
func (s *sender) pausedOn(channel string) bool {
	l := s.lane(channel)
	if l == s.disused {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	recently := now.Add(-grace)
	for _, c := range l.carriers {
		if c.paused(now) || c.pausedUntil().After(recently) {
			return true
		}
		for _, g := range c.endpoints {
			if g.shut(now) || g.until.After(recently) {
				return true
			}
		}
	}
	return false
}

// spaced tells whether a notification waits as its recipient is left alone for now.
func (s *sender) spaced(channel, id string) bool {
	l := s.lane(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.spacing != nil && l.spacing.waits(id, s.now())
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
	s.atRest()
	s.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// atRest tells who waits for it that nothing is in flight. s.mu is held.
func (s *sender) atRest() {
	for _, l := range s.lanes {
		for _, c := range l.carriers {
			if c.free < c.Workers {
				return
			}
		}
	}
	for _, q := range s.quieters {
		close(q)
	}
	s.quieters = nil
}
