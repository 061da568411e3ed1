package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

const (
	// sliceSize is how many notifications or participants of one event are planned
	// before the next event's turn: as many as share a sync.
	sliceSize = 64
	// abreast is how many events are planned as a whole at once.
	abreast = 32
	// together is how many commands wait at once, so that they share a sync.
	together = 64
	// behindAfter is the age of a fact from which on participants are not planned
	// one by one: each event that is touched is planned once at the end.
	behindAfter = 10 * time.Second
	// gatherFor is how long facts of attempts, and those that ask for nothing, gather before they are
	// planned where they come thick, while nobody waits for that: a claim and what became of it are one
	// change of the table then.
	gatherFor = 100 * time.Millisecond
)

// planner follows the log and keeps what is scheduled equal to what is wanted.
type planner struct {
	commands *commands.Handler
	store    eventstore.Store
	table    *table
	kinds    map[string]aggregates.AddressKind
	fallback Fallback
	now      func() time.Time
	logger   *slog.Logger
	// applied hears up to where the table shows the notifications, whenever that changes.
	applied func(eventstore.Position)
	// steered is called after a fact of the processor.
	steered func()
	// untold is called after a fact that tells of an attempt that it was sent, and not what.
	untold func(ctx context.Context, id string, attempt int)
	hurry  chan struct{} // holds one: somebody waits for what is not planned yet
	leader Leader        // nil: this instance plans
	// applying is held while facts are applied to the table.
	applying sync.Mutex

	mu       sync.Mutex
	position eventstore.Position
	created  time.Time // of the fact there
	caughtUp bool
	asked    int              // how often an event was asked to be planned as a whole
	takenUp  int              // asked, when this instance last took up what was left: that was to be planned before
	whole    map[string]asked // those not yet done
	planning []Planning
	leads    bool             // this instance plans
	aside    map[string]aside // events that can't be planned now
	err      error
	changed  chan struct{} // closed when the fields above change
}

// Planning is an event that is being planned as a whole.
type Planning struct {
	EventID string `json:"event_id"`
	Done    int    `json:"done"`
	Total   int    `json:"total"` // participants
}

// run plans until ctx ends. What goes wrong is shown and tried again.
func (p *planner) run(ctx context.Context) {
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := p.now()
		err := p.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errLeft) {
			continue
		}
		p.update(func() { p.err, p.caughtUp = err, false })
		p.logger.Error("planning stopped and goes on in a moment", "error", err)
		if wait = min(2*wait, 5*time.Second); p.now().Sub(began) > time.Minute {
			wait = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (p *planner) follow(ctx context.Context) error {
	shared := p.table.shared()
	if shared {
		if err := p.await(ctx); err != nil {
			return err
		}
		if err := p.table.lead(); err != nil {
			return fmt.Errorf("take over the planner's table: %w", err)
		}
	}
	position, err := p.start(ctx)
	if err != nil {
		return err
	}
	if !p.leads && !shared {
		if err := p.putDown(); err != nil {
			return fmt.Errorf("put off what is to be planned: %w", err)
		}
	}
	left, err := p.table.allWork()
	if err != nil {
		return fmt.Errorf("read what is to be planned: %w", err)
	}
	p.update(func() {
		p.position, p.caughtUp = position, false
		p.leads = p.leads || shared
		p.resume(left)
	})
	subscription, err := p.store.Subscribe(ctx, position)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	batches, failed, end := p.pump(ctx, &eventstore.Paced{Subscription: subscription, Pause: gatherFor, Gathers: gathers, Hurry: p.hurry})
	defer end()
	return p.goOn(ctx, batches, failed)
}

// goOn plans what comes and what is to be planned as a whole, until ctx ends.
func (p *planner) goOn(ctx context.Context, batches <-chan eventstore.Batch, failed <-chan error) error {
	ctx, stop := context.WithCancel(ctx)
	var large beside
	defer func() {
		stop()
		_ = large.wait() // what it came to is begun with again
	}()
	for next := ""; ; {
		if err := large.look(); err != nil {
			return err
		}
		turned, err := p.turn(&large)
		if err != nil {
			return fmt.Errorf("keep who plans: %w", err)
		}
		most := abreast + len(large.large) + p.asides()
		works, err := p.table.nextWork(next, most)
		if err != nil {
			return fmt.Errorf("read what is to be planned: %w", err)
		}
		all := len(works) < most
		if len(works) > 0 {
			next = works[len(works)-1].event
		}
		works, again := p.notAside(works)
		fresh, begun := large.part(works, all)
		took := false
		select {
		case b := <-batches:
			took, err = true, p.take(ctx, b)
		default:
		}
		if err == nil && len(begun) > 0 && large.may(took) {
			large.begin(begun, func(works []work) error { return p.slices(ctx, works) })
		}
		switch {
		case err != nil:
		case len(fresh) > 0:
			err = p.slices(ctx, fresh)
		case took || !all:
		default:
			select {
			case b := <-batches:
				err = p.take(ctx, b)
			case err = <-failed:
			case err = <-large.done:
				err = large.ended(err)
			case <-again:
			case <-turned:
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return err
		}
		p.update(func() { p.err = nil })
	}
}

// pump reads a subscription ahead, until end is called, which closes it.
func (p *planner) pump(ctx context.Context, from eventstore.Subscription) (batches <-chan eventstore.Batch, failed <-chan error, end func()) {
	ctx, stop := context.WithCancel(ctx)
	read, broken, pumped := make(chan eventstore.Batch), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(pumped)
		for {
			b, err := from.Next(ctx)
			if err != nil {
				broken <- err
				return
			}
			select {
			case read <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	return read, broken, func() {
		stop()
		<-pumped
		if err := from.Close(); err != nil {
			p.logger.Warn("close the planner's subscription", "error", err)
		}
	}
}

// take plans what a batch touches and moves the checkpoint.
func (p *planner) take(ctx context.Context, b eventstore.Batch) error {
	if len(b.Records) == 0 {
		p.update(func() { p.caughtUp = p.caughtUp || b.CaughtUp })
		return nil
	}
	last := b.Records[len(b.Records)-1]
	touch, err := p.applyFacts(ctx, b.Records)
	if err != nil {
		return err
	}
	if !p.leads {
		if err := p.putOff(touch, b); err != nil {
			return fmt.Errorf("keep what is to be planned: %w", err)
		}
		return nil
	}
	wholes, err := p.planTouched(ctx, touch, p.now().Sub(last.Created) > behindAfter)
	if err != nil {
		return err
	}
	err = p.table.change(func(c change) error {
		for _, event := range wholes {
			if err := c.addWork(event); err != nil {
				return err
			}
		}
		return c.setMark(markPlanned, last)
	})
	if err != nil {
		return fmt.Errorf("keep the planner's checkpoint: %w", err)
	}
	p.update(func() {
		p.position, p.created, p.caughtUp = last.Position, last.Created, b.CaughtUp
		p.ask(wholes)
	})
	return nil
}

func (p *planner) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
	if p.leader != nil && p.leads && len(p.whole) == 0 {
		p.leader.Tell(p.position)
	}
}
