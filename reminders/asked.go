package reminders

import (
	"context"

	"github.com/belltower/belltower/eventstore"
)

// asked numbers when an event was asked to be planned as a whole: the first
// time that the pass under way answers, and the first since it began (0: none).
type asked struct{ now, again int }

// resume goes on with the events that the table names. p.mu is held.
func (p *planner) resume(left []string) {
	before := p.whole
	p.whole, p.planning = map[string]asked{}, nil
	for _, event := range left {
		if a, ok := before[event]; ok {
			p.whole[event] = a
		} else {
			p.ask([]string{event})
		}
	}
	p.takenUp = p.asked
}

// ask notes that events are to be planned as a whole. p.mu is held.
func (p *planner) ask(events []string) {
	for _, event := range events {
		p.asked++
		a := p.whole[event]
		if a.now == 0 {
			a.now = p.asked
		} else if a.again == 0 {
			a.again = p.asked
		}
		p.whole[event] = a
	}
}

// planned notes that an event was planned as a whole.
func (p *planner) planned(event string) {
	p.update(func() {
		if a := p.whole[event]; a.again > 0 {
			p.whole[event] = asked{now: a.again}
		} else {
			delete(p.whole, event)
		}
	})
}

// waitFor waits until all that follows from the log up to position is planned,
// by this instance or the one that leads. What comes meanwhile is not waited for.
func (p *planner) waitFor(ctx context.Context, position eventstore.Position) error {
	upTo := 0 // of those asked to be planned as a whole; 0: position is still ahead
	for {
		var elsewhere <-chan struct{}
		planned := true
		if p.leader != nil {
			elsewhere = p.leader.Changed()
			planned = !p.leader.Planned().Before(position)
		}
		p.mu.Lock()
		changed := p.changed
		if upTo == 0 && !p.position.Before(position) {
			upTo = p.asked + 1
		}
		if upTo > 0 {
			upTo = max(upTo, p.takenUp+1)
		}
		there := upTo > 0
		for event, a := range p.whole {
			_, isAside := p.aside[event]
			there = there && (a.now >= upTo || isAside)
		}
		there = there && (p.leads || planned)
		p.mu.Unlock()
		if there {
			return nil
		}
		select {
		case p.hurry <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-elsewhere:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
