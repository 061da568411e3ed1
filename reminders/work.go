package reminders

import (
	"context"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
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

// fresh tells whether nothing was done yet.
func (w work) fresh() bool { return w.participant == "" && !w.checked && w.ordinal == 0 }

// addWork asks for an event to be planned; called within change.
func (t *table) addWork(event string) error {
	return t.exec("INSERT INTO work VALUES (?, '', '', 0, 0, 0) ON CONFLICT DO UPDATE SET again = 1", event)
}

// advance keeps how far w has come, or ends it; called within change.
func (t *table) advance(w work, finished bool) error {
	if !finished {
		return t.exec("UPDATE work SET participant = ?, notification = ?, checked = ?, ordinal = ? WHERE event = ?",
			w.participant, w.notification, w.checked, w.ordinal, w.event)
	}
	if err := t.exec("DELETE FROM work WHERE event = ? AND again = 0", w.event); err != nil {
		return err
	}
	return t.exec("UPDATE work SET participant = '', notification = '', checked = 0, ordinal = 0, again = 0 WHERE event = ?", w.event)
}

// nextWork gives up to limit events behind the given one, in turn.
func (t *table) nextWork(after string, limit int) (all []work, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const columns = "SELECT event, participant, notification, checked, ordinal, again FROM work "
	for _, query := range []string{columns + "WHERE event > ? ORDER BY event LIMIT ?", columns + "WHERE event <= ? ORDER BY event LIMIT ?"} {
		err := sqlitex.Execute(t.conn, query, &sqlitex.ExecOptions{
			Args: []any{after, limit - len(all)}, ResultFunc: func(s *sqlite.Stmt) error {
				all = append(all, work{
					event: s.ColumnText(0), participant: s.ColumnText(1), notification: s.ColumnText(2),
					checked: s.ColumnBool(3), ordinal: s.ColumnInt(4), again: s.ColumnBool(5),
				})
				return nil
			}})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// allWork names the events that are to be planned as a whole.
func (t *table) allWork() (events []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = sqlitex.Execute(t.conn, "SELECT event FROM work", &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		events = append(events, s.ColumnText(0))
		return nil
	}})
	return events, err
}

// whose tells to whom an open notification goes; both are empty where it isn't
// open. Called within change.
func (t *table) whose(id string) (event, participant string, err error) {
	err = sqlitex.Execute(t.conn, "SELECT event, participant FROM open WHERE id = ?", &sqlitex.ExecOptions{
		Args: []any{id}, ResultFunc: func(s *sqlite.Stmt) error {
			event, participant = s.ColumnText(0), s.ColumnText(1)
			return nil
		}})
	return event, participant, err
}

// openAfter gives the next open notifications of an event behind those that w has checked.
func (t *table) openAfter(ctx context.Context, w work, limit int) ([]row, error) {
	return t.rows(ctx, "event = ? AND (participant, id) > (?, ?) ORDER BY participant, id LIMIT ?", w.event, w.participant, w.notification, limit)
}
