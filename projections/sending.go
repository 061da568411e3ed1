package projections

import (
	"errors"
	"slices"

	"github.com/belltower/belltower/events"
)

// Outcomes of an attempt.
const (
	attemptInFlight  = "in_flight"
	attemptSent      = "sent"
	attemptFailed    = "failed"
	attemptUnknown   = "unknown"
	attemptCancelled = "cancelled"
	attemptDelivered = "delivered"
	attemptBounced   = "bounced"
)

// notificationRow is a row of notifications.
type notificationRow struct {
	id, eventID, reminderID, announcementID, participantID, channel, fallbackOf, status, message, lastError, providerMessageID string
	scheduled, attempts, inDoubt, revision                                                                                     int64
	next, claimed, sent, final                                                                                                 *int64
}

func (r *notificationRow) fields() []any {
	return []any{&r.id, &r.eventID, &r.reminderID, &r.announcementID, &r.participantID, &r.channel, &r.fallbackOf, &r.status, &r.message, &r.scheduled,
		&r.next, &r.claimed, &r.sent, &r.final, &r.attempts, &r.lastError, &r.inDoubt, &r.providerMessageID, &r.revision}
}

// attemptRow is a row of attempts.
type attemptRow struct {
	notificationID, provider, outcome, error string
	number, started                          int64
}

func (r *attemptRow) fields() []any {
	return []any{&r.notificationID, &r.number, &r.started, &r.provider, &r.outcome, &r.error}
}

// attemptRows are the attempts of a notification, in no order.
type attemptRows []*row[attemptRow]

func (a attemptRows) changes() []change {
	out := make([]change, len(a))
	for i, r := range a {
		now := valuesOf(r.now.fields())
		out[i] = change{keyOf(now[:attemptsShape.keys]), r.stored, now}
	}
	return out
}

const selectAttempts = "SELECT notification_id, number, started_at, provider, outcome, error FROM {attempts} WHERE "

// attemptsOf reads the attempts of a notification.
func (w *writer) attemptsOf(id string) (attemptRows, error) {
	if of, ok := w.attempts[id]; ok {
		return of, nil
	}
	w.attempts[id] = nil
	err := w.rows(w.scanAttempt, selectAttempts+"notification_id = ?", id)
	return w.attempts[id], err
}

// loadAttempts reads the attempts of those notifications that were read and are there.
func (w *writer) loadAttempts(notifications map[string]bool) error {
	var ids []any
	for id := range notifications {
		if _, ok := w.attempts[id]; !ok && id != "" {
			w.attempts[id] = nil
			if w.notifications.rows[id].now != nil {
				ids = append(ids, id)
			}
		}
	}
	return w.among("notification_id", ids, func(condition string, args []any) error {
		return w.rows(w.scanAttempt, selectAttempts+condition, args...)
	})
}

func (w *writer) scanAttempt(s scanner) error {
	r := new(attemptRow)
	err := s.Scan(r.fields()...)
	w.attempts[r.notificationID] = append(w.attempts[r.notificationID], &row[attemptRow]{valuesOf(r.fields()), r})
	return err
}

func final(status string) bool {
	return status == sent || status == delivered || status == failedFor || status == cancelled
}

// notification returns nil when there is none or its event is gone: facts about
// it are passed over. So they are for one that was cleared, until it is scheduled again.
func (w *writer) notification(id string) (*notificationRow, error) {
	n, err := w.notifications.get(w, id)
	if err != nil || n == nil {
		return nil, err
	}
	if e, err := w.events.get(w, n.eventID); err != nil || e == nil {
		return nil, err
	}
	return n, nil
}

// become moves n to status, and its revision with it. A state is final since
// the first final one in a row.
func (w *writer) become(f fact, n *notificationRow, status string) {
	if !final(status) {
		n.final = nil
	} else if n.final == nil {
		n.final = &f.at
	}
	w.tally(byNotificationStatus, n.status, -1)
	w.tally(byNotificationStatus, status, 1)
	n.status, n.revision = status, f.Revision
}

