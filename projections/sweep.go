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
	var tallied bool
	err = w.row("SELECT event_id, tallied FROM {gone} ORDER BY tallied DESC, event_id LIMIT 1").Scan(&eventID, &tallied)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, w.transact(func() error {
		if tallied {
			return w.untally(eventID)
		}
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

// untally takes off the tallies what belongs to an event that is gone.
func (w *writer) untally(eventID string) error {
	err := w.rows(func(row scanner) error {
		var kind, name string
		var n int
		err := row.Scan(&kind, &name, &n)
		w.tally(kind, name, n)
		return err
	}, rowsOfGone("g.event_id = ?"), eventID, eventID, eventID, eventID)
	if err != nil {
		return err
	}
	_, err = w.exec("UPDATE {gone} SET tallied = 0 WHERE event_id = ?", eventID)
	return err
}

func (w *writer) sweepWords(eventID string) (int, error) {
	n, err := w.exec(w.db.DeleteSome("{words}", wordsShape.key(), "scope = ?"), eventID, slice)
	return int(n), err
}

func (w *writer) sweepNotifications(eventID string) (int, error) {
	var ids []any
	err := w.rows(func(row scanner) error {
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT id FROM {notifications} WHERE event_id = ? LIMIT ?", eventID, slice)
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
		var id string
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT id FROM {participants} WHERE event_id = ? LIMIT ?", eventID, slice)
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
