package reminders

import (
	"context"
	"errors"
	"sync"
	"time"

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
	// maxReadTime is how long a store that others append to may take to tell an
	// event's end. It is as long as a change waits for a hand-over.
	maxReadTime = time.Second
	// hangGrace is how long a channel may take to come back once its time is over.
	hangGrace = time.Second
	// firstPause is before the first repetition of what the log did not take.
	firstPause = 20 * time.Millisecond
)

// deliver makes one attempt: claim, look, send, conclude. Its slot, its tokens and
// the circuit's permission are taken already; report is for the circuit. What an
// earlier attempt has left open is settled first, and nothing else is done then.
func (s *sender) deliver(ctx context.Context, c *carrier, r row, takeover bool, tried []string, report func(error)) (verdict, skip) {
	called, g := errNotSent, c.gate
	var reportEndpoint func(error)
	tell := sync.OnceFunc(func() {
		if reportEndpoint != nil { // whether that works says nothing of the others
			reportEndpoint(called)
			report(errNotSent)
		} else {
			report(called)
		}
		s.probed(g)
	})
	defer tell()

	if ctx.Err() != nil {
		return notTried, skip{}
	}
	// What is claimed is concluded, also while the process is ending.
	ctx = context.WithoutCancel(ctx)
	if !takeover && c.lane.settles() {
		if verdict, left, done := s.settle(ctx, c, r); done {
			return verdict, left
		}
	}
	to := ""
	if c.looksFirst() {
		var left skip
		var ok bool
		if to, g, reportEndpoint, left, ok = s.admit(ctx, c, r); !ok {
			return notTried, left
		}
	}
	claim, left, ok := s.claim(ctx, c, r, takeover)
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
	a, reason, err := s.attempt(ctx, c, claim, to)
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
	s.measures.answered(c.Name, a.result.Outcome)
	s.heed(c, g, a.result, said(a.result, a.message), jitter(n.ID, n.Attempts))
	return s.record(ctx, c, n, a, tried, handover.Overtaken())
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
// The message goes to no other address than the one that it was admitted for, where
// one is given.
func (s *sender) attempt(ctx context.Context, c *carrier, claim claimed, to string) (a attempted, reason string, err error) {
	n := claim.notification
	for range maxLooks {
		if a.message, reason, err = s.look(ctx, c, n); err != nil {
			return a, reason, err
		}
		if to != "" && a.message.To != to {
			return a, "", errors.New("the address changed meanwhile")
		}
		a.began = s.now()
		if a.began.Before(n.ScheduledTime) || a.began.Sub(claim.at) > claimMargin {
			// The clock was set back, or so much time has gone by that the claim might
			// run out under the attempt.
			return a, "", errors.New("the clock or the claim did not allow the attempt")
		}
		var called bool
		if a.result, called = s.send(ctx, c, n, a.message, a.began); called {
			return a, "", nil
		}
	}
	return a, "", errors.New("the look at the event took too long")
}

// heed takes over what an answer says of the messages that come next: the channel,
// one of its endpoints or all that the provider carries is to wait.
func (s *sender) heed(c *carrier, g *gate, r channels.Result, said string, jitter float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	g.heed(r, said, now)
	if r.Outcome == channels.Accepted && !c.account.until.After(now) {
		c.account.worked()
	}
	if r.Outcome == channels.Later && r.NotBefore.After(now) {
		until := asTold(r, now, jitter)
		switch r.Scope {
		case channels.SameProvider:
			c.account.hold(now, until, said)
		case channels.SameEndpoint:
			g.hold(now, until, said)
			g.probing = false
		}
	}
	for _, l := range s.lanes {
		if l.openAt().After(now) {
			s.flush(l)
		}
	}
}

// admit looks where a message would go, before it is claimed: whether its endpoint
// works, and whether its recipient is to be left alone for now.
func (s *sender) admit(ctx context.Context, c *carrier, r row) (to string, g *gate, report func(error), left skip, ok bool) {
	to, err := commands.View(ctx, s.commands, commands.EventStream(r.Event), func(e *aggregates.Event, _ int64) string {
		if who, ok := e.Participant(r.Participant); ok {
			return address(c.Kind, who)
		}
		return ""
	})
	if err != nil {
		return "", c.gate, nil, skip{until: s.now().Add(pauseAfter(err))}, false
	}
	if to == "" { // the look will tell why
		return "", c.gate, nil, skip{}, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if endpoint := c.endpoint(to); endpoint != "" {
		if g = c.gateOf(endpoint); g.until.After(now) {
			return to, g, nil, skip{until: g.until}, false
		}
	} else {
		g = c.gate
	}
	if spacing := c.lane.spacing; spacing != nil {
		if at, free := spacing.admit(r.ID, to, now); !free {
			return to, g, nil, skip{until: at}, false
		}
	}
	if g != c.gate {
		if report, ok = g.permit(now); !ok {
			return to, g, nil, skip{until: g.until}, false
		}
	}
	return to, g, report, skip{}, true
}

// probed lets those go who wait for a circuit that is closed now.
func (s *sender) probed(g *gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.probed(s.now()) {
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
func (s *sender) resume(ctx context.Context, c *carrier, r row, report func(error)) (verdict, skip) {
	n := aggregates.Notification{ID: r.ID, EventID: r.Event, Attempts: r.Attempt}
	now := s.now().UTC().Truncate(time.Microsecond)
	settled := !c.lane.settles() // else that is done once it waits again
	switch {
	case (c.HoldUnknown && settled) || now.After(r.Expires):
		if report != nil {
			report(errNotSent)
		}
		return s.giveUp(ctx, n, events.FailedOutcomeUnknown, interrupted)
	case report != nil && settled:
		if verdict, left := s.deliver(ctx, c, r, true, nil, report); verdict != notTried {
			return verdict, left
		}
	case report != nil:
		report(errNotSent)
	}
	return s.conclude(ctx, n, commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, Class: events.ClassUnknown, Error: interrupted, NextAttempt: now,
	}}, wasDropped)
}

const interrupted = "the attempt was interrupted"

// claimed is a notification that is ours to send.
type claimed struct {
	notification aggregates.Notification
	at           time.Time
}

// claim takes r at its present revision. Where that is refused, left says from
// when on it may be looked at again.
func (s *sender) claim(ctx context.Context, by *carrier, r row, takeover bool) (c claimed, left skip, ok bool) {
	c.at = s.now()
	answer, err := commands.Do(ctx, s.commands, commands.StartSending{
		NotificationID: r.ID, Provider: by.Provider, Boot: s.boot, ForMillis: (by.Timeout + 2*claimMargin).Milliseconds(), Takeover: takeover,
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
func (s *sender) send(ctx context.Context, c *carrier, n aggregates.Notification, m rendered, began time.Time) (r channels.Result, called bool) {
	if err := c.Channel.Check(m.Message); err != nil {
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
		s.measures.called(c.Name, n.Attempts, n.ScheduledTime, now)
		result := call(ctx, c, m.Message)
		select {
		case answered <- result:
		case <-gone:
			if result.Outcome == channels.Accepted {
				s.recordLate(ctx, sentFact(c, n, m, result, began))
			}
		}
	}()
	timeout := time.NewTimer(c.Timeout + hangGrace)
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
func call(ctx context.Context, c *carrier, m channels.Message) (result channels.Result) {
	defer func() {
		if p := recover(); p != nil {
			result = channels.Result{Outcome: channels.Unknown, Code: "panic", Detail: "the channel failed"}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return c.Channel.Send(ctx, m)
}

func (s *sender) recordLate(ctx context.Context, f events.NotificationSent) {
	_, err := commands.Do(ctx, s.commands, commands.RecordSent{Fact: f}, system(f.NotificationID), nothing[*aggregates.Notification])
	if err != nil {
		s.logger.Error("a late outcome could not be recorded", "notification", f.NotificationID, "error", err)
	}
}

func sentFact(c *carrier, n aggregates.Notification, m rendered, r channels.Result, began time.Time) events.NotificationSent {
	return events.NotificationSent{
		NotificationID: n.ID, EventID: n.EventID, Attempt: n.Attempts, SentTime: began.UTC().Truncate(time.Microsecond),
		ProviderMessageID: plain(r.Ref, m), To: channels.Mask(c.Kind, m.To), Personal: events.Personal{Key: m.key, Message: m.Text},
	}
}
