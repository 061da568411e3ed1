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

// maxLookAge is how old a look at the event may be when the provider is called.
const maxLookAge = 100 * time.Millisecond

// deliver makes one attempt: claim, look, send, conclude. Its slot is taken already.
func (s *sender) deliver(ctx context.Context, l *lane, r row, takeover bool) (verdict, skip) {
	report, err := l.circuit.Allow()
	if err != nil {
		s.mu.Lock()
		l.resumeAt = s.now().Add(refusedPause)
		s.flush(l)
		s.mu.Unlock()
		return notTried, skip{}
	}
	reported := false
	tell := func(err error) {
		if !reported {
			reported = true
			report(err)
		}
	}
	defer func() { tell(nil) }()

	if err := l.limiter.Wait(ctx); err != nil {
		return notTried, skip{}
	}
	claim, left, ok := s.claim(ctx, l, r, takeover)
	if !ok {
		if left.revision > 0 {
			return wasDropped, left
		}
		return notTried, left
	}
	// What has been claimed is concluded, also while the process is ending.
	ctx = context.WithoutCancel(ctx)
	n := claim.notification
	if s.now().After(n.Expires) {
		return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, claim.doubt)}, hasFailed)
	}
	handover := s.commands.BeginHandover(n.EventID, n.ParticipantID)
	message, reason, err := s.look(ctx, l, n)
	if err != nil {
		handover.End()
		if reason != "" {
			return s.conclude(ctx, n, commands.CancelClaimed{NotificationID: n.ID, Attempt: n.Attempts, Boot: s.boot, Reason: reason}, wasDropped)
		}
		if errors.Is(err, errUnrenderable) {
			return s.conclude(ctx, n, commands.GiveUp{Fact: events.NotificationFailed{
				NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Reason: events.FailedUnrenderable, Error: err.Error(),
			}}, hasFailed)
		}
		return s.postpone(ctx, n, err)
	}
	began := s.now()
	if began.Before(n.ScheduledTime) || s.now().Sub(claim.at) > claimMargin {
		// The clock was set back, or so much time has gone by that the claim might
		// run out under the attempt.
		handover.End()
		return s.postpone(ctx, n, errors.New("the clock or the claim did not allow the attempt"))
	}
	result := send(ctx, l, message.Message)
	handover.End()
	if handover.Overtaken() {
		s.overtaken.Add(1)
	}
	tell(failure(result))
	if result.Outcome == channels.Broken {
		s.mu.Lock()
		l.resumeAt = s.now().Add(brokenPause)
		s.flush(l)
		s.mu.Unlock()
	}
	return s.record(ctx, l, n, message, result, began, handover.Overtaken())
}

// resume settles a claim whose process has ended: whether it sent is unknown.
// It is held, or tried again with the same ids, as its channel is configured;
// while the processor is stopped it waits for the next start.
func (s *sender) resume(ctx context.Context, l *lane, r row, running bool) (verdict, skip) {
	n := aggregates.Notification{ID: r.ID, EventID: r.Event, Attempts: r.Attempt}
	now := s.now().UTC().Truncate(time.Microsecond)
	switch {
	case l.HoldUnknown || now.After(r.Expires):
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, interrupted)
	case running:
		return s.deliver(ctx, l, r, true)
	}
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: ClassUnknown, Error: interrupted, NextAttempt: now,
	}}, wasDropped)
}

const interrupted = "the process ended during the attempt"

// failure is what the circuit of a channel counts: not that a message was
// refused, but that the provider did not work.
func failure(r channels.Result) error {
	switch r.Outcome {
	case channels.Unknown, channels.Broken, channels.Later:
		return fmt.Errorf("%s %s", r.Code, r.Detail)
	}
	return nil
}

// claimed is a notification that is ours to send.
type claimed struct {
	notification aggregates.Notification
	at           time.Time
	doubt        bool
}

// claim takes r at its present revision. Where that is refused, left says from
// when on it may be looked at again.
func (s *sender) claim(ctx context.Context, l *lane, r row, takeover bool) (c claimed, left skip, ok bool) {
	c.at = s.now()
	answer, err := commands.Do(ctx, s.commands, commands.StartSending{
		NotificationID: r.ID, Boot: s.boot, ForMillis: (l.Timeout + 2*claimMargin).Milliseconds(), Takeover: takeover,
	}, system(r.ID), snapshot)
	if err == nil {
		c.notification, c.doubt = answer.View, answer.View.InDoubt
		return c, skip{}, true
	}
	if errors.Is(err, aggregates.ErrNotificationState) || errors.Is(err, aggregates.ErrNotificationExpired) {
		return c, s.refused(ctx, r), false
	}
	if ctx.Err() == nil {
		s.logger.Warn("a notification could not be claimed and is tried again", "notification", r.ID, "error", err)
	}
	return c, skip{until: s.now().Add(refusedPause)}, false
}

// refused finds out why r could not be claimed: the table may be behind the
// notification's stream.
func (s *sender) refused(ctx context.Context, r row) skip {
	last, err := commands.View(ctx, s.commands, commands.NotificationStream(r.ID), func(_ *aggregates.Notification, last int64) int64 { return last })
	if err != nil || last <= r.Revision {
		return skip{until: s.now().Add(refusedPause)}
	}
	return skip{revision: last}
}

func snapshot(n *aggregates.Notification, _ time.Time) aggregates.Notification {
	c := *n
	c.Log = nil
	return c
}

var errUnrenderable = errors.New("the message can't be rendered")

// rendered is what goes out, and the key that its text is sealed with.
type rendered struct {
	channels.Message
	key int64
}

