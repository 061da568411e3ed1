package reminders

import (
	"github.com/belltower/belltower/events"
)

// folding is what a batch of facts makes of the rows of open notifications. Facts
// come in the order of the log, and one that came before changes nothing.
type folding map[string]*folded

// folded is one of them, by the id of its notification.
type folded struct {
	row     row
	open    bool // it is in the table, after the facts
	was     bool // it was, before them
	changed bool
}

// notificationOf tells about which notification a fact of its stream says
// something that rows show.
func notificationOf(f events.Fact) (id string, ok bool) {
	switch f := f.(type) {
	case events.NotificationScheduled:
		return f.NotificationID, true
	case events.SendingStarted:
		return f.NotificationID, true
	case events.SendingFailed:
		return f.NotificationID, true
	case events.ProviderAsked:
		return f.NotificationID, true
	case events.NotificationCancelled:
		return f.NotificationID, true
	case events.NotificationSent:
		return f.NotificationID, true
	case events.NotificationFailed:
		return f.NotificationID, true
	}
	return "", false
}

// apply folds a fact of a notification's stream.
func (all folding) apply(f events.Fact, revision int64) {
	id, ok := notificationOf(f)
	if !ok {
		return
	}
	n := all[id]
	if n == nil {
		n = &folded{}
		all[id] = n
	}
	scheduled, isScheduled := f.(events.NotificationScheduled)
	switch {
	case n.open && n.row.Revision >= revision, !n.open && !isScheduled:
		return
	case !n.open:
		n.row = row{ID: id, Event: scheduled.EventID, Participant: scheduled.ParticipantID, Channel: scheduled.Channel}
	}
	n.open, n.changed = true, true
	r := &n.row
	r.Revision = revision
	switch f := f.(type) {
	case events.NotificationScheduled:
		r.Due, r.Expires, r.Boot = f.ScheduledTime, f.Expires, ""
	case events.SendingStarted:
		r.Boot, r.Claim, r.Attempt, r.InDoubt = f.Boot, milliseconds(f.ForMillis), f.Attempt, f.InDoubt
	case events.SendingFailed:
		r.Boot, r.Due = "", latest(r.Due, f.NextAttempt)
		r.InDoubt = r.InDoubt || f.Class == events.ClassUnknown
	case events.ProviderAsked:
		r.Due, r.InDoubt = latest(r.Due, f.NextAttempt), f.InDoubt
	default: // it is over
		n.open = false
	}
}

// whose tells to whom an open notification goes; both are empty where it isn't
// open.
func (all folding) whose(id string) (event, participant string) {
	if n := all[id]; n != nil && n.open {
		return n.row.Event, n.row.Participant
	}
	return "", ""
}

// outcome gives the rows to put into the table, and the ids of those to remove.
func (all folding) outcome() (put []row, remove []string) {
	for id, n := range all {
		switch {
		case n.open && n.changed:
			put = append(put, n.row)
		case !n.open && n.was:
			remove = append(remove, id)
		}
	}
	return put, remove
}
