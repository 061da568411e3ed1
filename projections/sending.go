package projections

import (
	"database/sql"
	"errors"

	"github.com/belltower/belltower/events"
)

// Outcomes of an attempt.
const (
	attemptInFlight  = "in_flight"
	attemptSent      = "sent"
	attemptFailed    = "failed"
	attemptUnknown   = "unknown"
	attemptCancelled = "cancelled"
	attemptBounced   = "bounced"
)

// notification is what the fold needs to know of a notification's row.
type notification struct {
	id, status, channel string
	finalAt             *int64
}

func final(status string) bool {
	return status == sent || status == delivered || status == failedFor || status == cancelled
}

// notification returns nil when there is none or its event is gone: facts about
// it are passed over. So they are for one that was cleared, until it is scheduled again.
func (w *writer) notification(id string) (*notification, error) {
	n := notification{id: id}
	err := w.row("SELECT n.status, n.channel, n.final_at FROM notifications n JOIN events e ON e.id = n.event_id WHERE n.id = ?", id).
		Scan(&n.status, &n.channel, &n.finalAt)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &n, err
}

// become moves n to status, and its revision with it. A state is final since
// the first final one in a row.
func (w *writer) become(f fact, n *notification, status string) error {
	if !final(status) {
		n.finalAt = nil
	} else if n.finalAt == nil {
		n.finalAt = &f.at
	}
	w.tally(byNotificationStatus, n.status, -1)
	w.tally(byNotificationStatus, status, 1)
	n.status = status
	_, err := w.exec("UPDATE notifications SET status = ?, final_at = ?, revision = ? WHERE id = ?", status, n.finalAt, f.Revision, n.id)
	return err
}

func (w *writer) notificationScheduled(f fact, e events.NotificationScheduled) error {
	n, err := w.notification(e.NotificationID)
	if err != nil {
		return err
	}
	if n != nil {
		_, err := w.exec("UPDATE notifications SET scheduled_time = ?, next_attempt_time = NULL, claimed_at = NULL WHERE id = ?",
			e.ScheduledTime.UnixMicro(), n.id)
		return errors.Join(err, w.become(f, n, pending))
	}
	var there int
	err = w.row("SELECT count(*) FROM events WHERE id = ?", e.EventID).Scan(&there)
	if err != nil || there == 0 {
		return err
	}
	_, err = w.exec("INSERT INTO notifications VALUES (?, ?, ?, ?, ?, ?, 'PENDING', '', ?, NULL, NULL, NULL, NULL, 0, '', 0, '', ?)",
		e.NotificationID, e.EventID, e.ReminderID, e.AnnouncementID, e.ParticipantID, e.Channel,
		e.ScheduledTime.UnixMicro(), f.Revision)
	w.tally(byNotificationStatus, pending, 1)
	w.tally(byChannel, e.Channel, 1)
	return err
}

func (w *writer) notificationCancelled(f fact, e events.NotificationCancelled) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	_, err = w.exec("UPDATE notifications SET next_attempt_time = NULL, claimed_at = NULL WHERE id = ?", n.id)
	return errors.Join(err, w.endAttempts(n, attemptCancelled, e.Reason), w.become(f, n, cancelled))
}

func (w *writer) sendingStarted(f fact, e events.SendingStarted) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	if err := w.endAttempts(n, attemptUnknown, ""); err != nil {
		return err
	}
	_, err = w.exec("INSERT INTO attempts VALUES (?, ?, ?, ?, '') ON CONFLICT (notification_id, number)"+
		" DO UPDATE SET started_at = excluded.started_at, outcome = excluded.outcome, error = ''",
		n.id, e.Attempt, f.at, attemptInFlight)
	if err != nil {
		return err
	}
	_, err = w.exec("UPDATE notifications SET attempts = ?, next_attempt_time = NULL, claimed_at = ?,"+
		" in_doubt = max(in_doubt, ?) WHERE id = ?", e.Attempt, f.at, e.InDoubt, n.id)
	return errors.Join(err, w.become(f, n, sending))
}

