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
	// auditEvery is how long a check waits for the next at most.
	auditEvery = 30 * time.Second
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
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	What           string `json:"what"`
}

// Conservation says that the last state of each wanted notification is final
// once it is due.
type Conservation struct{ Due, Final, InFlight, Holes int }

// auditor checks the conservation of notifications. It takes nothing from the
// sender's word: it compares the read models, the streams, and the rows that the
// sender goes by, with what is wanted.
type auditor struct {
	commands *commands.Handler
	store    eventstore.Store
	models   *projections.Models
	planner  *planner
	paused   func(channel string) bool
	comesTo  func(channel string, due time.Time) bool
	spaced   func(channel, id string) bool
	leads    func() bool // this instance plans and sends, and so knows what is on its way
	kinds    map[string]aggregates.AddressKind
	fallback Fallback
	now      func() time.Time
	logger   *slog.Logger

	steered chan struct{} // the interval is another

	mu       sync.Mutex
	running  bool
	since    time.Time // of running, or of the clock's last jump ahead
	wall     time.Time // of the last check, or the start, by the clock that may be set
	checked  time.Time // the same by one that can't
	interval time.Duration
	cursor   string          // of the events that were compared
	overdue  []Hole          // of the last check
	missing  map[string]Hole // found by comparing
}

func newAuditor(o Options, p *planner, s *sender) *auditor {
	return &auditor{
		commands: o.Commands, store: o.Store, models: o.Models, planner: p,
		paused: s.pausedOn, comesTo: s.comesTo, spaced: s.spaced, leads: leads(o.Leader), kinds: Kinds(o.Channels), fallback: o.Fallback,
		now: o.Now, logger: o.Logger, interval: time.Second, steered: make(chan struct{}, 1), missing: map[string]Hole{},
		wall: o.Now().Round(0), checked: time.Now(),
	}
}

func (a *auditor) steer(running bool, interval time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if running && !a.running {
		a.since = a.now()
	}
	a.running, a.interval = running, min(interval, auditEvery)
	select {
	case a.steered <- struct{}{}:
	default:
	}
}

// run checks once each check interval until ctx ends.
func (a *auditor) run(ctx context.Context) {
	for a.models != nil {
		a.mu.Lock()
		interval := a.interval
		a.mu.Unlock()
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.steered:
			timer.Stop()
			continue
		case <-timer.C:
		}
		if !a.leads() {
			continue
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
	if err := a.recheckMissing(ctx); err != nil {
		return err
	}
	return a.compareNext(ctx, interval)
}

// checkOverdue looks for what a minute past its time is neither final nor in
// flight. While the processor is stopped, what is due waits by its owner's will;
// from its start, or a jump of the clock, it has a minute.
func (a *auditor) checkOverdue(ctx context.Context) error {
	now := a.now()
	wall, checked := now.Round(0), time.Now() // without and with a monotonic reading
	a.mu.Lock()
	if wall.Sub(a.wall)-checked.Sub(a.checked) > grace/2 {
		a.since = now
	}
	a.wall, a.checked = wall, checked
	waiting := !a.running || now.Sub(a.since) < grace
	a.mu.Unlock()
	var holes []Hole
	if !waiting {
		late, err := a.models.Overdue(ctx, now.Add(-grace), maxHoles)
		if err != nil {
			return fmt.Errorf("look for what is overdue: %w", err)
		}
		for _, n := range late {
			excused, err := a.excused(ctx, n, now)
			if err != nil {
				return err
			}
			if excused {
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

// excused looks at the stream of one that the read models show as overdue, as
// they may be behind. One that waits for its channel, or for others that were due
// before it, or is in flight within its claim, is on its way.
func (a *auditor) excused(ctx context.Context, late projections.Notification, now time.Time) (bool, error) {
	n, err := a.notification(ctx, late.ID)
	if err != nil {
		return false, fmt.Errorf("look at notification %s: %w", late.ID, err)
	}
	switch n.Status {
	case aggregates.NotificationPending:
		due := latest(n.ScheduledTime, n.NextAttempt)
		if due.Add(grace).After(now) {
			return true, nil
		} else if now.After(n.Expires.Add(grace)) {
			return false, nil
		} else if a.paused(n.Channel) || a.spaced(n.Channel, n.ID) {
			return true, nil
		} else if !a.comesTo(n.Channel, due) {
			return false, nil
		}
		lacks, err := a.rowLacks(ctx, n) // in what the channel goes by
		return lacks == "", err
	case aggregates.NotificationSending:
		claim := time.Duration(n.ClaimMillis) * time.Millisecond
		return n.ClaimedAt.At.Add(max(claim, grace)).After(now), nil
	}
	return true, nil
}

func (a *auditor) notification(ctx context.Context, id string) (aggregates.Notification, error) {
	return commands.View(ctx, a.commands, commands.NotificationStream(id), func(n *aggregates.Notification, _ int64) aggregates.Notification { return snapshot(n, time.Time{}) })
}

// conservation counts, from the read models, what has become due.
func (a *auditor) conservation(ctx context.Context) (Conservation, error) {
	if a.models == nil {
		return Conservation{}, nil
	}
	counts, err := a.models.Counts(ctx)
	if err != nil {
		return Conservation{}, fmt.Errorf("count notifications: %w", err)
	}
	a.mu.Lock()
	overdue, holes := len(a.overdue), len(a.missing)
	for _, h := range a.overdue {
		if _, too := a.missing[h.NotificationID]; !too {
			holes++
		}
	}
	a.mu.Unlock()
	status := counts.Notifications.ByStatus
	c := Conservation{Holes: holes}
	c.Final = status["SENT"] + status["DELIVERED"] + status["FAILED"] + status["CANCELLED"]
	c.InFlight = max(0, status["READY"]+status["SENDING"]-overdue)
	c.Due = c.Final + c.InFlight + c.Holes
	return c, nil
}
