package reminders

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/projections"
)

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
		first := slices.Min(slices.Collect(maps.Keys(found)))
		a.logger.Error("notifications that an event wants are not as they are to be", "event", eventID, "holes", len(found), "first", first, "what", found[first].What)
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
	type wishes struct {
		of       []events.NotificationScheduled
		answered time.Time
	}
	type seen struct {
		all  []wishes
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
				s.all = append(s.all, wishes{Wanted(e, p, a.kinds), answeredAt(p)})
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
		for _, w := range now.all {
			wanted, _, err := a.fallback.settle(ctx, a.commands, w.of, w.answered)
			if err != nil {
				return nil, 0, err
			}
			for _, one := range wanted {
				ids = append(ids, one.NotificationID)
			}
		}
		if !now.more {
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
