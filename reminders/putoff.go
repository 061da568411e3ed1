package reminders

import (
	"github.com/belltower/belltower/eventstore"
)

// The table of what is put off: the events that facts have touched which the
// leader may not have planned yet, with the position of the last such fact. One
// that instances share has none: whoever leads goes on with the same work.

func (c change) putOff(event string, at eventstore.Position) error {
	return c.exec("INSERT INTO {putoff} VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET commit_at = excluded.commit_at, prepare_at = excluded.prepare_at",
		event, int64(at.Commit), int64(at.Prepare))
}

// forgetPutOff drops what is planned, as it stands at planned or before it.
func (c change) forgetPutOff(planned eventstore.Position) error {
	return c.exec("DELETE FROM {putoff} WHERE (commit_at, prepare_at) <= (?, ?)", int64(planned.Commit), int64(planned.Prepare))
}

// takeUp makes work of what is put off and not planned, and names its events.
func (t *table) takeUp(planned eventstore.Position) (events []string, err error) {
	err = t.change(func(c change) error {
		if err := c.forgetPutOff(planned); err != nil {
			return err
		}
		err := c.query("SELECT event FROM {putoff}", nil, func(c columns) { events = append(events, c.text(0)) })
		if err != nil {
			return err
		}
		for _, event := range events {
			if err := c.addWork(event); err != nil {
				return err
			}
		}
		return c.exec("DELETE FROM {putoff}")
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
	return t.change(func(c change) error {
		for _, event := range left {
			if err := c.putOff(event, position); err != nil {
				return err
			}
		}
		return c.exec("DELETE FROM {work}")
	})
}