func (w *writer) notificationScheduled(f fact, e events.NotificationScheduled) error {
	n, err := w.notification(e.NotificationID)
	if err != nil {
		return err
	}
	if n != nil {
		n.scheduled, n.next, n.claimed, n.fallbackOf = e.ScheduledTime.UnixMicro(), nil, nil, e.FallbackOf
		w.become(f, n, pending)
		return nil
	}
	if event, err := w.events.get(w, e.EventID); err != nil || event == nil {
		return err
	}
	w.tally(byNotificationStatus, pending, 1)
	w.tally(byChannel, e.Channel, 1)
	return w.notifications.insert(e.NotificationID, &notificationRow{
		id: e.NotificationID, eventID: e.EventID, reminderID: e.ReminderID, announcementID: e.AnnouncementID,
		participantID: e.ParticipantID, channel: e.Channel, fallbackOf: e.FallbackOf, status: pending, scheduled: e.ScheduledTime.UnixMicro(), revision: f.Revision,
	})
}

func (w *writer) notificationCancelled(f fact, e events.NotificationCancelled) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	n.next, n.claimed = nil, nil
	w.become(f, n, cancelled)
	return w.endAttempts(n, attemptCancelled, e.Reason)
}

func (w *writer) sendingStarted(f fact, e events.SendingStarted) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	if err := w.endAttempts(n, attemptUnknown, ""); err != nil {
		return err
	}
	if err := w.startAttempt(f, n, int64(e.Attempt), e.Provider); err != nil {
		return err
	}
	n.attempts, n.next, n.claimed = int64(e.Attempt), nil, &f.at
	if e.InDoubt {
		n.inDoubt = 1
	}
	w.become(f, n, sending)
	return nil
}

func (w *writer) startAttempt(f fact, n *notificationRow, number int64, provider string) error {
	of, err := w.attemptsOf(n.id)
	if err != nil {
		return err
	}
	started := attemptRow{notificationID: n.id, number: number, started: f.at, provider: provider, outcome: attemptInFlight}
	if i := slices.IndexFunc(of, func(r *row[attemptRow]) bool { return r.now.number == number }); i >= 0 {
		*of[i].now = started
		return nil
	}
	w.attempts[n.id] = append(of, &row[attemptRow]{now: &started})
	return nil
}

// notificationSent is true whenever it comes: also of an attempt that had been
// given up. Sent twice, the row goes on showing the first, but for what a receipt
// didn't tell.
func (w *writer) notificationSent(f fact, e events.NotificationSent) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	at := e.SentTime.UnixMicro()
	err = w.changeAttempts(n, func(a *attemptRow) {
		if a.number == int64(e.Attempt) {
			a.started = at
			if a.outcome != attemptDelivered && a.outcome != attemptBounced {
				a.outcome, a.error = attemptSent, ""
			}
		}
	})
	if err != nil {
		return err
	}
	status := sent
	if n.status == sent || n.status == delivered {
		status = n.status
		if n.message != "" || e.Personal.Message == "" {
			w.become(f, n, status)
			return nil
		}
	}
	if e.ProviderMessageID != "" || n.providerMessageID == "" {
		n.providerMessageID = e.ProviderMessageID
	}
	n.message, n.sent, n.lastError = e.Personal.Message, &at, ""
	n.next, n.claimed = nil, nil
	w.become(f, n, status)
	return w.endAttempts(n, attemptUnknown, "")
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
	next := e.NextAttempt.UnixMicro()
	n.next, n.claimed, n.lastError = &next, nil, e.Error
	w.become(f, n, pending)
	return w.endAttempt(n, int64(e.Attempt), outcome, e.Error)
}

