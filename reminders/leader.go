package reminders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// Leader tells which of several instances on one store plans and sends. The
// others keep their tables up to date, so that any of them can take over.
type Leader interface {
	// Leads tells whether this instance plans and sends now.
	Leads() bool
	// Planned is the position up to which whoever leads has planned all.
	Planned() eventstore.Position
	// Tell notes up to where this instance, which leads, has planned all.
	Tell(eventstore.Position)
	// Changed is closed when Leads or Planned change after the call.
	Changed() <-chan struct{}
}

// leads tells whether an instance plans and sends.
func leads(l Leader) func() bool {
	if l == nil {
		return func() bool { return true }
	}
	return l.Leads
}

// heed passes on when leading begins and ends.
func (r *Reminders) heed(ctx context.Context) {
	for led := false; ; {
		changed := r.o.Leader.Changed()
		if leads := r.o.Leader.Leads(); leads != led {
			led = leads
			r.steerOrLater(ctx)
		}
		select {
		case <-changed:
		case <-time.After(time.Second): // a lease that runs out tells nobody at once
		case <-ctx.Done():
			return
		}
	}
}

// quietPause is between looks for what other instances send.
const quietPause = 50 * time.Millisecond

// quietElsewhere waits until other instances have heard of what stands at a
// position, and send nothing any more.
func (r *Reminders) quietElsewhere(ctx context.Context, position eventstore.Position) error {
	if r.o.Leader == nil {
		return nil
	}
	if err := r.planner.waitFor(ctx, position); err != nil {
		return err
	}
	for {
		claimed, err := r.table.claims()
		if err != nil || claimed == 0 {
			return err
		}
		select {
		case <-time.After(quietPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// turn takes note of whether this instance plans. What it had still to plan is
// left to whoever leads; what that one has not planned, as far as it has told,
// is planned when leading begins.
func (p *planner) turn(b *beside) (<-chan struct{}, error) {
	if p.leader == nil {
		return nil, nil
	}
	changed, leads := p.leader.Changed(), p.leader.Leads()
	if leads != p.leads { // nothing is to be planned by who doesn't lead any more
		if err := b.wait(); err != nil {
			return nil, err
		}
	}
	switch {
	case p.table.shared() && leads:
	case p.table.shared():
		p.leave()
		return nil, errLeft
	case leads && !p.leads:
		events, err := p.table.takeUp(p.leader.Planned())
		if err != nil {
			return nil, err
		}
		p.update(func() {
			p.leads = true
			p.ask(events)
			p.takenUp = p.asked
		})
	case !leads && p.leads:
		if err := p.putDown(); err != nil {
			return nil, err
		}
	case !leads:
		if err := p.table.change(func(c change) error { return c.forgetPutOff(p.leader.Planned()) }); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// errLeft says that another leads now, and goes on with the table that is shared.
var errLeft = errors.New("another instance leads")

// lookEvery is how often an instance that doesn't lead looks how far a table is
// that is shared.
const lookEvery = time.Second

// await waits until this instance leads, where another keeps the table that they
// share. Until then the table is only read.
func (p *planner) await(ctx context.Context) error {
	for p.leader != nil {
		changed := p.leader.Changed()
		if p.leader.Leads() {
			return nil
		}
		p.leave()
		planned, _, err := p.table.mark(markPlanned)
		if err != nil {
			return fmt.Errorf("look how far the planner's table is: %w", err)
		}
		applied, _, err := p.table.mark(markApplied)
		if err != nil {
			return fmt.Errorf("look how far the planner's table is: %w", err)
		}
		p.update(func() { p.position, p.created, p.err = planned, time.Time{}, nil })
		p.applied(applied)
		select {
		case <-changed:
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave leaves the table that is shared to whoever leads next, with what is still to
// be planned.
func (p *planner) leave() {
	p.update(func() { p.leads, p.whole, p.planning = false, map[string]asked{}, nil })
}

// putDown puts off all that is to be planned.
func (p *planner) putDown() error {
	if err := p.table.putDown(); err != nil {
		return err
	}
	p.update(func() { p.leads, p.whole, p.planning = false, map[string]asked{}, nil })
	return nil
}

// putOff notes what a batch touches, for when this instance leads, and moves the
// checkpoint.
func (p *planner) putOff(touch touches, b eventstore.Batch) error {
	last := b.Records[len(b.Records)-1]
	err := p.table.change(func(c change) error {
		for event := range touch {
			if err := c.putOff(event, last.Position); err != nil {
				return err
			}
		}
		if err := c.forgetPutOff(p.leader.Planned()); err != nil {
			return err
		}
		return c.setMark(markPlanned, last)
	})
	if err != nil {
		return err
	}
	p.update(func() { p.position, p.created, p.caughtUp = last.Position, last.Created, b.CaughtUp })
	return nil
}
