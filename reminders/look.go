package reminders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

var errUnrenderable = errors.New("the message can't be rendered")

// rendered is what goes out, and the key that its text is sealed with.
type rendered struct {
	channels.Message
	key  int64
	look look
}

// look is a look at an event's stream.
type look struct {
	began  time.Time // before the stream was read to its end
	at     time.Time // when that had been read
	shared bool      // others append to the stream, too: it is known as it was at some time between the two
}

// fresh tells whether a provider may be called at now by what was seen. A process
// that was suspended may have had the store's answer for a long time before it read it.
func (l look) fresh(now time.Time) bool {
	return within(l.at, now, maxLookAge) && (!l.shared || within(l.began, now, maxReadTime+maxLookAge))
}

// within tells whether now is at most d after t. A machine that slept has gone on by
// the clock on the wall alone.
func within(t, now time.Time, d time.Duration) bool {
	age := now.Sub(t)
	return age >= 0 && max(age, now.Round(0).Sub(t.Round(0))) <= d
}

// look reads the event's stream at its end and renders what is wanted there. An
// error with a reason says that n is not wanted any more.
func (s *sender) look(ctx context.Context, c *carrier, n aggregates.Notification) (rendered, string, error) {
	began := s.now()
	type seen struct {
		composed
		all      []events.NotificationScheduled // that the participant is to be sent
		answered time.Time
		wanted   bool
		reason   string
		at       time.Time
	}
	now, err := commands.View(ctx, s.commands, commands.EventStream(n.EventID), func(e *aggregates.Event, _ int64) seen {
		who, _ := e.Participant(n.ParticipantID)
		v := seen{at: s.now(), reason: whyNot(e, who), all: Wanted(e, who, s.kinds), answered: answeredAt(who)}
		for _, w := range v.all {
			v.wanted = v.wanted || w.NotificationID == n.ID
		}
		if !v.wanted {
			return v
		}
		v.composed, v.wanted = compose(e, c.Kind, n, n.ClaimedAt.At)
		return v
	})
	if err != nil {
		return rendered{}, "", err
	}
	if !now.wanted {
		return rendered{}, now.reason, errors.New("not wanted any more")
	}
	why, err := s.fallback.lost(ctx, s.commands, n.ID, now.all, now.answered)
	if err != nil {
		return rendered{}, "", err
	}
	if why != "" {
		return rendered{}, why, errors.New("another of its chain of channels will do")
	}
	if err := s.maySend(ctx, c, now.message.To); err != nil {
		return rendered{}, "", err
	}
	message, err := now.render()
	if err != nil {
		return rendered{}, "", err
	}
	message.OptOut = s.optOut(n.EventID, n.ParticipantID)
	message.look = look{began, now.at, !s.store.Exclusive()}
	return message, "", nil
}

// composed is a message that is still to be rendered.
type composed struct {
	message  rendered
	template string
	bindings aggregates.Bindings
}

// compose takes from an event, as it is, what n's message is made of; at is what its
// text calls now. As long as neither changes, the message is the same, so that a
// provider can be asked for it. ok is false where n's participant isn't there.
func compose(e *aggregates.Event, kind channels.Kind, n aggregates.Notification, at time.Time) (c composed, ok bool) {
	who, ok := e.Participant(n.ParticipantID)
	if !ok {
		return composed{}, false
	}
	c.message = rendered{key: who.Contact.Key, Message: channels.Message{
		ID: n.ID, Channel: n.Channel, Attempt: n.Attempts, To: address(kind, who), Name: who.Contact.Name,
		Subject: e.Title, Due: latest(n.Created.At, n.ScheduledTime), Expires: n.Expires,
		Event: about(e, who),
	}}
	reminder, _ := e.Reminder(n.ReminderID)
	announcement, _ := e.Announcement(n.AnnouncementID)
	c.template = templateOf(reminder, announcement)
	c.bindings = aggregates.BindingsFor(e, who, reminder, announcement, at)
	return c, true
}

func (c composed) render() (rendered, error) {
	text, err := aggregates.RenderTemplate(c.template, c.bindings)
	if err != nil {
		return rendered{}, fmt.Errorf("%w: %w", errUnrenderable, err)
	}
	c.message.Text = text
	return c.message, nil
}

// about is what a message to p is about.
func about(e *aggregates.Event, p *aggregates.Participant) channels.Event {
	return channels.Event{
		UID: e.ID, Sequence: e.Own.Revision, Changed: e.Own.At, Title: e.Title, Description: e.Description, Location: e.Location,
		Start: e.StartTime, End: e.EndTime, Zone: aggregates.ZoneFor(e, p), Cancelled: e.Status == aggregates.Cancelled,
	}
}

func templateOf(r *aggregates.Reminder, a *aggregates.Announcement) string {
	switch {
	case a != nil:
		return a.Message
	case r != nil && r.Message != "":
		return r.Message
	}
	return aggregates.DefaultReminderMessage
}

func address(kind channels.Kind, p *aggregates.Participant) string {
	switch kind {
	case channels.Phone:
		return p.Contact.Phone
	case channels.Push:
		return p.Contact.PushToken
	}
	return p.Contact.Email
}
