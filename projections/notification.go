package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// Notification statuses. READY is never stored: it is PENDING whose time has come.
const (
	pending   = "PENDING"
	ready     = "READY"
	sending   = "SENDING"
	sent      = "SENT"
	delivered = "DELIVERED"
	failedFor = "FAILED"
	cancelled = "CANCELLED"
)

const notificationColumns = `n.id, n.event_id, n.reminder_id, n.announcement_id, n.participant_id, n.channel, n.fallback_of, n.status,
	n.message, n.scheduled_time, n.sent_time, n.next_attempt_time, n.attempts, n.last_error, n.in_doubt,
	n.provider_message_id, n.revision`

// notificationRows are the notifications of events that are there.
const notificationRows = "SELECT " + notificationColumns + " FROM {notifications} n JOIN {events} e ON e.id = n.event_id"

// scanNotification reads a row of notificationColumns as it stands at now, and what dest is for behind it.
func scanNotification(row scanner, now int64, dest ...any) (n Notification, err error) {
	var reminder, announcement, fallbackOf, message, lastError, provider string
	var scheduled int64
	var sentTime, next *int64
	err = row.Scan(append([]any{&n.ID, &n.EventID, &reminder, &announcement, &n.ParticipantID, &n.Channel, &fallbackOf, &n.Status,
		&message, &scheduled, &sentTime, &next, &n.Attempts, &lastError, &n.InDoubt, &provider, &n.Revision}, dest...)...)
	if err != nil {
		return Notification{}, err
	}
	if n.Status == pending && scheduled <= now {
		n.Status = ready
	}
	n.ReminderID, n.AnnouncementID, n.FallbackOf = textOrNil(reminder), textOrNil(announcement), textOrNil(fallbackOf)
	n.Message, n.LastError, n.ProviderMessageID = textOrNil(message), textOrNil(lastError), textOrNil(provider)
	n.ScheduledTime = timeOf(scheduled)
	n.SentTime, n.NextAttemptTime = timeOrNil(sentTime), timeOrNil(next)
	return n, nil
}

// Notification returns a notification with its attempts, or ErrNotFound.
func (m *Models) Notification(ctx context.Context, id string) (Notification, error) {
	var n Notification
	err := m.snapshot(ctx, func(tx snapshot) (err error) {
		n, err = scanNotification(tx.row(ctx, notificationRows+" WHERE n.id = ?", id), m.now())
		if err != nil {
			return err
		}
		n.AttemptLog = []Attempt{}
		return tx.rows(ctx, func(row scanner) error {
			var a Attempt
			var started int64
			var provider, reason string
			err := row.Scan(&a.Number, &started, &provider, &a.Outcome, &reason)
			a.StartedAt, a.Provider, a.Error = timeOf(started), textOrNil(provider), textOrNil(reason)
			n.AttemptLog = append(n.AttemptLog, a)
			return err
		}, "SELECT number, started_at, provider, outcome, error FROM {attempts} WHERE notification_id = ? ORDER BY number", id)
	})
	return n, found(err, "notification", id)
}

// EventOfNotification returns the id of the event that the notification is about, or ErrNotFound.
func (m *Models) EventOfNotification(ctx context.Context, id string) (eventID string, err error) {
	err = m.row(ctx, "SELECT e.id FROM {notifications} n JOIN {events} e ON e.id = n.event_id WHERE n.id = ?", id).Scan(&eventID)
	return eventID, found(err, "notification", id)
}

// NotificationFilter narrows Notifications; what is empty narrows nothing.
type NotificationFilter struct {
	EventID             string
	Status              string
	Channel             string
	ParticipantID       string
	DueBefore, DueAfter *time.Time // of the scheduled time, neither included
}

