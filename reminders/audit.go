package reminders

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
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
		paused: s.pausedOn, comesTo: s.comesTo, spaced: s.spaced, leads: leads(o.Leader), kinds: Kinds(o.Channels),
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
// streams hold.
func (a *auditor) compare(ctx context.Context, eventID string) error {
	found, ok, err := a.lacking(ctx, eventID, nil)
	if err != nil || !ok {
		return err
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
		a.logger.Error("notifications that an event wants are not as they are to be", "event", eventID, "holes", len(found))
	}
	return nil
}

// looks is how often something must be found lacking, while its event changes
// under the audit, to be a hole.
const looks = 3

// lacking gives what an event wants and no notification stream holds. What the
// planner has not come to yet doesn't lack: each look at the event is followed by
// waiting for the planner, and only an event that didn't change meanwhile, or
// something that lacks in every look, tells. Where among is given, it looks
// for those alone. ok is false where the planner doesn't come to it.
func (a *auditor) lacking(ctx context.Context, eventID string, among map[string]Hole) (found map[string]Hole, ok bool, err error) {
	for look := 1; ; look++ {
		wanted, revision, err := a.wanted(ctx, eventID)
		if err != nil {
			return nil, false, err
		}
		if ok, err := a.planned(ctx); !ok || err != nil {
			return nil, false, err
		}
		lacks := map[string]Hole{}
		for _, id := range wanted {
			if _, asked := among[id]; among != nil && !asked {
				continue
			}
			n, err := a.notification(ctx, id)
			if err != nil {
				return nil, false, err
			}
			what := wantedYet(n)
			if what == "" {
				if what, err = a.untabled(ctx, n); err != nil {
					return nil, false, err
				}
			}
			if what != "" {
				lacks[id] = Hole{NotificationID: id, EventID: eventID, What: what}
			}
		}
		if len(lacks) == 0 || look == looks {
			return lacks, true, nil
		}
		now, err := commands.View(ctx, a.commands, commands.EventStream(eventID), func(_ *aggregates.Event, last int64) int64 { return last })
		if err != nil {
			return nil, false, err
		}
		if now == revision {
			return lacks, true, nil
		}
		among = lacks
	}
}

// wantedYet says what is wrong with a notification that is wanted, as its stream
// has it; nothing where it is empty.
func wantedYet(n aggregates.Notification) string {
	switch {
	case !n.Exists():
		return "wanted, and not scheduled"
	case n.Status == aggregates.NotificationCancelled && n.CancelReason != events.CancelledByHand:
		return "wanted, and cancelled"
	}
	return ""
}

// untabled says how the planner's table, which the sender goes by, lacks an open
// notification. What the planner has not come to yet is waited for.
func (a *auditor) untabled(ctx context.Context, n aggregates.Notification) (string, error) {
	first, err := a.rowLacks(ctx, n)
	if first == "" || err != nil {
		return "", err
	}
	if ok, err := a.planned(ctx); !ok || err != nil {
		return "", err
	}
	now, err := a.notification(ctx, n.ID)
	if err != nil || now.Changed.Revision != n.Changed.Revision {
		return "", err // it is under way
	}
	return a.rowLacks(ctx, now)
}

func (a *auditor) rowLacks(ctx context.Context, n aggregates.Notification) (string, error) {
	if n.Final() {
		return "", nil
	}
	rows, err := a.planner.table.rows(ctx, "id = ?", n.ID)
	if err != nil || len(rows) == 0 {
		return "open, and not in the planner's table", err
	}
	return differs(n, rows[0]), nil
}

// differs says how a row is not what its notification's stream tells.
func differs(n aggregates.Notification, r row) string {
	switch {
	case r.Revision != n.Changed.Revision || r.Boot != n.Boot:
		return "the planner's table has it in another state"
	case n.Status == aggregates.NotificationPending && !r.Due.Equal(latest(n.ScheduledTime, n.NextAttempt).Truncate(time.Microsecond)):
		return "the planner's table has it due at another time"
	case !r.Expires.Equal(n.Expires.Truncate(time.Microsecond)):
		return "the planner's table has it expire at another time"
	}
	return ""
}

// auditLook is how many participants are looked at in one go: others wait for
// the event meanwhile.
const auditLook = 256

// wanted gives the ids of what an event's stream wants, and its last revision
// as the look at it began.
func (a *auditor) wanted(ctx context.Context, eventID string) (ids []string, revision int64, err error) {
	type seen struct {
		ids  []string
		last int64
		next int // ordinal
		more bool
	}
	for from, first := 0, true; ; first = false {
		now, err := commands.View(ctx, a.commands, commands.EventStream(eventID), func(e *aggregates.Event, last int64) seen {
			s, looked := seen{last: last}, 0
			for p := range e.ParticipantsFrom(from) {
				if looked++; looked > auditLook {
					s.more = true
					break
				}
				for _, w := range Wanted(e, p, a.kinds) {
					s.ids = append(s.ids, w.NotificationID)
				}
				s.next = p.Ordinal + 1
			}
			return s
		})
		if err != nil {
			return nil, 0, err
		}
		if first {
			revision = now.last
		}
		if ids = append(ids, now.ids...); !now.more {
			return ids, revision, nil
		}
		from = now.next
	}
}

// planned waits until the planner has come to the log's present end; ok is
// false where it doesn't, which is shown as its lag.
func (a *auditor) planned(ctx context.Context) (ok bool, err error) {
	end, err := a.store.End(ctx)
	if err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := a.planner.waitFor(limited, end); err != nil {
		return false, ctx.Err()
	}
	return true, nil
}

// recheckMissing drops what is no hole any more, also of events that are gone.
func (a *auditor) recheckMissing(ctx context.Context) error {
	a.mu.Lock()
	of := map[string]map[string]Hole{}
	for id, h := range a.missing {
		if of[h.EventID] == nil {
			of[h.EventID] = map[string]Hole{}
		}
		of[h.EventID][id] = h
	}
	a.mu.Unlock()
	for event, holes := range of {
		still, ok, err := a.lacking(ctx, event, holes)
		if err != nil {
			return fmt.Errorf("look again at event %s: %w", event, err)
		}
		a.mu.Lock()
		for id := range holes {
			if _, lacks := still[id]; ok && !lacks {
				delete(a.missing, id)
			}
		}
		a.mu.Unlock()
	}
	return nil
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
