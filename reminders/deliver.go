package reminders

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

const (
	// maxLookAge is how old a look at the event may be when the provider is called.
	maxLookAge = 100 * time.Millisecond
	// maxLooks bounds the looks of one attempt.
	maxLooks = 10
	// hangGrace is how long a channel may take to come back once its time is over.
	hangGrace = time.Second
	// firstPause is before the first repetition of what the log did not take.
	firstPause = 20 * time.Millisecond
)

// deliver makes one attempt: claim, look, send, conclude. Its slot, its token and
// the circuit's permission are taken already; report is for the circuit.
func (s *sender) deliver(ctx context.Context, l *lane, r row, takeover bool, report func(error)) (verdict, skip) {
	called := errNotSent
	tell := sync.OnceFunc(func() {
		report(called)
		s.probed(l)
	})
	defer tell()

	if ctx.Err() != nil {
		return notTried, skip{}
	}
	// What is claimed is concluded, also while the process is ending.
	ctx = context.WithoutCancel(ctx)
	claim, left, ok := s.claim(ctx, l, r, takeover)
	if !ok {
		if left.revision > 0 {
			return wasDropped, left
		}
		return notTried, left
	}
	n := claim.notification
	if s.now().After(n.Expires) {
		return s.conclude(ctx, n, commands.GiveUp{Fact: missed(n, n.InDoubt)}, hasFailed)
	}
	handover := s.commands.BeginHandover(n.EventID, n.ParticipantID)
	defer handover.End()
	a, reason, err := s.attempt(ctx, l, claim)
	if err != nil {
		handover.End()
		return s.unsent(ctx, n, reason, err)
	}
	handover.End()
	if handover.Overtaken() {
		s.overtaken.Add(1)
	}
	called = failure(a.result)
	tell()
	s.measures.answered(l.Name, a.result.Outcome)
	if a.result.Outcome == channels.Broken {
		s.pause(l, brokenPause)
	}
	return s.record(ctx, l, n, a.message, a.result, a.began, handover.Overtaken())
}

// attempted is a call of the provider and what came of it.
type attempted struct {
	message rendered
	began   time.Time
	result  channels.Result
}

// attempt looks and calls the provider; where the look has become too old before
// the call, it looks again. An error with a reason says that the message is not
// wanted any more; after any error the provider was not called.
func (s *sender) attempt(ctx context.Context, l *lane, c claimed) (a attempted, reason string, err error) {
	n := c.notification
	for range maxLooks {
		if a.message, reason, err = s.look(ctx, l, n); err != nil {
			return a, reason, err
		}
		a.began = s.now()
		if a.began.Before(n.ScheduledTime) || a.began.Sub(c.at) > claimMargin {
			// The clock was set back, or so much time has gone by that the claim might
			// run out under the attempt.
			return a, "", errors.New("the clock or the claim did not allow the attempt")
		}
		var called bool
		if a.result, called = s.send(ctx, l, n, a.message, a.began); called {
			return a, "", nil
		}
	}
	return a, "", errors.New("the look at the event took too long")
}

// errNotSent says that the provider was not called, which says nothing of it.
var errNotSent = errors.New("not sent")

// pause lets nothing be sent on l for a while.
func (s *sender) pause(l *lane, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.resumeAt, l.probing = latest(l.resumeAt, s.now().Add(d)), false
	s.flush(l)
}

// permit asks the circuit of l for one attempt. Where it refuses, nothing is
// sent on l until the circuit may be tried, or one who tries it has shown that
// its provider works again. s.mu is held, so that the first in line tries it.
func (s *sender) permit(l *lane) (report func(error), ok bool) {
	report, err := l.circuit.Allow()
	if err == nil {
		return report, true
	}
	if now := s.now(); !now.Before(l.resumeAt) {
		l.resumeAt, l.probing = now.Add(refusedPause), true
	}
	s.flush(l)
	s.poke()
	return nil, false
}

// probed lets those go who wait for a circuit that is closed now.
func (s *sender) probed(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.probing && l.circuit.State() == gobreaker.StateClosed {
		l.resumeAt, l.probing = s.now(), false
		s.poke()
	}
}

// unsent concludes a claim after which nothing was sent: for a reason, as it is
// not wanted any more, or because of err.
func (s *sender) unsent(ctx context.Context, n aggregates.Notification, reason string, err error) (verdict, skip) {
	switch {
	case reason != "":
		return s.conclude(ctx, n, commands.CancelClaimed{NotificationID: n.ID, Attempt: n.Attempts, Boot: s.boot, Reason: reason}, wasDropped)
	case errors.Is(err, errSuppressed):
		return s.giveUp(ctx, n, events.FailedSuppressed, err.Error())
	case errors.Is(err, errUnrenderable):
		return s.giveUp(ctx, n, events.FailedUnrenderable, err.Error())
	}
	return s.postpone(ctx, n, err)
}

// resume settles a claim that nobody works on any more, as a rule because its
// process has ended: whether it sent is unknown.
// It is held, or tried again with the same ids, as its channel is configured;
// while nothing may be sent (report is nil) it is given back, to wait until it may.
func (s *sender) resume(ctx context.Context, l *lane, r row, report func(error)) (verdict, skip) {
	n := aggregates.Notification{ID: r.ID, EventID: r.Event, Attempts: r.Attempt}
	now := s.now().UTC().Truncate(time.Microsecond)
	switch {
	case l.HoldUnknown || now.After(r.Expires):
		if report != nil {
			report(errNotSent)
		}
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, interrupted)
	case report != nil:
		if verdict, left := s.deliver(ctx, l, r, true, report); verdict != notTried {
			return verdict, left
		}
	}
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: events.ClassUnknown, Error: interrupted, NextAttempt: now,
	}}, wasDropped)
}