// Notifications lists notifications by scheduled time, then id. ErrNotFound: the
// filter names an event that isn't there.
func (m *Models) Notifications(ctx context.Context, f NotificationFilter, p Page) (List[Notification], error) {
	after, err := p.after("notifications", f)
	if err != nil {
		return List[Notification]{}, err
	}
	now := m.now()
	var w where
	w.equal("n.event_id", f.EventID)
	w.equal("n.channel", f.Channel)
	w.equal("n.participant_id", f.ParticipantID)
	switch f.Status {
	case pending:
		w.and("n.status = 'PENDING' AND n.scheduled_time > ?", now)
	case ready:
		w.and("n.status = 'PENDING' AND n.scheduled_time <= ?", now)
	default:
		w.equal("n.status", f.Status)
	}
	if f.DueBefore != nil {
		w.and("n.scheduled_time < ?", ceilMicro(*f.DueBefore))
	}
	if f.DueAfter != nil {
		w.and("n.scheduled_time > ?", f.DueAfter.UnixMicro())
	}
	if after != nil {
		w.after(m.db, "n.scheduled_time", "n.id", after)
	}
	out := newList[Notification]()
	err = m.snapshot(ctx, func(tx snapshot) error {
		if f.EventID != "" {
			if err := tx.eventThere(ctx, f.EventID); err != nil {
				return err
			}
		}
		return tx.rows(ctx, func(row scanner) error {
			n, err := scanNotification(row, now)
			out.Items = append(out.Items, n)
			return err
		}, notificationRows+w.sql()+" ORDER BY n.scheduled_time, n.id LIMIT ?", w.with(p.fetch())...)
	})
	if err != nil {
		return List[Notification]{}, fmt.Errorf("list notifications: %w", err)
	}
	return out.cut(p, "notifications", f, func(n Notification) key { return key{n.ScheduledTime.UnixMicro(), n.ID} }), nil
}

// Cleared returns how many notifications the NotificationsCleared at p removed, or ErrNotFound.
func (m *Models) Cleared(ctx context.Context, p eventstore.Position) (removed int, err error) {
	err = m.row(ctx, "SELECT removed FROM {cleared} WHERE log_commit = ? AND log_prepare = ?", int64(p.Commit), int64(p.Prepare)).
		Scan(&removed)
	return removed, found(err, "clearing", p.String())
}

// due are the conditions of what may be sent by a time, given twice.
const due = "n.status = 'PENDING' AND n.scheduled_time <= ? AND (n.next_attempt_time IS NULL OR n.next_attempt_time <= ?)"

// Due returns how many notifications could be sent now, since when the oldest of
// them could (zero: there is none), and how many are being sent.
func (m *Models) Due(ctx context.Context) (waiting int, oldest time.Time, inFlight int, err error) {
	now := m.now()
	err = m.snapshot(ctx, func(tx snapshot) error {
		there, err := tx.there(ctx)
		if err != nil {
			return err
		}
		for _, ask := range []struct {
			into  *int
			query string
			args  []any
		}{
			{&waiting, "SELECT count(*) FROM {notifications} n WHERE " + due + there, []any{now, now}},
			{&inFlight, "SELECT count(*) FROM {notifications} n WHERE n.status = 'SENDING'" + there, nil},
		} {
			if err := tx.row(ctx, ask.query, ask.args...).Scan(ask.into); err != nil {
				return err
			}
		}
		if waiting == 0 {
			return nil
		}
		var since *int64
		err = tx.row(ctx, "SELECT min("+m.db.Greatest("n.scheduled_time", "coalesce(n.next_attempt_time, 0)")+")"+
			" FROM {notifications} n WHERE "+due+there, now, now).Scan(&since)
		if err == nil && since != nil {
			oldest = timeOf(*since)
		}
		return err
	})
	if err != nil {
		return 0, time.Time{}, 0, fmt.Errorf("count what is due: %w", err)
	}
	return waiting, oldest, inFlight, nil
}

// Overdue returns up to limit notifications, the oldest first, that could have
// been sent before the given time or were claimed before it, and aren't concluded.
func (m *Models) Overdue(ctx context.Context, before time.Time, limit int) ([]Notification, error) {
	now, then := m.now(), ceilMicro(before)
	out := []Notification{}
	err := m.snapshot(ctx, func(tx snapshot) error {
		return tx.rows(ctx, func(row scanner) error {
			var since int64
			n, err := scanNotification(row, now, &since)
			out = append(out, n)
			return err
		}, "SELECT "+notificationColumns+", "+m.db.Greatest("n.scheduled_time", "coalesce(n.next_attempt_time, 0)")+" AS since"+
			" FROM {notifications} n JOIN {events} e ON e.id = n.event_id"+
			" WHERE n.status = 'PENDING' AND n.scheduled_time < ? AND (n.next_attempt_time IS NULL OR n.next_attempt_time < ?)"+
			" UNION ALL SELECT "+notificationColumns+", n.claimed_at AS since"+
			" FROM {notifications} n JOIN {events} e ON e.id = n.event_id WHERE n.status = 'SENDING' AND n.claimed_at < ?"+
			" ORDER BY since, 1 LIMIT ?", then, then, then, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("look for what is overdue: %w", err)
	}
	return out, nil
}
