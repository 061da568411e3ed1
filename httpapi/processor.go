package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

// Processor is what sends, as far as the API knows it.
type Processor interface {
	// Start lets notifications be sent; a nil interval keeps the present one.
	Start(ctx context.Context, by commands.Caller, interval *int) (eventstore.Position, error)
	// Stop ends sending, and returns once the sends in flight have finished.
	Stop(ctx context.Context, by commands.Caller) (eventstore.Position, error)
	Status(ctx context.Context) (ProcessorStatus, error)
	// SendDue tries all that are due now, also while the processor is stopped.
	SendDue(ctx context.Context) (SendDueResult, error)
	Stats(ctx context.Context) (ProcessorStats, error)
}

// ProcessorStatus is what GET /v1/processor answers.
type ProcessorStatus struct {
	State                string  `json:"state"` // "running" or "stopped"
	CheckIntervalSeconds int     `json:"check_interval_seconds"`
	Due                  int     `json:"due"`
	OldestDueSeconds     float64 `json:"oldest_due_seconds"`
	InFlight             int     `json:"in_flight"`
}

// SendDueResult is what became of what was due.
type SendDueResult struct {
	Sent     int `json:"sent"`
	Failed   int `json:"failed"`
	StillDue int `json:"still_due"`
}

// ProcessorStats is what the processor adds to GET /v1/stats.
type ProcessorStats struct {
	Processor    ProcessorStatus
	Conservation Conservation
	Planner      PlannerStatus
	Channels     []ChannelStatus
	Overtaken    int // sends that a change was acknowledged during
}

// Conservation is the auditor's account of what was due: a hole is a
// notification that is neither concluded nor under way.
type Conservation struct {
	Due      int `json:"due"`
	Final    int `json:"final"`
	InFlight int `json:"in_flight"`
	Holes    int `json:"holes"`
}

// PlannerStatus tells how far planning is.
type PlannerStatus struct {
	Position   string     `json:"position"`
	LagSeconds float64    `json:"lag_seconds"`
	Error      string     `json:"error,omitempty"` // why it doesn't go on; no personal data
	Planning   []Planning `json:"planning"`
}

// Planning is the progress of an event that takes long to plan.
type Planning struct {
	EventID string `json:"event_id"`
	Done    int    `json:"done"`
	Total   int    `json:"total"`
}

// ChannelStatus is a configured channel, by one who carries it.
type ChannelStatus struct {
	Name      string           `json:"name"`
	Provider  string           `json:"provider"`
	State     string           `json:"state"`            // "ready" or "paused"
	Reason    string           `json:"reason,omitempty"` // why it is paused; no personal data
	Since     *time.Time       `json:"since,omitempty"`
	Endpoints []EndpointStatus `json:"endpoints,omitempty"`
}

// EndpointStatus is a server that is paused while the others of its channel go on.
type EndpointStatus struct {
	Endpoint string    `json:"endpoint"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
}

func (s *server) getProcessor(c *call) (*answer, error) {
	status, err := s.o.Processor.Status(c.Context())
	if err != nil {
		return nil, err
	}
	return ok(status), nil
}

func (s *server) startProcessor(c *call) (*answer, error) {
	b, err := c.optionalBody()
	if err != nil {
		return nil, err
	}
	interval := optional(b, "check_interval_seconds", asInteger)
	if err := b.end(); err != nil {
		return nil, err
	}
	if len(b.said.faults) > 0 {
		return nil, &aggregates.Invalid{Faults: b.said.faults}
	}
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	position, err := s.o.Processor.Start(c.Context(), by, interval)
	return s.processorNow(c, position, err)
}

func (s *server) stopProcessor(c *call) (*answer, error) {
	b, err := c.optionalBody()
	if err != nil {
		return nil, err
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	c.patient() // it waits for the sends in flight
	position, err := s.o.Processor.Stop(c.Context(), by)
	return s.processorNow(c, position, err)
}

func (s *server) processorNow(c *call, written eventstore.Position, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	a, err := s.getProcessor(c)
	if err != nil {
		return nil, err
	}
	a.position = &written
	return a, nil
}

func (s *server) postSendDue(c *call) (*answer, error) {
	b, err := c.optionalBody()
	if err != nil {
		return nil, err
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	c.patient() // it takes as long as the providers do
	result, err := s.o.Processor.SendDue(c.Context())
	if err != nil {
		return nil, err
	}
	// It wrote to as many streams as there were notifications: whoever comes
	// with the end of the log sees them all.
	end, err := s.o.Store.End(c.Context())
	if err != nil {
		return nil, err
	}
	return &answer{status: http.StatusOK, body: result, position: &end}, nil
}
