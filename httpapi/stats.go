package httpapi

import (
	"github.com/belltower/belltower/projections"
)

// stats is what GET /v1/stats answers.
type stats struct {
	projections.Counts
	Processor    ProcessorStatus  `json:"processor"`
	Conservation Conservation     `json:"conservation"`
	Overtaken    int              `json:"overtaken"`
	Planner      PlannerStatus    `json:"planner"`
	Channels     []ChannelStatus  `json:"channels"`
	Store        storeStats       `json:"store"`
	Projections  []projectionStat `json:"projections"`
	TimeZones    TimeZones        `json:"time_zones"`
}

// TimeZones says which time zone database is in force.
type TimeZones struct {
	Version string `json:"version"` // such as 2025c, or "unknown"
	Source  string `json:"source"`  // a path, or "linked in"
}

type storeStats struct {
	Position string `json:"position"`
	Events   int64  `json:"events"` // facts that the read models have seen
}

type projectionStat struct {
	Name       string  `json:"name"`
	Position   string  `json:"position"`
	LagSeconds float64 `json:"lag_seconds"`
	Error      string  `json:"error,omitempty"` // why it doesn't go on
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *server) getStats(c *call) (*answer, error) {
	counts, err := s.o.Models.Counts(c.Context())
	if err != nil {
		return nil, err
	}
	p, err := s.o.Processor.Stats(c.Context())
	if err != nil {
		return nil, err
	}
	end, err := s.o.Store.End(c.Context())
	if err != nil {
		return nil, err
	}
	if p.Planner.Planning == nil {
		p.Planner.Planning = []Planning{}
	}
	if p.Channels == nil {
		p.Channels = []ChannelStatus{}
	}
	models := s.o.Models.Status()
	return ok(stats{
		Counts:    counts,
		Processor: p.Processor, Conservation: p.Conservation, Overtaken: p.Overtaken,
		Planner: p.Planner, Channels: p.Channels,
		// Stores don't count; the read models, which read everything, do.
		Store: storeStats{Position: end.String(), Events: models.Facts},
		Projections: []projectionStat{
			{Name: "read_models", Position: models.Position.String(), LagSeconds: models.Lag.Seconds(), Error: errorText(models.Err)},
			{Name: "planner", Position: p.Planner.Position, LagSeconds: p.Planner.LagSeconds},
		},
		TimeZones: s.o.TimeZones,
	}), nil
}