const interrupted = "the attempt was interrupted"

// failure is what the circuit of a channel counts: not that a message was
// refused or is to wait as told, but that the provider did not work.
func failure(r channels.Result) error {
	switch {
	case r.Outcome == channels.Later && !r.NotBefore.IsZero():
		return errNotSent
	case r.Outcome == channels.Unknown, r.Outcome == channels.Broken, r.Outcome == channels.Later:
		return fmt.Errorf("%s %s", r.Code, r.Detail)
	}
	return nil
}

// claimed is a notification that is ours to send.
type claimed struct {
	notification aggregates.Notification
	at           time.Time
}

// claim takes r at its present revision. Where that is refused, left says from
// when on it may be looked at again.
func (s *sender) claim(ctx context.Context, l *lane, r row, takeover bool) (c claimed, left skip, ok bool) {
	c.at = s.now()
	answer, err := commands.Do(ctx, s.commands, commands.StartSending{
		NotificationID: r.ID, Boot: s.boot, ForMillis: (l.Timeout + 2*claimMargin).Milliseconds(), Takeover: takeover,
	}, system(r.ID), snapshot)
	switch {
	case err == nil:
		c.notification = answer.View
		return c, skip{}, true
	case errors.Is(err, aggregates.ErrNotificationState) || errors.Is(err, aggregates.ErrNotificationExpired):
		return c, s.refused(ctx, r), false
	case errors.Is(err, eventstore.ErrClosed):
		return c, skip{}, false
	}
	s.logger.Warn("a notification could not be claimed and is tried again", "notification", r.ID, "error", err)
	if lasting(err) {
		return c, skip{until: s.now().Add(lastingPause)}, false
	}
	if !errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrUnknownOutcome) {
		s.unclaim(ctx, r)
	}
	return c, skip{until: s.now().Add(refusedPause)}, false
}

// unclaim gives back a claim that may have been made without our having been
// told: nobody else takes over from a process that is alive.
func (s *sender) unclaim(ctx context.Context, r row) {
	for pause := firstPause; !s.ended(); pause = min(2*pause, time.Second) {
		n, err := commands.View(ctx, s.commands, commands.NotificationStream(r.ID), func(n *aggregates.Notification, _ int64) aggregates.Notification { return *n })
		if err == nil {
			if n.Status == aggregates.NotificationSending && n.Boot == s.boot {
				s.postpone(ctx, n, errors.New("the log did not tell whether the attempt might begin"))
			}
			return
		}
		if lasting(err) {
			return
		}
		time.Sleep(pause)
	}
}

// refused finds out why r could not be claimed: the table may be behind the
// notification's stream.
func (s *sender) refused(ctx context.Context, r row) skip {
	last, err := commands.View(ctx, s.commands, commands.NotificationStream(r.ID), func(_ *aggregates.Notification, last int64) int64 { return last })
	if err == nil && last > r.Revision {
		if end, err := s.store.End(ctx); err == nil {
			return skip{revision: last, position: end}
		}
	}
	return skip{until: s.now().Add(refusedPause)}
}

func snapshot(n *aggregates.Notification, _ time.Time) aggregates.Notification {
	c := *n
	c.Log = nil
	return c
}

// send calls the provider, unless the look has become too old. A channel that
// doesn't come back when its time is over is left alone; if it says later that it
// has sent, that is recorded then.
func (s *sender) send(ctx context.Context, l *lane, n aggregates.Notification, m rendered, began time.Time) (r channels.Result, called bool) {
	if err := l.Channel.Check(m.Message); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}, true
	}
	answered, tooOld, gone := make(chan channels.Result), make(chan struct{}), make(chan struct{})
	go func() {
		// A busy machine, or one that was suspended, may come to this late.
		now := s.now()
		if !m.look.fresh(now) {
			close(tooOld)
			return
		}
		s.measures.lookToCall.Observe(now.Sub(m.look.began).Seconds())
		s.measures.called(l.Name, n.Attempts, n.ScheduledTime, now)
		result := call(ctx, l, m.Message)
		select {
		case answered <- result:
		case <-gone:
			if result.Outcome == channels.Accepted {
				s.recordLate(ctx, sentFact(l, n, m, result, began))
			}
		}
	}()
	timeout := time.NewTimer(l.Timeout + hangGrace)
	defer timeout.Stop()
	select {
	case r = <-answered:
		return r, true
	case <-tooOld:
		return r, false
	case <-timeout.C:
		close(gone)
		return channels.Result{Outcome: channels.Unknown, Code: "timeout", Detail: "the channel did not come back"}, true
	}
}

// call calls a channel. One that panics may have sent.
func call(ctx context.Context, l *lane, m channels.Message) (result channels.Result) {
	defer func() {
		if p := recover(); p != nil {
			result = channels.Result{Outcome: channels.Unknown, Code: "panic", Detail: "the channel failed"}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	return l.Channel.Send(ctx, m)
}

func (s *sender) recordLate(ctx context.Context, f events.NotificationSent) {
	_, err := commands.Do(ctx, s.commands, commands.RecordSent{Fact: f}, system(f.NotificationID), nothing[*aggregates.Notification])
	if err != nil {
		s.logger.Error("a late outcome could not be recorded", "notification", f.NotificationID, "error", err)
	}
}

func sentFact(l *lane, n aggregates.Notification, m rendered, r channels.Result, began time.Time) events.NotificationSent {
	return events.NotificationSent{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, SentTime: began.UTC().Truncate(time.Microsecond),
		ProviderMessageID: plain(r.Ref, m), To: channels.Mask(l.Kind, m.To), Personal: events.Personal{Key: m.key, Message: m.Text},
	}
}
