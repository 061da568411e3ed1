package reminders

import (
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

// The table of what is put off: the events that facts have touched which the
// leader may not have planned yet, with the position of the last such fact.

// putOff notes an event; called within change.
func (t *table) putOff(event string, at eventstore.Position) error {
	return t.exec("INSERT INTO putoff VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET commit_at = excluded.commit_at, prepare_at = excluded.prepare_at",
		event, int64(at.Commit), int64(at.Prepare))
}

// forgetPutOff drops what is planned, as it stands at planned or before it;
// called within change.
func (t *table) forgetPutOff(planned eventstore.Position) error {
	return t.exec("DELETE FROM putoff WHERE (commit_at, prepare_at) <= (?, ?)", int64(planned.Commit), int64(planned.Prepare))
}

// takeUp makes work of what is put off and not planned, and names its events.
func (t *table) takeUp(planned eventstore.Position) (events []string, err error) {
	err = t.change(func() error {
		if err := t.forgetPutOff(planned); err != nil {
			return err
		}
		err := sqlitex.Execute(t.conn, "SELECT event FROM putoff", &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			events = append(events, s.ColumnText(0))
			return nil
		}})
		if err != nil {
			return err
		}
		for _, event := range events {
			if err := t.addWork(event); err != nil {
				return err
			}
		}
		return t.exec("DELETE FROM putoff")
	})
	return events, err
}

// putDown puts off all work. What it follows from stands at the checkpoint or
// before it.
func (t *table) putDown() error {
	position, _, err := t.mark(markPlanned)
	if err != nil {
		return err
	}
	left, err := t.allWork()
	if err != nil {
		return err
	}
	return t.change(func() error {
		for _, event := range left {
			if err := t.putOff(event, position); err != nil {
				return err
			}
		}
		return t.exec("DELETE FROM work")
	})
}

// claims counts what is claimed, by whomever.
func (t *table) claims() (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = sqlitex.Execute(t.conn, "SELECT count(*) FROM open WHERE boot <> ''", &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		n = s.ColumnInt(0)
		return nil
	}})
	return n, err
}