// look reads the event's stream at its end and renders what is wanted there. An
// error with a reason says that n is not wanted any more.
func (s *sender) look(ctx context.Context, l *lane, n aggregates.Notification) (rendered, string, error) {
	kinds := map[string]aggregates.AddressKind{l.Name: aggregates.AddressKind(l.Kind)}
	for {
		type seen struct {
			wanted   bool
			reason   string
			at       time.Time
			message  rendered
			template string
			bindings aggregates.Bindings
		}
		now, err := commands.View(ctx, s.commands, commands.EventStream(n.EventID), func(e *aggregates.Event, _ int64) seen {
			who, _ := e.Participant(n.ParticipantID)
			v := seen{at: s.now(), reason: whyNot(e, who)}
			for _, w := range Wanted(e, who, kinds) {
				v.wanted = v.wanted || w.NotificationID == n.ID
			}
			if !v.wanted {
				return v
			}
			v.message = rendered{key: who.Contact.Key, Message: channels.Message{
				ID: n.ID, Channel: n.Channel, Attempt: n.Attempts, To: address(l.Kind, who), Name: who.Contact.Name,
				Subject: e.Title, Created: n.Created.At, Expires: n.Expires,
			}}
			reminder, _ := e.Reminder(n.ReminderID)
			announcement, _ := e.Announcement(n.AnnouncementID)
			v.template = templateOf(reminder, announcement)
			v.bindings = aggregates.BindingsFor(e, who, reminder, announcement, v.at)
			return v
		})
		if err != nil {
			return rendered{}, "", err
		}
		if !now.wanted {
			return rendered{}, now.reason, errors.New("not wanted any more")
		}
		text, err := aggregates.RenderTemplate(now.template, now.bindings)
		if err != nil {
			return rendered{}, "", fmt.Errorf("%w: %w", errUnrenderable, err)
		}
		now.message.Text = text
		if s.now().Sub(now.at) <= maxLookAge {
			return now.message, "", nil
		}
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

// send makes the one attempt. A channel that panics may have sent.
func send(ctx context.Context, l *lane, m channels.Message) (result channels.Result) {
	if err := l.Channel.Check(m); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}
	}
	defer func() {
		if p := recover(); p != nil {
			result = channels.Result{Outcome: channels.Unknown, Code: "panic", Detail: "the channel failed"}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	return l.Channel.Send(ctx, m)
}

// record concludes an attempt as its outcome says.
func (s *sender) record(ctx context.Context, l *lane, n aggregates.Notification, m rendered, r channels.Result, began time.Time, overtaken bool) (verdict, skip) {
	said := r.Detail
	if r.Code != "" {
		said = r.Code + ": " + r.Detail
	}
	switch r.Outcome {
	case channels.Accepted:
		return s.conclude(ctx, n, commands.RecordSent{Fact: events.NotificationSent{
			NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, SentTime: began.UTC().Truncate(time.Microsecond),
			ProviderMessageID: r.Ref, To: channels.Mask(l.Kind, m.To), Overtaken: overtaken,
			Personal: events.Personal{Key: m.key, Message: m.Text},
		}}, wasSent)
	case channels.Rejected, channels.Gone, channels.OptedOut:
		return s.giveUp(ctx, n, events.FailedRejected, said)
	case channels.Unknown:
		if l.HoldUnknown {
			return s.giveUp(ctx, n, events.FailedOutcomeUnknown, said)
		}
	}
	class, next := nextAttempt(r, n.Attempts, s.now(), jitter())
	switch {
	case next.After(n.Expires) && class == ClassUnknown:
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, said)
	case next.After(n.Expires):
		return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, n.InDoubt)}, hasFailed)
	case n.Attempts >= maxAttempts && class != ClassBroken:
		return s.giveUp(ctx, n, events.FailedExhausted, said)
	}
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: class, Error: said, NextAttempt: next.UTC().Truncate(time.Microsecond),
	}}, hasFailed)
}

func (s *sender) giveUp(ctx context.Context, n aggregates.Notification, reason, said string) (verdict, skip) {
	return s.conclude(ctx, n, commands.GiveUp{Fact: events.NotificationFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Reason: reason, Error: said,
	}}, hasFailed)
}

// postpone gives back a claim after which nothing was sent.
func (s *sender) postpone(ctx context.Context, n aggregates.Notification, why error) (verdict, skip) {
	next := latest(s.now().Add(refusedPause), n.ScheduledTime)
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: ClassTemporary, Error: why.Error(), NextAttempt: next.UTC().Truncate(time.Microsecond),
	}}, hasFailed)
}

// miss concludes one that has expired without having been claimed.
func (s *sender) miss(ctx context.Context, r row) (verdict, skip) {
	n := aggregates.Notification{ID: r.ID, EventID: r.Event}
	return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, r.InDoubt)}, hasFailed)
}

func missed(n aggregates.Notification, doubt bool) events.NotificationFailed {
	reason := events.FailedMissed
	if doubt {
		reason = events.FailedOutcomeUnknown
	}
	return events.NotificationFailed{NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Reason: reason}
}

// conclude appends the outcome; where the log can't take it now, it goes on
// trying, as nothing else keeps the notification from being sent again.
func (s *sender) conclude(ctx context.Context, n aggregates.Notification, c commands.Command[*aggregates.Notification], v verdict) (verdict, skip) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		answer, err := commands.Do(ctx, s.commands, c, system(n.ID), nothing[*aggregates.Notification])
		if err == nil {
			return v, skip{revision: answer.Revision}
		}
		if ctx.Err() != nil || s.ended() {
			s.logger.Error("an outcome could not be recorded: the notification is in doubt", "notification", n.ID, "error", err)
			return notTried, skip{}
		}
		s.logger.Warn("an outcome could not be recorded and is tried again", "notification", n.ID, "error", err)
		time.Sleep(pause)
	}
}