// providerAsked settles an attempt whose outcome was unknown, or says why that
// could not be done.
func (w *writer) providerAsked(f fact, e events.ProviderAsked) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	next := e.NextAttempt.UnixMicro()
	n.next, n.lastError = &next, e.Error
	w.become(f, n, pending)
	return w.changeAttempts(n, func(a *attemptRow) {
		if a.number != int64(e.Attempt) || a.outcome != attemptUnknown {
			return
		}
		if a.error = e.Error; e.Answer == events.AnswerNotTaken {
			a.outcome = attemptFailed
		}
	})
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
		_, err = w.bounced(n, int64(e.Attempt), e.Error)
	case events.FailedOutcomeUnknown:
		err = w.endAttempts(n, attemptUnknown, "")
	default:
		err = w.endAttempt(n, int64(e.Attempt), attemptFailed, reason)
	}
	n.next, n.claimed, n.lastError = nil, nil, reason
	w.become(f, n, failedFor)
	return errors.Join(err, w.endAttempts(n, attemptUnknown, ""))
}

func (w *writer) notificationDelivered(f fact, e events.NotificationDelivered) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	w.become(f, n, delivered)
	return w.changeAttempts(n, func(a *attemptRow) {
		if a.number == int64(e.Attempt) {
			a.outcome, a.error = attemptDelivered, ""
		}
	})
}

// attemptBounced leaves n delivered only while another attempt's message is.
func (w *writer) attemptBounced(f fact, e events.AttemptBounced) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	arrived, err := w.bounced(n, int64(e.Attempt), e.Error)
	status := n.status
	if status == delivered && !arrived {
		status = sent
	}
	w.become(f, n, status)
	return err
}

// bounced marks an attempt, and tells whether the message of another was delivered.
func (w *writer) bounced(n *notificationRow, attempt int64, why string) (arrived bool, err error) {
	err = w.changeAttempts(n, func(a *attemptRow) {
		if a.number == attempt {
			a.outcome, a.error = attemptBounced, why
		}
		arrived = arrived || a.outcome == attemptDelivered
	})
	return arrived, err
}

func (w *writer) notificationRetried(f fact, e events.NotificationRetried) error {
	n, err := w.notification(e.NotificationID)
	if err != nil || n == nil {
		return err
	}
	n.next = nil
	w.become(f, n, pending)
	return nil
}

func (w *writer) changeAttempts(n *notificationRow, change func(*attemptRow)) error {
	of, err := w.attemptsOf(n.id)
	for _, r := range of {
		change(r.now)
	}
	return err
}

// endAttempt concludes an attempt that is in flight.
func (w *writer) endAttempt(n *notificationRow, number int64, outcome, reason string) error {
	return w.changeAttempts(n, func(a *attemptRow) {
		if a.number == number && a.outcome == attemptInFlight {
			a.outcome, a.error = outcome, reason
		}
	})
}

// endAttempts concludes all attempts that are in flight.
func (w *writer) endAttempts(n *notificationRow, outcome, reason string) error {
	return w.changeAttempts(n, func(a *attemptRow) {
		if a.outcome == attemptInFlight {
			a.outcome, a.error = outcome, reason
		}
	})
}

// notificationsCleared removes what was final before e.Before, and notes how
// many of them could be seen.
func (w *writer) notificationsCleared(f fact, e events.NotificationsCleared) error {
	if err := w.flush(); err != nil { // what is cleared is looked for in the database
		return err
	}
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
	}, "SELECT coalesce(n.status, ''), coalesce(n.channel, ''), count(coalesce(e.id, g.event_id)), count(e.id) FROM {notifications} n"+
		" LEFT JOIN {events} e ON e.id = n.event_id LEFT JOIN {gone} g ON g.event_id = n.event_id AND g.tallied = 1"+
		" WHERE n.final_at < ? GROUP BY 1, 2", before) // expressions, as an index on the status alone would be walked to its end
	if err != nil {
		return err
	}
	for {
		var ids []any
		err := w.rows(func(row scanner) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		}, "SELECT id FROM {notifications} WHERE final_at < ? LIMIT ?", before, 10*slice)
		if err == nil {
			err = w.deleteBy("{attempts}", "notification_id", ids)
		}
		if err == nil {
			err = w.deleteBy("{notifications}", "id", ids)
		}
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
	}
	_, err = w.exec("INSERT INTO {cleared} VALUES (?, ?, ?)", int64(f.Position.Commit), int64(f.Position.Prepare), removed)
	return err
}
