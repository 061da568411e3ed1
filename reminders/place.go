package reminders

import (
	"context"
	"fmt"

	"github.com/belltower/belltower/eventstore"
)

// start gives the place up to which all is planned, after emptying a table that
// can't be gone on with.
func (p *planner) start(ctx context.Context) (eventstore.Position, error) {
	usable, err := p.usable(ctx, p.plansFor())
	if err != nil {
		return eventstore.Start, err
	}
	if !usable {
		p.applying.Lock()
		defer p.applying.Unlock()
		return eventstore.Start, p.table.reset(p.plansFor())
	}
	position, _, err := p.table.mark(markPlanned)
	return position, err
}

// plansFor names the channels, and how they follow on each other; the same for the same ones.
func (p *planner) plansFor() string {
	all := fmt.Sprint(p.kinds) // in the order of their names
	if len(p.fallback.Chain) > 0 {
		all += " " + p.fallback.String()
	}
	return all
}

// usable tells whether the table was made from this log and for these channels.
func (p *planner) usable(ctx context.Context, kinds string) (bool, error) {
	before, err := p.table.meta("channels")
	if err != nil {
		return false, fmt.Errorf("read for which channels was planned: %w", err)
	}
	if before != kinds {
		if before != "" {
			p.logger.Info("other channels are configured than before: all is planned anew", "before", before, "now", kinds)
		}
		return false, nil
	}
	for _, name := range []string{markPlanned, markApplied} {
		position, fact, err := p.table.mark(name)
		if err != nil {
			p.logger.Warn("the planner's table can't be read and is built anew", "error", err)
			return false, nil
		}
		if position == eventstore.Start {
			continue
		}
		r, ok, err := p.store.RecordAt(ctx, position)
		if err != nil {
			return false, fmt.Errorf("look for the planner's place in the log: %w", err)
		}
		if !ok || r.ID != fact {
			p.logger.Warn("the planner's table belongs to another log and is built anew", "position", position.String())
			return false, nil
		}
	}
	return true, nil
}
