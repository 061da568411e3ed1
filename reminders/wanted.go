package reminders

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// How long a notification may be late before sending it is wrong.
const (
	reminderLife     = time.Minute // after the event's start
	announcementLife = 24 * time.Hour
)

// notificationSpace is the name space of notification ids.
var notificationSpace = uuid.MustParse("0f0f6a4e-6a55-4a57-8f6e-0f3a1f7c7b60")

// Wanted is what p is to be sent of e as e stands, whether already sent or not.
// It depends on nothing but the facts folded into e and the kinds of address
// that the configured channels need.
//
// It is the only place that knows what is wanted. Ids are derived from what is
// wanted, so that asking twice asks for the same.
func Wanted(e *aggregates.Event, p *aggregates.Participant, kinds map[string]aggregates.AddressKind) []events.NotificationScheduled {
	if !e.Exists() || p == nil {
		return nil
	}
	var wanted []events.NotificationScheduled
	for _, r := range e.Reminders {
		wanted = append(wanted, ofReminder(e, p, r, kinds)...)
	}
	for _, a := range e.Announcements {
		wanted = append(wanted, ofAnnouncement(e, p, a, kinds)...)
	}
	return wanted
}

// ofReminder: confirmed participants who have not declined are reminded, at
// once where they came to it after the due time and the start is still ahead.
func ofReminder(e *aggregates.Event, p *aggregates.Participant, r *aggregates.Reminder, kinds map[string]aggregates.AddressKind) []events.NotificationScheduled {
	if e.Status != aggregates.Scheduled || p.Status != aggregates.Confirmed || p.Response == aggregates.Declined {
		return nil
	}
	due := e.StartTime.Add(-time.Duration(r.MinutesBefore) * time.Minute)
	if entitled := latest(p.Entitled.At, e.Moved.At, r.Added.At); entitled.After(due) {
		if !entitled.Before(e.StartTime) {
			return nil
		}
		due = entitled
	}
	var wanted []events.NotificationScheduled
	for _, channel := range reached(p, r.Channels, due, kinds) {
		wanted = append(wanted, events.NotificationScheduled{
			NotificationID: notificationID("reminder", r.ID, p.ID, channel, strconv.Itoa(e.MoveCount)),
			EventID:        e.ID, ParticipantID: p.ID, ReminderID: r.ID,
			Channel: channel, ScheduledTime: due, Expires: e.StartTime.Add(reminderLife),
		})
	}
	return wanted
}

// ofAnnouncement: the audience is who it was when the announcement was made,
// less those who have declined since or are gone, and again with those who have
// come back before it was due; cancelling the event ends the announcements made
// before it.
func ofAnnouncement(e *aggregates.Event, p *aggregates.Participant, a *aggregates.Announcement, kinds map[string]aggregates.AddressKind) []events.NotificationScheduled {
	cancelledSince := e.Status == aggregates.Cancelled && e.Cancelled.Revision > a.Made.Revision
	if cancelledSince || !a.Includes(p) {
		return nil
	}
	due := latest(a.SendAt, a.Made.At)
	if p.LastDeclined.Revision > a.Made.Revision && (p.Response == aggregates.Declined || p.Returned.At.After(due)) {
		return nil
	}
	var wanted []events.NotificationScheduled
	for _, channel := range reached(p, a.Channels, due, kinds) {
		wanted = append(wanted, events.NotificationScheduled{
			NotificationID: notificationID("announcement", a.ID, p.ID, channel),
			EventID:        e.ID, ParticipantID: p.ID, AnnouncementID: a.ID,
			Channel: channel, ScheduledTime: due, Expires: a.SendAt.Add(announcementLife),
		})
	}
	return wanted
}

// reached gives the channels on which p is reached at due: those of the rule,
// else their own, else e-mail, less those they have no address for. A channel
// or an address that came after the due time is not used for it: what was due
// then has gone the old way.
func reached(p *aggregates.Participant, rule []string, due time.Time, kinds map[string]aggregates.AddressKind) []string {
	chosen := rule
	if len(chosen) == 0 {
		chosen = p.Channels
	}
	if len(chosen) == 0 {
		chosen = []string{DefaultChannel}
	}
	var reached []string
	for _, channel := range chosen {
		kind, ok := kinds[channel]
		if !ok {
			continue
		}
		since, ok := p.ReachableSince(kind)
		if !ok || since.After(due) {
			continue
		}
		if len(rule) == 0 && p.ChosenSince(channel).After(due) {
			continue
		}
		reached = append(reached, channel)
	}
	return reached
}

// DefaultChannel is used for who has chosen none.
const DefaultChannel = "email"

func notificationID(parts ...string) string {
	var name []byte
	for _, part := range parts {
		name = append(append(name, part...), 0)
	}
	return uuid.NewSHA1(notificationSpace, name).String()
}

func latest(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// whyNot gives the reason why a notification to p is not wanted any more.
func whyNot(e *aggregates.Event, p *aggregates.Participant) string {
	switch {
	case e.Deleted:
		return events.CancelledEventDeleted
	case e.Status == aggregates.Cancelled:
		return events.CancelledEventCancelled
	case p == nil:
		return events.CancelledRemoved
	case p.Response == aggregates.Declined:
		return events.CancelledDeclined
	}
	return events.CancelledSuperseded
}
