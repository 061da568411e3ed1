package projections

import (
	"context"
	"fmt"

	"github.com/belltower/belltower/events"
)

// Reminders lists the reminders of an event in the order they were added; one
// with the built-in message has none. ErrNotFound: there is no such event.
func (m *Models) Reminders(ctx context.Context, eventID string, p Page) (List[Reminder], error) {
	scope := "reminders of " + eventID
	after, err := p.after(scope, nil)
	if err != nil {
		return List[Reminder]{}, err
	}
	var w where
	w.and("event_id = ?", eventID)
	if after != nil {
		w.and("revision > ?", after.N)
	}
	out := newList[Reminder]()
	err = m.snapshot(ctx, func(tx snapshot) error {
		if err := tx.eventThere(ctx, eventID); err != nil {
			return err
		}
		return tx.rows(ctx, func(row scanner) (err error) {
			var r Reminder
			var channels string
			if err := row.Scan(&r.ID, &r.EventID, &r.MinutesBefore, &channels, &r.Message, &r.Revision); err != nil {
				return err
			}
			r.Channels, err = texts(channels)
			out.Items = append(out.Items, r)
			return err
		}, "SELECT id, event_id, minutes_before, channels, message, revision FROM {reminders}"+w.sql()+
			" ORDER BY revision LIMIT ?", w.with(p.fetch())...)
	})
	if err != nil {
		return List[Reminder]{}, fmt.Errorf("list reminders: %w", err)
	}
	return out.cut(p, scope, nil, func(r Reminder) key { return key{N: r.Revision} }), nil
}

func (w *writer) reminderAdded(f fact, e events.ReminderAdded) {
	w.reminders.insert(e.ReminderID, e.EventID, int64(e.MinutesBefore), list(e.Channels), e.Message, f.Revision)
}
