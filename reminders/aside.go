package reminders

import (
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// aside is an event that is left alone for a while, as it can't be read.
type aside struct {
	until time.Time
	err   error
}

// unreadable tells whether one stream is in the way, which holds up no other:
// it is damaged, or a newer version wrote to it.
func unreadable(err error) bool {
	return errors.Is(err, eventstore.ErrCorrupt) || errors.Is(err, events.ErrNewerFact)
}

// setAside leaves an event alone for a while. Any other error than that it
// can't be read is given back.
func (p *planner) setAside(event string, err error) error {
	if !unreadable(err) {
		return err
	}
	p.logger.Error("an event can't be planned and is tried again", "event", event, "error", err)
	p.update(func() {
		p.aside[event] = aside{until: p.now().Add(lastingPause), err: fmt.Errorf("event %s: %w", event, err)}
	})
	return nil
}

// asides is how many events are left alone.
func (p *planner) asides() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.aside)
}

// notAside gives the works that can be tried now; again says when to look anew,
// nil where nothing is left alone.
func (p *planner) notAside(works []work) (ready []work, again <-chan time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.aside) == 0 {
		return works, nil
	}
	for _, w := range works {
		if now := p.now(); !now.Before(p.aside[w.event].until) {
			ready = append(ready, w)
		}
	}
	return ready, time.After(refusedPause)
}
