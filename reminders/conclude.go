package reminders

import (
	"context"
	"errors"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// record concludes an attempt as its outcome says; tried are the providers that
// have not taken the message just before.
func (s *sender) record(ctx context.Context, c *carrier, n aggregates.Notification, a attempted, tried []string, overtaken bool) (verdict, skip) {
	r, said := a.result, said(a.result, a.message)
	switch r.Outcome {
	case channels.Accepted:
		f := sentFact(c, n, a.message, r, a.began)
		f.Overtaken = overtaken
		return s.conclude(ctx, n, commands.RecordSent{Fact: f}, wasSent)
	case channels.Rejected, channels.Gone, channels.OptedOut:
		s.suppress(ctx, c, n, a.message.To, r)
		return s.giveUp(ctx, n, events.FailedRejected, said)
	case channels.Unknown:
		if c.HoldUnknown && c.finder() == nil {
			return s.giveUp(ctx, n, events.FailedOutcomeUnknown, said)
		}
	}
	now := s.now()
	again := attempt{number: n.Attempts, failed: n.Tries, backoff: c.Backoff, expires: n.Expires, jitter: jitter(n.ID, n.Attempts)}
	class, next := again.next(r, now)
	switch {
	case r.Outcome == channels.Unknown:
		if c.finder() != nil { // it is asked, which is not put off for as long as sending is
			next = now.Add(firstBackoff)
		}
		s.keepTo(c, n.ID)
	case !n.InDoubt && s.another(c, n.ID, tried, now):
		next = now
	}
	switch {
	case next.After(n.Expires) && class == events.ClassUnknown:
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, said)
	case next.After(n.Expires):
		return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, n.InDoubt)}, hasFailed)
	case again.last() && class == events.ClassTemporary:
		return s.giveUp(ctx, n, events.FailedExhausted, said)
	case again.last() && class == events.ClassUnknown && c.finder() == nil:
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, said)
	}
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: class, Error: said, NextAttempt: next.UTC().Truncate(time.Microsecond),
	}}, hasFailed)
}

// another tells whether a message that c has certainly not taken may be carried by
// another provider at once.
func (s *sender) another(c *carrier, id string, tried []string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.lane.other(id, c, tried, now)
}

// keepTo has a message that c may have taken carried by c alone.
func (s *sender) keepTo(c *carrier, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.lane.carriers) > 1 {
		c.lane.hints[id] = hint{only: c.Provider}
	}
}

func (s *sender) giveUp(ctx context.Context, n aggregates.Notification, reason, said string) (verdict, skip) {
	return s.conclude(ctx, n, commands.GiveUp{Fact: events.NotificationFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Reason: reason, Error: said,
	}}, hasFailed)
}

// postpone gives back a claim after which nothing was sent.
func (s *sender) postpone(ctx context.Context, n aggregates.Notification, why error) (verdict, skip) {
	pause := refusedPause
	if lasting(why) {
		pause = lastingPause
	}
	next := latest(s.now().Add(pause), n.ScheduledTime)
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: events.ClassPostponed, Error: why.Error(), NextAttempt: next.UTC().Truncate(time.Microsecond),
	}}, hasFailed)
}

// miss concludes one that has expired without having been claimed.
func (s *sender) miss(ctx context.Context, r row) (verdict, skip) {
	n := aggregates.Notification{ID: r.ID, EventID: r.Event}
	reason, err := commands.View(ctx, s.commands, commands.EventStream(r.Event), func(e *aggregates.Event, _ int64) string {
		who, _ := e.Participant(r.Participant)
		for _, w := range Wanted(e, who, s.kinds) {
			if w.NotificationID == r.ID {
				return ""
			}
		}
		return whyNot(e, who)
	})
	if err != nil {
		return notTried, skip{until: s.now().Add(pauseAfter(err))}
	}
	if reason != "" {
		return s.conclude(ctx, n, commands.CancelNotification{NotificationID: r.ID, Reason: reason}, wasDropped)
	}
	return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, r.InDoubt)}, hasFailed)
}

func missed(n aggregates.Notification, doubt bool) events.NotificationFailed {
	reason := events.FailedMissed
	if doubt {
		reason = events.FailedOutcomeUnknown
	}
	return events.NotificationFailed{NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Reason: reason}
}

// lasting tells whether asking again won't help: not the log as a whole is in
// the way, but this one stream, what it would take, or the end.
func lasting(err error) bool {
	var refusal *aggregates.Refusal
	return errors.As(err, &refusal) || errors.Is(err, eventstore.ErrClosed) || errors.Is(err, eventstore.ErrCorrupt) ||
		errors.Is(err, eventstore.ErrTooLarge) || errors.Is(err, events.ErrNewerFact)
}

// conclude appends the outcome; where the log can't take it now, it goes on
// trying, as nothing else keeps the notification from being sent again.
func (s *sender) conclude(ctx context.Context, n aggregates.Notification, c commands.Command[*aggregates.Notification], v verdict) (verdict, skip) {
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		answer, err := commands.Do(ctx, s.commands, c, system(n.ID), nothing[*aggregates.Notification])
		if err == nil {
			return v, skip{revision: answer.Revision, position: answer.Position}
		}
		if ctx.Err() != nil || s.ended() || lasting(err) {
			s.logger.Error("an outcome could not be recorded: the notification is in doubt", "notification", n.ID, "error", err)
			return notTried, skip{until: s.now().Add(pauseAfter(err))}
		}
		s.logger.Warn("an outcome could not be recorded and is tried again", "notification", n.ID, "error", err)
		time.Sleep(pause)
	}
}
