package aggregates

import (
	"time"

	"github.com/belltower/belltower/events"
)

const (
	defaultCheckInterval = 30
	maxCheckInterval     = 3600
)

// Processor is what sends. The zero Processor runs: it does from the first
// start of the service until it is stopped.
type Processor struct {
	Stopped              bool
	CheckIntervalSeconds int // 0 until one was given; see Interval
	Changed              Stamp
	ClearedBefore        time.Time // the latest end of what was cleared
}

// Interval is the check interval in seconds.
func (p *Processor) Interval() int {
	if p.CheckIntervalSeconds == 0 {
		return defaultCheckInterval
	}
	return p.CheckIntervalSeconds
}

// Evolve applies f, which happened at at.
func (p *Processor) Evolve(f events.Fact, at Stamp) {
	switch f := f.(type) {
	case events.ProcessorStarted:
		p.Stopped, p.CheckIntervalSeconds = false, f.CheckIntervalSeconds
	case events.ProcessorStopped:
		p.Stopped = true
	case events.NotificationsCleared:
		if f.Before.After(p.ClearedBefore) {
			p.ClearedBefore = f.Before
		}
	default:
		return
	}
	p.Changed = at
}

// Start lets notifications be sent; no interval keeps the present one.
func (p *Processor) Start(interval *int) ([]events.Fact, error) {
	seconds := p.Interval()
	if interval != nil {
		seconds = *interval
	}
	if seconds < 1 || seconds > maxCheckInterval {
		var wrong faults
		wrong.add("check_interval_seconds", "out_of_range", "must be between 1 and 3600")
		return nil, wrong.err()
	}
	if !p.Stopped && seconds == p.Interval() {
		return nil, nil
	}
	return []events.Fact{events.ProcessorStarted{CheckIntervalSeconds: seconds}}, nil
}

// Stop ends sending; planning goes on.
func (p *Processor) Stop() ([]events.Fact, error) {
	if p.Stopped {
		return nil, nil
	}
	return []events.Fact{events.ProcessorStopped{}}, nil
}

// Clear drops the notifications whose state was final before a time.
func (p *Processor) Clear(before time.Time) ([]events.Fact, error) {
	return []events.Fact{events.NotificationsCleared{Before: micros(before)}}, nil
}
