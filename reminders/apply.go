package reminders

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// applyFacts brings the table up to the facts and gathers what they touch.
// Applied twice, they change nothing, so the checkpoint may come later.
func (p *planner) applyFacts(ctx context.Context, records []eventstore.Record) (touches, error) {
	entries := make([]stored, len(records))
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
	if slices.ContainsFunc(entries, func(e stored) bool { return e.Stream == commands.ProcessorStream }) {
		p.steered()
	}
	for _, entry := range entries {
		if f, ok := entry.Fact.(events.NotificationSent); ok && f.Personal.Message == "" {
			p.untold(ctx, f.NotificationID, f.Attempt)
		}
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
func (p *planner) fold(ctx context.Context, entries []stored) (touch touches, unknown []string, err error) {
	p.applying.Lock()
	defer p.applying.Unlock()
	open, err := p.table.foldingOf(ctx, entries)
	if err != nil {
		return nil, nil, fmt.Errorf("read open notifications: %w", err)
	}
	touch = touches{}
	for _, entry := range entries {
		id, ok := loosened(entry.Fact)
		if !ok && len(p.fallback.Chain) > 0 {
			id, ok = concluded(entry.Fact)
		}
		if ok {
			if event, participant := open.whose(id); participant != "" {
				touch.look(event, participant)
			} else {
				unknown = append(unknown, id)
			}
		}
		open.apply(entry.Fact, entry.Revision)
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

// nothingToPlan are facts that ask to look nowhere and change no notification: there
// is no need to decode them.
var nothingToPlan = map[string]bool{
	events.EventScheduled{}.Name():      true,
	events.EventDetailsChanged{}.Name(): true,
	events.RequestNoted{}.Name():        true,
}

// gathers tells of a fact's name whether many of it are worth taking together: nothing
// is planned for it.
func gathers(name string) bool { return nothingToPlan[name] || events.OfAttempt(name) }

// stored is a fact as it stands in the log, its personal data sealed: whoever
// plans needs none of it.
type stored struct {
	eventstore.Record
	events.Fact
}

// open decodes a record. Of a retry it gives what that makes of the notification;
// no fact where that is over already.
func (p *planner) open(ctx context.Context, r eventstore.Record) (stored, error) {
	if nothingToPlan[r.Type] {
		return stored{Record: r}, nil
	}
	f, err := events.DecodeSealed(r.ID, r.Type, r.Data)
	if errors.Is(err, events.ErrNewerFact) {
		return stored{}, fmt.Errorf("plan %s of %s: %w", r.Position, r.Stream, err)
	} else if err != nil {
		return stored{}, fmt.Errorf("plan %s of %s: %w: %w", r.Position, r.Stream, eventstore.ErrCorrupt, err)
	}
	if retried, ok := f.(events.NotificationRetried); ok {
		// It says nothing of what is to be sent: that stands in its stream.
		if f, err = p.rescheduled(ctx, retried); err != nil && !unreadable(err) {
			return stored{}, err
		}
	}
	return stored{r, f}, nil
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
