package reminders

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

const (
	// grace is how late something may be before it is a hole.
	grace = time.Minute
	// auditWithin is how long it may take until every event was compared with its notifications.
	auditWithin = time.Hour
	// auditSlice is the least number of events that are compared at once.
	auditSlice = 50
	// maxHoles bounds the holes that are listed.
	maxHoles = 1000
)

// Hole is a notification that is neither final nor on its way, or one that is
// wanted and nowhere: a fault of ours.
type Hole struct {
	NotificationID string
	EventID        string
	What           string
}

// Conservation says that the last state of each wanted notification is final
// once it is due.
type Conservation struct{ Due, Final, InFlight, Holes int }

// auditor checks the conservation of notifications. It shares no rows with the
// sender: it compares the read models, and the streams, with what is wanted.
type auditor struct {
	commands *commands.Handler
	store    eventstore.Store
	models   *projections.Models
	planner  *planner
	kinds    map[string]aggregates.AddressKind
	now      func() time.Time
	logger   *slog.Logger

	mu       sync.Mutex
	running  bool
	since    time.Time // of running
	interval time.Duration
	cursor   string          // of the events that were compared
	overdue  []Hole          // of the last check
	missing  map[string]Hole // found by comparing, until the event is compared again
}

func newAuditor(o Options, p *planner) *auditor {
	return &auditor{
		commands: o.Commands, store: o.Store, models: o.Models, planner: p, kinds: Kinds(o.Channels),
		now: o.Now, logger: o.Logger, interval: time.Second, missing: map[string]Hole{},
	}
}

func (a *auditor) steer(running bool, interval time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if running && !a.running {
		a.since = a.now()
	}
	a.running, a.interval = running, interval
}

// run checks once each check interval until ctx ends.
func (a *auditor) run(ctx context.Context) {
	for {
		a.mu.Lock()
		interval := a.interval
		a.mu.Unlock()
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := a.check(ctx, interval); err != nil && ctx.Err() == nil {
			a.logger.Error("the audit of notifications could not be made", "error", err)
		}
	}
}

// check looks for what is overdue, and compares the next events with their notifications.
func (a *auditor) check(ctx context.Context, interval time.Duration) error {
	if err := a.checkOverdue(ctx); err != nil {
		return err
	}
	return a.compareNext(ctx, interval)
}

// checkOverdue looks for what a minute past its time is neither final nor in
// flight. While the processor is stopped, and a minute from its start on, what
// is due waits by its owner's will.
func (a *auditor) checkOverdue(ctx context.Context) error {
	now := a.now()
	a.mu.Lock()
	waiting := !a.running || now.Sub(a.since) < grace
	a.mu.Unlock()
	var holes []Hole
	if !waiting {
		late, err := a.models.Overdue(ctx, now.Add(-grace), maxHoles)
		if err != nil {
			return fmt.Errorf("look for what is overdue: %w", err)
		}
		for _, n := range late {
			if a.excused(n, now) {
				continue
			}
			holes = append(holes, Hole{NotificationID: n.ID, EventID: n.EventID, What: "overdue, " + n.Status})
		}
	}
	a.mu.Lock()
	a.overdue = holes
	a.mu.Unlock()
	if len(holes) > 0 {
		a.logger.Error("notifications are overdue and neither final nor in flight", "holes", len(holes), "first", holes[0].NotificationID)
	}
	return nil
}

// excused: one that waits for its channel, or is in flight within its claim, is on its way.
func (a *auditor) excused(n projections.Notification, now time.Time) bool {
	return n.NextAttemptTime != nil && n.NextAttemptTime.Add(grace).After(now)
}

// compareNext compares a slice of the events, so that all are compared within an hour.
func (a *auditor) compareNext(ctx context.Context, interval time.Duration) error {
	counts, err := a.models.Counts(ctx)
	if err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	slice := max(auditSlice, int(float64(counts.Events.Total)*interval.Seconds()/auditWithin.Seconds())+1)
	for slice > 0 {
		a.mu.Lock()
		cursor := a.cursor
		a.mu.Unlock()
		page, err := a.models.Events(ctx, projections.EventFilter{}, projections.Page{Limit: min(slice, 200), Cursor: cursor})
		if err != nil {
			return fmt.Errorf("list events: %w", err)
		}
		for _, e := range page.Items {
			if err := a.compare(ctx, e.ID); err != nil {
				return fmt.Errorf("compare event %s with its notifications: %w", e.ID, err)
			}
		}
		a.mu.Lock()
		a.cursor = page.NextCursor
		a.mu.Unlock()
		if slice -= len(page.Items); page.NextCursor == "" {
			return nil
		}
	}
	return nil
}

// compare holds what an event's stream wants against what the notification
// streams hold. What the planner has not come to yet is no hole.
func (a *auditor) compare(ctx context.Context, eventID string) error {
	end, err := a.store.End(ctx)
	if err != nil {
		return err
	}
	type want struct{ id, event string }
	wanted, err := commands.View(ctx, a.commands, commands.EventStream(eventID), func(e *aggregates.Event, _ int64) (ids []want) {
		for p := range e.Participants() {
			for _, w := range Wanted(e, p, a.kinds) {
				ids = append(ids, want{w.NotificationID, e.ID})
			}
		}
		return ids
	})
	if err != nil {
		return err
	}
	planned, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := a.planner.waitFor(planned, end); err != nil {
		return nil // planning goes on; its lag is shown by itself
	}
	found := map[string]Hole{}
	for _, w := range wanted {
		exists, err := commands.View(ctx, a.commands, commands.NotificationStream(w.id), func(n *aggregates.Notification, _ int64) bool { return n.Exists() })
		if err != nil {
			return err
		}
		if !exists {
			found[w.id] = Hole{NotificationID: w.id, EventID: w.event, What: "wanted, and not scheduled"}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, h := range a.missing {
		if h.EventID == eventID {
			delete(a.missing, id)
		}
	}
	for id, h := range found {
		if len(a.missing) < maxHoles {
			a.missing[id] = h
		}
	}
	if len(found) > 0 {
		a.logger.Error("notifications are wanted and nowhere", "event", eventID, "holes", len(found))
	}
	return nil
}

// conservation counts, from the read models, what has become due.
func (a *auditor) conservation(ctx context.Context) (Conservation, error) {
	counts, err := a.models.Counts(ctx)
	if err != nil {
		return Conservation{}, fmt.Errorf("count notifications: %w", err)
	}
	a.mu.Lock()
	overdue, missing := len(a.overdue), len(a.missing)
	a.mu.Unlock()
	status := counts.Notifications.ByStatus
	c := Conservation{Holes: overdue + missing}
	c.Final = status["SENT"] + status["DELIVERED"] + status["FAILED"] + status["CANCELLED"]
	c.InFlight = max(0, status["READY"]+status["SENDING"]-overdue)
	c.Due = c.Final + c.InFlight + c.Holes
	return c, nil
}