// notificationSent is true whenever it comes: also of an attempt that had been
// given up. Sent twice, the row goes on showing the first.
func (w *writer) notificationSent(f fact, e events.NotificationSent) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	_, err = w.exec("UPDATE attempts SET started_at = ?, outcome = ?, error = '' WHERE notification_id = ? AND number = ?",
		e.SentTime.UnixMicro(), attemptSent, n.id, e.Attempt)
	if err != nil {
		return err
	}
	if n.status == sent || n.status == delivered {
		return w.become(f, n, n.status)
	}
	_, err = w.exec("UPDATE notifications SET message = ?, sent_time = ?, provider_message_id = ?,"+
		" last_error = '', next_attempt_time = NULL, claimed_at = NULL WHERE id = ?",
		e.Personal.Message, e.SentTime.UnixMicro(), e.ProviderMessageID, n.id)
	return errors.Join(err, w.endAttempts(n, attemptUnknown, ""), w.become(f, n, sent))
}

func (w *writer) sendingFailed(f fact, e events.SendingFailed) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	outcome := attemptFailed
	if e.Class == "unknown" {
		outcome = attemptUnknown
	}
	if err := w.endAttempt(n, e.Attempt, outcome, e.Error); err != nil {
		return err
	}
	_, err = w.exec("UPDATE notifications SET next_attempt_time = ?, claimed_at = NULL, last_error = ? WHERE id = ?",
		e.NextAttempt.UnixMicro(), e.Error, n.id)
	return errors.Join(err, w.become(f, n, pending))
}

func (w *writer) notificationFailed(f fact, e events.NotificationFailed) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	reason := e.Error
	if e.Reason == events.FailedMissed || e.Reason == events.FailedOutcomeUnknown || reason == "" {
		reason = e.Reason
	}
	switch e.Reason {
	case events.FailedBounced:
		_, err = w.exec("UPDATE attempts SET outcome = ?, error = ? WHERE notification_id = ? AND outcome = 'sent'",
			attemptBounced, e.Error, n.id)
	case events.FailedOutcomeUnknown:
		err = w.endAttempts(n, attemptUnknown, "")
	default:
		err = w.endAttempt(n, e.Attempt, attemptFailed, reason)
	}
	if err != nil {
		return err
	}
	_, err = w.exec("UPDATE notifications SET next_attempt_time = NULL, claimed_at = NULL, last_error = ? WHERE id = ?", reason, n.id)
	return errors.Join(err, w.endAttempts(n, attemptUnknown, ""), w.become(f, n, failedFor))
}

func (w *writer) notificationDelivered(f fact, e events.NotificationDelivered) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	return w.become(f, n, delivered)
}

func (w *writer) notificationRetried(f fact, e events.NotificationRetried) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	_, err = w.exec("UPDATE notifications SET next_attempt_time = NULL WHERE id = ?", n.id)
	return errors.Join(err, w.become(f, n, pending))
}

// endAttempt concludes an attempt that is in flight.
func (w *writer) endAttempt(n *notification, number int, outcome, reason string) error {
	_, err := w.exec("UPDATE attempts SET outcome = ?, error = ? WHERE notification_id = ? AND number = ? AND outcome = 'in_flight'",
		outcome, reason, n.id, number)
	return err
}

// endAttempts concludes all attempts that are in flight.
func (w *writer) endAttempts(n *notification, outcome, reason string) error {
	_, err := w.exec("UPDATE attempts SET outcome = ?, error = ? WHERE notification_id = ? AND outcome = 'in_flight'",
		outcome, reason, n.id)
	return err
}

// notificationsCleared removes what was final before e.Before, and notes how
// many of them could be seen.
func (w *writer) notificationsCleared(f fact, e events.NotificationsCleared) error {
	before := e.Before.UnixMicro()
	removed := 0
	err := w.rows(func(row scanner) error {
		var status, channel string
		var n, seen int
		if err := row.Scan(&status, &channel, &n, &seen); err != nil {
			return err
		}
		w.tally(byNotificationStatus, status, -n)
		w.tally(byChannel, channel, -n)
		removed += seen
		return nil
	}, "SELECT coalesce(n.status, ''), coalesce(n.channel, ''), count(*), count(e.id) FROM notifications n LEFT JOIN events e ON e.id = n.event_id"+
		" WHERE n.final_at < ? GROUP BY 1, 2", before) // expressions, as an index on the status alone would be walked to its end
	if err != nil {
		return err
	}
	if _, err := w.exec("DELETE FROM attempts WHERE notification_id IN (SELECT id FROM notifications WHERE final_at < ?)", before); err != nil {
		return err
	}
	if _, err := w.exec("DELETE FROM notifications WHERE final_at < ?", before); err != nil {
		return err
	}
	_, err = w.exec("INSERT INTO cleared VALUES (?, ?, ?)", int64(f.Position.Commit), int64(f.Position.Prepare), removed)
	return err
}
