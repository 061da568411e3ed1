package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
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
)

// planner follows the log and keeps what is scheduled equal to what is wanted.
type planner struct {
	commands *commands.Handler
	store    eventstore.Store
	table    *table
	kinds    map[string]aggregates.AddressKind
	now      func() time.Time
	logger   *slog.Logger
	// applied hears up to where the table shows the notifications, whenever that changes.
	applied func(eventstore.Position)
	// steered is called after a fact of the processor.
	steered func()
	leader  Leader // nil: this instance plans
	// applying is held while facts are applied to the table.
	applying sync.Mutex

	mu       sync.Mutex
	position eventstore.Position
	created  time.Time // of the fact there
	caughtUp bool
	asked    int              // how often an event was asked to be planned as a whole
	whole    map[string]asked // those not yet done
	planning []Planning
	leads    bool             // this instance plans
	aside    map[string]aside // events that can't be planned now
	err      error
	changed  chan struct{} // closed when the fields above change
}

// asked numbers when an event was asked to be planned as a whole: the first
// time that the pass under way answers, and the first since it began (0: none).
type asked struct{ now, again int }

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

// start gives the place up to which all is planned, after emptying a table that
// can't be gone on with.
func (p *planner) start(ctx context.Context) (eventstore.Position, error) {
	kinds := fmt.Sprint(p.kinds) // in the order of their names
	usable, err := p.usable(ctx, kinds)
	if err != nil {
		return eventstore.Start, err
	}
	if !usable {
		p.applying.Lock()
		defer p.applying.Unlock()
		return eventstore.Start, p.table.reset(kinds)
	}
	position, _, err := p.table.mark(markPlanned)
	return position, err
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
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	subscription, err := p.store.Subscribe(ctx, position)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	batches, failed := make(chan eventstore.Batch), make(chan error, 1)
	pumped := make(chan struct{})
	defer func() {
		stop()
		<-pumped
		if err := subscription.Close(); err != nil {
			p.logger.Warn("close the planner's subscription", "error", err)
		}
	}()
	go func() {
		defer close(pumped)
		for {
			b, err := subscription.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	next := ""
	var turn turn
	for {
		turned, err := p.turn()
		if err != nil {
			return fmt.Errorf("keep who plans: %w", err)
		}
		works, err := p.table.nextWork(next, abreast)
		if err != nil {
			return fmt.Errorf("read what is to be planned: %w", err)
		}
		if len(works) > 0 {
			next = works[len(works)-1].event
		}
		works, again := p.notAside(works)
		if len(works) > 0 {
			select {
			case b := <-batches:
				err = p.take(ctx, b)
			default:
			}
			if err == nil {
				err = p.slices(ctx, turn.next(works))
			}
		} else {
			select {
			case b := <-batches:
				err = p.take(ctx, b)
			case err = <-failed:
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

// applyFacts brings the table up to the facts and gathers what they touch.
// Applied twice, they change nothing, so the checkpoint may come later.
func (p *planner) applyFacts(ctx context.Context, records []eventstore.Record) (touches, error) {
	entries := make([]commands.Entry, len(records))
	for i, r := range records {
		var err error
		if entries[i], err = p.open(ctx, r); err != nil {
			return nil, err
		}
	}
	touch, unknown, err := p.fold(ctx, entries)
	if err != nil {
		return nil, err
	}
	last := records[len(records)-1].Position
	p.applied(last)
	if slices.ContainsFunc(entries, func(e commands.Entry) bool { return e.Record.Stream == commands.ProcessorStream }) {
		p.steered()
	}
	for _, id := range unknown {
		n, err := commands.View(ctx, p.commands, commands.NotificationStream(id), func(n *aggregates.Notification, _ int64) aggregates.Notification { return *n })
		if unreadable(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		touch.look(n.EventID, n.ParticipantID)
	}
	return touch, nil
}

// fold folds facts into the table, and tells what they touch: unknown are the
// notifications of which only their streams tell to whom they go.
func (p *planner) fold(ctx context.Context, entries []commands.Entry) (touch touches, unknown []string, err error) {
	p.applying.Lock()
	defer p.applying.Unlock()
	open, err := p.table.foldingOf(ctx, entries)
	if err != nil {
		return nil, nil, fmt.Errorf("read open notifications: %w", err)
	}
	touch = touches{}
	for _, entry := range entries {
		if id, ok := loosened(entry.Fact); ok {
			if event, participant := open.whose(id); participant != "" {
				touch.look(event, participant)
			} else {
				unknown = append(unknown, id)
			}
		}
		open.apply(entry.Fact, entry.Record.Revision)
		gather(touch, entry.Fact)
	}
	put, remove := open.outcome()
	err = p.table.change(func(c change) error {
		if err := c.keep(put, remove); err != nil {
			return err
		}
		return c.setMark(markApplied, entries[len(entries)-1].Record)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("keep open notifications: %w", err)
	}
	return touch, unknown, nil
}

// open decodes a record. Of a retry it gives what that makes of the notification;
// no fact where that is over already.
func (p *planner) open(ctx context.Context, r eventstore.Record) (commands.Entry, error) {
	entry, err := p.commands.Open(r)
	if err != nil {
		return commands.Entry{}, fmt.Errorf("plan at %s: %w", r.Position, err)
	}
	if f, ok := entry.Fact.(events.NotificationRetried); ok {
		// It says nothing of what is to be sent: that stands in its stream.
		if entry.Fact, err = p.rescheduled(ctx, f); err != nil && !unreadable(err) {
			return commands.Entry{}, err
		}
	}
	return entry, nil
}

// rescheduled gives what a retry makes of a notification, nil where that is over already.
func (p *planner) rescheduled(ctx context.Context, f events.NotificationRetried) (events.Fact, error) {
	return commands.View(ctx, p.commands, commands.NotificationStream(f.NotificationID), func(n *aggregates.Notification, _ int64) events.Fact {
		if n.Final() {
			return nil
		}
		return events.NotificationScheduled{
			NotificationID: n.ID, EventID: n.EventID, ParticipantID: n.ParticipantID, ReminderID: n.ReminderID,
			AnnouncementID: n.AnnouncementID, Channel: n.Channel, ScheduledTime: n.ScheduledTime, Expires: n.Expires,
		}
	})
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
		case <-changed:
		case <-elsewhere:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
