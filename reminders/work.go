package reminders

import (
	"context"
)

// work is an event that is planned as a whole, in slices: first what is
// scheduled is checked, in order of participant and notification, then the
// roster is gone through in order of registration.
type work struct {
	event        string
	participant  string // the last one whose notifications were checked
	notification string
	checked      bool // all that is scheduled was checked
	ordinal      int  // of the next participant to plan
	again        bool // the event changed meanwhile: once more from the start
}

// addWork asks for an event to be planned.
func (c change) addWork(event string) error { return c.exec(c.t.addWork, event) }

// fresh tells whether nothing was done yet.
func (w work) fresh() bool { return w.participant == "" && !w.checked && w.ordinal == 0 }

// advance keeps how far w has come, or ends it.
func (c change) advance(w work, finished bool) error {
	if !finished {
		return c.exec("UPDATE {work} SET participant = ?, notification = ?, checked = ?, ordinal = ? WHERE event = ?",
			w.participant, w.notification, bit(w.checked), w.ordinal, w.event)
	}
	if err := c.exec("DELETE FROM {work} WHERE event = ? AND again = 0", w.event); err != nil {
		return err
	}
	return c.exec("UPDATE {work} SET participant = '', notification = '', checked = 0, ordinal = 0, again = 0 WHERE event = ?", w.event)
}

// nextWork gives up to limit events behind the given one, in turn.
func (t *table) nextWork(after string, limit int) (all []work, err error) {
	const columnNames = "SELECT event, participant, notification, checked, ordinal, again FROM {work} "
	for _, query := range []string{columnNames + "WHERE event > ? ORDER BY event LIMIT ?", columnNames + "WHERE event <= ? ORDER BY event LIMIT ?"} {
		err := t.query(context.Background(), query, []any{after, limit - len(all)}, func(c columns) {
			all = append(all, work{
				event: c.text(0), participant: c.text(1), notification: c.text(2),
				checked: c.int(3) != 0, ordinal: int(c.int(4)), again: c.int(5) != 0,
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// allWork names the events that are to be planned as a whole.
func (t *table) allWork() (events []string, err error) {
	err = t.query(context.Background(), "SELECT event FROM {work}", nil, func(c columns) { events = append(events, c.text(0)) })
	return events, err
}

// openAfter gives the next open notifications of an event behind those that w has checked.
func (t *table) openAfter(ctx context.Context, w work, limit int) ([]row, error) {
	return t.rows(ctx, "event = ? AND participant >= ? AND (participant > ? OR id > ?) ORDER BY participant, id LIMIT ?",
		w.event, w.participant, w.participant, w.notification, limit)
}
