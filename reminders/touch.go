package reminders

import "github.com/belltower/belltower/events"

// touched is what the facts of one batch ask to look at.
type touched struct {
	whole        bool
	participants map[string]bool
}

// touches are what facts ask to look at, by event.
type touches map[string]*touched

// look asks for a participant, or for the whole event.
func (t touches) look(event, participant string) {
	of := t[event]
	if of == nil {
		of = &touched{participants: map[string]bool{}}
		t[event] = of
	}
	if participant == "" {
		of.whole = true
	} else {
		of.participants[participant] = true
	}
}

// gather notes what a fact asks to look at. A fact says only where to look:
// what is wanted is read from the event's stream as it is then.
func gather(touch touches, f events.Fact) {
	switch f := f.(type) {
	case events.EventRescheduled:
		touch.look(f.EventID, "")
	case events.EventCapacityChanged:
		touch.look(f.EventID, "")
	case events.EventCancelled:
		touch.look(f.EventID, "")
	case events.EventDeleted:
		touch.look(f.EventID, "")
	case events.ReminderAdded:
		touch.look(f.EventID, "")
	case events.ReminderRemoved:
		touch.look(f.EventID, "")
	case events.AnnouncementMade:
		touch.look(f.EventID, "")
	case events.ParticipantRegistered:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantContactChanged:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantResponded:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantOptedOut:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantOptedIn:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantPromoted:
		touch.look(f.EventID, f.ParticipantID)
	case events.ParticipantRemoved:
		touch.look(f.EventID, f.ParticipantID)
	case events.NotificationScheduled:
		// Whoever scheduled it may have done so on an older state of the event.
		touch.look(f.EventID, f.ParticipantID)
	}
}

// loosened tells of which notification a fact says that it is PENDING again or
// CANCELLED, not for good. What the event wants may have changed while it was
// being sent, or while it was being cancelled, without a command to it.
func loosened(f events.Fact) (id string, ok bool) {
	switch f := f.(type) {
	case events.SendingFailed:
		return f.NotificationID, true
	case events.NotificationCancelled:
		switch f.Reason {
		case events.CancelledSuperseded, events.CancelledDeclined, events.CancelledOptedOut,
			events.CancelledEventCancelled: // which may still make announcements
			return f.NotificationID, true
		}
	}
	return "", false
}
