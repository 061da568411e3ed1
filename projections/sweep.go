package projections

import (
	"database/sql"
	"errors"
)

// slice is how many rows are swept in one transaction.
const slice = 500

// sweep removes a slice of what belongs to events that are gone; more is false
// when nothing is left.
func (w *writer) sweep() (more bool, err error) {
	var eventID string
	err = w.row("SELECT event_id FROM {gone} ORDER BY event_id LIMIT 1").Scan(&eventID)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, w.transact(func() error {
		for _, step := range []func(eventID string) (int, error){
			w.sweepWords, w.sweepNotifications, w.sweepParticipants, w.sweepDepartures,
		} {
			if n, err := step(eventID); err != nil || n > 0 {
				return err
			}
		}
		if _, err := w.exec("DELETE FROM {reminders} WHERE event_id = ?", eventID); err != nil {
			return err
		}
		_, err := w.exec("DELETE FROM {gone} WHERE event_id = ?", eventID)
		return err
	})
}

func (w *writer) sweepWords(eventID string) (int, error) {
	n, err := w.exec(w.db.DeleteSome("{words}", wordsShape.key(), "scope = ?"), eventID, slice)
	return int(n), err
}

func (w *writer) sweepNotifications(eventID string) (int, error) {
	var ids []any
	err := w.rows(func(row scanner) error {
		var id, status, channel string
		err := row.Scan(&id, &status, &channel)
		ids = append(ids, id)
		w.tally(byNotificationStatus, status, -1)
		w.tally(byChannel, channel, -1)
		return err
	}, "SELECT id, status, channel FROM {notifications} WHERE event_id = ? LIMIT ?", eventID, slice)
	if err == nil {
		err = w.deleteBy("{attempts}", "notification_id", ids)
	}
	if err == nil {
		err = w.deleteBy("{notifications}", "id", ids)
	}
	return len(ids), err
}

func (w *writer) sweepParticipants(eventID string) (int, error) {
	var ids []any
	err := w.rows(func(row scanner) error {
		var id, status, response string
		err := row.Scan(&id, &status, &response)
		ids = append(ids, id)
		w.tally(byStatus, status, -1)
		w.tally(byResponse, response, -1)
		return err
	}, "SELECT id, status, response FROM {participants} WHERE event_id = ? LIMIT ?", eventID, slice)
	if err == nil {
		err = w.deleteBy("{participants}", "id", ids)
	}
	return len(ids), err
}

func (w *writer) sweepDepartures(eventID string) (int, error) {
	n, err := w.exec(w.db.DeleteSome("{departures}", departuresShape.key(), "event_id = ?"), eventID, slice)
	return int(n), err
}

// deleteBy deletes the rows whose column is one of ids.
func (w *writer) deleteBy(table, column string, ids []any) error {
	return w.among(column, ids, func(condition string, args []any) error {
		return w.put("DELETE FROM "+table+" WHERE "+condition, "", "", args...)
	})
}
