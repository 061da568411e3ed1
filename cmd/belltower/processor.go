package main

import (
	"context"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
	"github.com/belltower/belltower/reminders"
)

// processor shows the process manager to the API: the two don't know each other.
type processor struct{ r *reminders.Reminders }

func (p processor) Start(ctx context.Context, by commands.Caller, interval *int) (eventstore.Position, error) {
	return p.r.Start(ctx, by, interval)
}

func (p processor) Stop(ctx context.Context, by commands.Caller) (eventstore.Position, error) {
	return p.r.Stop(ctx, by)
}

func (p processor) Status(ctx context.Context) (httpapi.ProcessorStatus, error) {
	s, err := p.r.Status(ctx)
	return httpapi.ProcessorStatus(s), err
}

func (p processor) SendDue(ctx context.Context) (httpapi.SendDueResult, error) {
	s, err := p.r.SendDue(ctx)
	return httpapi.SendDueResult(s), err
}

func (p processor) Stats(ctx context.Context) (httpapi.ProcessorStats, error) {
	status, err := p.Status(ctx)
	if err != nil {
		return httpapi.ProcessorStats{}, err
	}
	s, err := p.r.Stats(ctx)
	if err != nil {
		return httpapi.ProcessorStats{}, err
	}
	shown := httpapi.ProcessorStats{
		Processor: status, Conservation: httpapi.Conservation(s.Conservation), Overtaken: int(s.Overtaken),
		Planner: httpapi.PlannerStatus{
			Position: s.Planner.Position, LagSeconds: s.Planner.LagSeconds, Error: s.Planner.Error,
			Planning: make([]httpapi.Planning, len(s.Planner.Planning)),
		},
	}
	for i, e := range s.Planner.Planning {
		shown.Planner.Planning[i] = httpapi.Planning(e)
	}
	for _, c := range s.Channels {
		status := httpapi.ChannelStatus{Name: c.Name, Provider: c.Provider, State: c.State, Reason: c.Reason, Since: c.Since}
		for _, e := range c.Endpoints {
			status.Endpoints = append(status.Endpoints, httpapi.EndpointStatus(e))
		}
		shown.Channels = append(shown.Channels, status)
	}
	return shown, nil
}
