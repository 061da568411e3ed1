package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

const (
	// sliceSize is how many notifications or participants of one event are planned before the next event's turn.
	sliceSize = 500
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
	// applied hears of each fact of a notification that is in the table, in order.
	applied func(notificationID string, revision int64)
	// tabled is called when the table has changed.
	tabled func()
	// steered is called after a fact of the processor.
	steered func()

	mu       sync.Mutex
	position eventstore.Position
	created  time.Time // of the fact there
	caughtUp bool
	idle     bool // caught up, and nothing is being planned
	planning []Planning
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
		p.update(func() { p.err, p.idle = err, false })
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

// start gives the checkpoint, after emptying a table that belongs to another log.
func (p *planner) start(ctx context.Context) (eventstore.Position, error) {
	position, fact, err := p.table.checkpoint()
	if err == nil && position != eventstore.Start {
		r, ok, readErr := p.store.RecordAt(ctx, position)
		if readErr != nil {
			return position, fmt.Errorf("look for the checkpoint: %w", readErr)
		}
		if ok && r.ID == fact {
			return position, nil
		}
		p.logger.Warn("the planner's table belongs to another log and is built anew", "position", position.String())
	}
	if err != nil || position != eventstore.Start {
		return eventstore.Start, p.table.reset()
	}
	return position, nil
}

func (p *planner) follow(ctx context.Context) error {
	position, err := p.start(ctx)
	if err != nil {
		return err
	}
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
	turn := ""
	for {
		w, working, err := p.table.nextWork(turn)
		if err != nil {
			return fmt.Errorf("read what is to be planned: %w", err)
		}
		p.update(func() { p.idle = p.caughtUp && !working; p.err = nil })
		if working {
			select {
			case b := <-batches:
				err = p.take(ctx, b)
			default:
			}
			if err == nil {
				turn = w.event
				err = p.slice(ctx, w)
			}
		} else {
			select {
			case b := <-batches:
				err = p.take(ctx, b)
			case err = <-failed:
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// touched is what the facts of one batch ask to look at.
type touched struct {
	whole        bool
	participants map[string]bool
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
	wholes, err := p.planTouched(ctx, touch, p.now().Sub(last.Created) > behindAfter)
	if err != nil {
		return err
	}
	err = p.table.change(func() error {
		for _, event := range wholes {
			if err := p.table.addWork(event); err != nil {
				return err
			}
		}
		return p.table.setCheckpoint(last)
	})
	if err != nil {
		return fmt.Errorf("keep the planner's checkpoint: %w", err)
	}
	p.update(func() {
		p.position, p.created = last.Position, last.Created
		p.caughtUp, p.idle = b.CaughtUp, b.CaughtUp && len(wholes) == 0
	})
	return nil
}

// applyFacts brings the table up to the facts and gathers what they touch.
// Applied twice, they change nothing, so the checkpoint may come later.
func (p *planner) applyFacts(ctx context.Context, records []eventstore.Record) (map[string]*touched, error) {
	entries := make([]commands.Entry, len(records))
	for i, r := range records {
		var err error
		if entries[i], err = p.commands.Open(r); err != nil {
			return nil, fmt.Errorf("plan at %s: %w", r.Position, err)
		}
		if f, ok := entries[i].Fact.(events.NotificationRetried); ok {
			// It says nothing of what is to be sent: that stands in its stream.
			if entries[i].Fact, err = p.rescheduled(ctx, f); err != nil {
				return nil, err
			}
		}
	}
	touch, processor := map[string]*touched{}, false
	err := p.table.change(func() error {
		for _, entry := range entries {
			if strings.HasPrefix(entry.Record.Stream, "notification-") && entry.Fact != nil {
				if err := p.table.apply(entry.Fact, entry.Record.Revision); err != nil {
					return err
				}
			}
			processor = processor || entry.Record.Stream == commands.ProcessorStream
			gather(touch, entry.Fact)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keep open notifications: %w", err)
	}
	for _, r := range records {
		if id, ok := strings.CutPrefix(r.Stream, "notification-"); ok {
			p.applied(id, r.Revision)
		}
	}
	p.tabled()
	if processor {
		p.steered()
	}
	return touch, nil
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

// gather notes what a fact asks to look at. A fact says only where to look:
// what is wanted is read from the event's stream as it is then.
func gather(touch map[string]*touched, f events.Fact) {
	look := func(event, participant string) {
		t := touch[event]
		if t == nil {
			t = &touched{participants: map[string]bool{}}
			touch[event] = t
		}
		if participant == "" {
			t.whole = true
		} else {
			t.participants[participant] = true
		}
	}
	switch f := f.(type) {
	case events.EventRescheduled:
		look(f.EventID, "")
	case events.EventCapacityChanged:
		look(f.EventID, "")
	case events.EventCancelled:
		look(f.EventID, "")
	case events.EventDeleted:
		look(f.EventID, "")
	case events.ReminderAdded:
		look(f.EventID, "")
	case events.ReminderRemoved:
		look(f.EventID, "")
	case events.AnnouncementMade:
		look(f.EventID, "")
	case events.ParticipantRegistered:
		look(f.EventID, f.ParticipantID)
	case events.ParticipantContactChanged:
		look(f.EventID, f.ParticipantID)
	case events.ParticipantResponded:
		look(f.EventID, f.ParticipantID)
	case events.ParticipantPromoted:
		look(f.EventID, f.ParticipantID)
	case events.ParticipantRemoved:
		look(f.EventID, f.ParticipantID)
	case events.NotificationScheduled:
		// Whoever scheduled it may have done so on an older state of the event.
		look(f.EventID, f.ParticipantID)
	}
}

// planTouched plans the participants that were touched, and gives the events
// that are to be planned as a whole.
func (p *planner) planTouched(ctx context.Context, touch map[string]*touched, behind bool) (wholes []string, err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for event, t := range touch {
		if t.whole || behind {
			wholes = append(wholes, event)
			continue
		}
		for participant := range t.participants {
			group.Go(func() error { return p.planOne(groupCtx, event, participant) })
		}
	}
	return wholes, group.Wait()
}

// planOne plans one participant.
func (p *planner) planOne(ctx context.Context, event, participant string) error {
	type seen struct {
		wanted  []events.NotificationScheduled
		reason  string
		promote bool
	}
	now, err := commands.View(ctx, p.commands, commands.EventStream(event), func(e *aggregates.Event, _ int64) seen {
		who, _ := e.Participant(participant)
		return seen{Wanted(e, who, p.kinds), whyNot(e, who), canPromote(e)}
	})
	if err != nil {
		return err
	}
	open, err := p.table.openOf(ctx, event, participant)
	if err != nil {
		return fmt.Errorf("read what is open: %w", err)
	}
	schedule, cancel := Plan(now.wanted, open, now.reason)
	for _, c := range cancel {
		if err := p.do(ctx, c); err != nil {
			return err
		}
	}
	for _, c := range schedule {
		if err := p.do(ctx, c); err != nil {
			return err
		}
	}
	if now.promote {
		return p.promote(ctx, event)
	}
	return nil
}

func canPromote(e *aggregates.Event) bool {
	return e.Exists() && e.WaitingCount() > 0 && (e.Capacity == 0 || e.ConfirmedCount() < e.Capacity)
}

// promote gives away seats that are still free after a write was full.
func (p *planner) promote(ctx context.Context, event string) error {
	for {
		answer, err := commands.Do(ctx, p.commands, commands.PromoteWaiting{EventID: event}, system(event), nothing[*aggregates.Event])
		if errors.Is(err, aggregates.ErrEventNotFound) {
			return nil
		}
		if err != nil || answer.Appended == 0 {
			return err
		}
	}
}

func (p *planner) do(ctx context.Context, c commands.Command[*aggregates.Notification]) error {
	_, err := commands.Do(ctx, p.commands, c, system(strings.TrimPrefix(c.Stream(), "notification-")), nothing[*aggregates.Notification])
	return err
}

// system is the caller of what Belltower does by itself.
func system(about string) commands.Caller {
	return commands.Caller{Actor: "belltower", CorrelationID: about, CausationID: about}
}

func nothing[S any](S, time.Time) struct{} { return struct{}{} }

// slice does the next part of the work on one event.
func (p *planner) slice(ctx context.Context, w work) error {
	var finished bool
	var err error
	if !w.checked {
		err = p.checkSlice(ctx, &w)
	} else {
		finished, err = p.rosterSlice(ctx, &w)
	}
	if err != nil {
		return err
	}
	if err := p.table.change(func() error { return p.table.advance(w, finished) }); err != nil {
		return fmt.Errorf("keep what is planned: %w", err)
	}
	return nil
}

// checkSlice cancels what is scheduled and no longer wanted.
func (p *planner) checkSlice(ctx context.Context, w *work) error {
	rows, err := p.table.openAfter(ctx, *w, sliceSize)
	if err != nil {
		return fmt.Errorf("read what is open: %w", err)
	}
	if len(rows) == 0 {
		w.checked = true
		return nil
	}
	cancel, err := commands.View(ctx, p.commands, commands.EventStream(w.event), func(e *aggregates.Event, _ int64) (cancel []commands.CancelNotification) {
		for _, r := range rows {
			who, _ := e.Participant(r.Participant)
			_, unwanted := Plan(Wanted(e, who, p.kinds), []Open{{NotificationID: r.ID, ParticipantID: r.Participant}}, whyNot(e, who))
			cancel = append(cancel, unwanted...)
		}
		return cancel
	})
	if err != nil {
		return err
	}
	last := rows[len(rows)-1]
	w.participant, w.notification, w.checked = last.Participant, last.ID, len(rows) < sliceSize
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, c := range cancel {
		group.Go(func() error { return p.do(groupCtx, c) })
	}
	return group.Wait()
}

// rosterSlice schedules what is wanted and not scheduled yet.
func (p *planner) rosterSlice(ctx context.Context, w *work) (finished bool, err error) {
	type seen struct {
		ids     []string
		next    int
		total   int
		promote bool
	}
	now, err := commands.View(ctx, p.commands, commands.EventStream(w.event), func(e *aggregates.Event, _ int64) seen {
		s := seen{total: e.ParticipantCount(), promote: canPromote(e)}
		for who := range e.Participants() {
			if who.Ordinal < w.ordinal {
				continue
			}
			if len(s.ids) == sliceSize {
				break
			}
			s.ids, s.next = append(s.ids, who.ID), who.Ordinal+1
		}
		return s
	})
	if err != nil {
		return false, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, id := range now.ids {
		group.Go(func() error { return p.planOne(groupCtx, w.event, id) })
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	if finished = len(now.ids) < sliceSize; finished {
		p.progress(w.event, 0, 0, true)
		if now.promote {
			return true, p.promote(ctx, w.event)
		}
		return true, nil
	}
	w.ordinal = now.next
	p.progress(w.event, now.next, now.total, false)
	return false, nil
}

func (p *planner) progress(event string, done, total int, finished bool) {
	p.update(func() {
		kept := make([]Planning, 0, len(p.planning)+1)
		for _, q := range p.planning {
			if q.EventID != event {
				kept = append(kept, q)
			}
		}
		if !finished {
			kept = append(kept, Planning{EventID: event, Done: min(done, total), Total: total})
		}
		p.planning = kept
	})
}

func (p *planner) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// waitFor waits until all that follows from the log up to position is planned.
func (p *planner) waitFor(ctx context.Context, position eventstore.Position) error {
	for {
		p.mu.Lock()
		there, changed := p.idle && !p.position.Before(position), p.changed
		p.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
