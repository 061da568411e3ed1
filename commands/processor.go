package commands

import (
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// StartProcessor lets notifications be sent; a nil interval keeps the present one.
type StartProcessor struct{ CheckIntervalSeconds *int }

// StopProcessor ends sending until the next start.
type StopProcessor struct{}

// ClearNotifications drops the notifications that were final before Before.
type ClearNotifications struct{ Before time.Time }

func (StartProcessor) Stream() string     { return ProcessorStream }
func (StopProcessor) Stream() string      { return ProcessorStream }
func (ClearNotifications) Stream() string { return ProcessorStream }

func (c StartProcessor) Decide(p *aggregates.Processor, _ aggregates.Now) ([]events.Fact, error) {
	return p.Start(c.CheckIntervalSeconds)
}

func (StopProcessor) Decide(p *aggregates.Processor, _ aggregates.Now) ([]events.Fact, error) {
	return p.Stop()
}

func (c ClearNotifications) Decide(p *aggregates.Processor, _ aggregates.Now) ([]events.Fact, error) {
	return p.Clear(c.Before)
}
