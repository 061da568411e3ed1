package reminders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// Bounds of asking a provider what became of an attempt.
const (
	maxAsks = 12
	// askingTime is for how long after an attempt its provider is asked before its
	// message is held; where it would be sent again, waiting makes it late.
	askingTime      = time.Hour
	askingTimeAgain = 5 * time.Minute
	// maxVersions is how many revisions of an event an attempt may have seen, for it
	// to be told what it sent.
	maxVersions = 16
)

// settle looks for attempts at r whose outcome is unknown before another is made:
// the provider is asked where it can be, what is to be held is held, and what is
// sent again is carried by whoever may have it already. done tells that this is
// all for now.
func (s *sender) settle(ctx context.Context, c *carrier, r row) (v verdict, left skip, done bool) {
	n, err := commands.View(ctx, s.commands, commands.NotificationStream(r.ID), func(n *aggregates.Notification, _ int64) aggregates.Notification {
		seen := *n
		seen.Log = slices.Clone(n.Log)
		return seen
	})
	if err != nil {
		s.logger.Warn("a notification could not be looked at and is tried again", "notification", r.ID, "error", err)
		return notTried, skip{until: s.now().Add(pauseAfter(err))}, true
	}
	if n.Status != aggregates.NotificationPending || s.now().After(n.Expires) {
		return notTried, skip{}, false // the claim will be refused
	}
	for _, a := range n.Doubtful() {
		of := c.lane.named(a.Provider)
		if of == nil { // what carried it is configured no more: nobody can be asked
			if c.HoldUnknown && !a.ByHand {
				v, left = s.held(ctx, n)
				return v, left, true
			}
			continue
		}
		finder := of.finder()
		asks := finder != nil && !a.AskedOut
		switch {
		case !asks && of.HoldUnknown && !a.ByHand:
			v, left = s.held(ctx, n)
			return v, left, true
		case of != c: // with the slot and the tokens of the one that may have it
			s.mu.Lock()
			c.lane.hints[r.ID] = hint{only: of.Provider}
			s.mu.Unlock()
			return notTried, skip{}, true
		case asks:
			v, left = s.ask(ctx, c, finder, n, a)
			return v, left, true
		}
	}
	if usedUp(n.Tries, c.Backoff) { // by a last one that had to be settled first
		v, left = s.exhausted(ctx, n)
		return v, left, true
	}
	return notTried, skip{}, false
}

// exhausted gives up one that waits, after its last attempt.
func (s *sender) exhausted(ctx context.Context, n aggregates.Notification) (verdict, skip) {
	reason := events.FailedExhausted
	if len(n.Doubtful()) > 0 {
		reason = events.FailedOutcomeUnknown
	}
	return s.conclude(ctx, n, commands.GiveUp{Fact: events.NotificationFailed{
		NotificationID: n.ID, EventID: n.EventID, Reason: reason, Error: n.LastError,
	}}, hasFailed)
}

// held keeps one that waits and that may have been sent for a decision by hand.
func (s *sender) held(ctx context.Context, n aggregates.Notification) (verdict, skip) {
	return s.conclude(ctx, n, commands.GiveUp{Fact: events.NotificationFailed{
		NotificationID: n.ID, EventID: n.EventID, Reason: events.FailedOutcomeUnknown, Error: n.LastError,
	}}, hasFailed)
}

// ask asks the provider whether it took the message of an attempt, and writes down
// what it answers. Nothing is sent.
func (s *sender) ask(ctx context.Context, c *carrier, f channels.Finder, n aggregates.Notification, a aggregates.Attempt) (verdict, skip) {
	versions, err := s.versions(ctx, c, n, a)
	if err != nil {
		s.logger.Warn("what an attempt sent can't be told now, and is tried again", "notification", n.ID, "error", err)
		return notTried, skip{until: s.now().Add(pauseAfter(err))}
	}
	n.Attempts = a.Number
	answer, words := channels.Result{Code: "message", Detail: "it can't be told any more what was sent"}, ""
	for i, m := range versions {
		result := inquire(ctx, c, f, m.Message, a.StartedAt)
		if result.Outcome == channels.Accepted {
			fact := sentFact(c, n, m, result, a.StartedAt)
			fact.Found = true
			return s.conclude(ctx, n, commands.RecordSent{Fact: fact}, wasSent)
		}
		// It was not taken if none of what it may have sent was.
		if i == 0 || answer.Outcome == channels.Later {
			answer, words = result, said(result, m)
		} else if result.Outcome != channels.Later {
			answer.NotBefore = latest(answer.NotBefore, result.NotBefore)
		}
	}
	if words == "" {
		words = said(answer, rendered{})
	}
	fact := afterAsking(c.Registration, a, n.Expires, answer, s.now(), jitter(n.ID, a.Asked))
	fact.NotificationID, fact.EventID, fact.Attempt, fact.Error = n.ID, n.EventID, a.Number, words
	return s.conclude(ctx, n, commands.RecordAsked{Fact: fact}, wasDropped)
}

// afterAsking says what follows from a provider's answer, at now, when it was asked
// for an attempt and did not have the message.
func afterAsking(c channels.Registration, a aggregates.Attempt, expires time.Time, r channels.Result, now time.Time, jitter float64) events.ProviderAsked {
	f := events.ProviderAsked{Answer: events.AnswerUnknown, NextAttempt: now.UTC().Truncate(time.Microsecond)}
	if r.Outcome == channels.Later {
		f.Answer = events.AnswerNotTaken
		return f
	}
	pause := min(firstBackoff<<a.Asked, longestPause)
	next := now.Add(pause + time.Duration(jitter*float64(pause)/4))
	if r.NotBefore.After(next) {
		next = r.NotBefore.Add(time.Duration(jitter * float64(time.Second)))
	}
	over := a.StartedAt.Add(askingTimeAgain)
	if c.HoldUnknown {
		over = a.StartedAt.Add(askingTime)
	}
	if a.ByHand || a.Asked+1 >= maxAsks || next.After(over) || next.After(expires) {
		f.Last = true
		return f
	}
	f.NextAttempt = next.UTC().Truncate(time.Microsecond)
	return f
}

// inquire asks a provider. One that panics or doesn't come back has told nothing.
func inquire(ctx context.Context, c *carrier, f channels.Finder, m channels.Message, began time.Time) channels.Result {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	answered := make(chan channels.Result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				answered <- channels.Result{Code: "panic", Detail: "the channel failed"}
			}
		}()
		answered <- f.Find(ctx, m, began)
	}()
	timeout := time.NewTimer(c.Timeout + hangGrace)
	defer timeout.Stop()
	select {
	case r := <-answered:
		return r
	case <-timeout.C:
		return channels.Result{Code: "timeout", Detail: "the channel did not come back"}
	}
}

// versions gives what an attempt may have sent, as a rule one message: what it was
// rendered from is the event as it stood at some revision between the claim and
// what followed on it, and the time of the claim. None: it can't be told.
func (s *sender) versions(ctx context.Context, c *carrier, n aggregates.Notification, a aggregates.Attempt) (all []rendered, err error) {
	in, err := s.bounds(ctx, n.ID, a.Number)
	if err != nil {
		return nil, err
	}
	stream := commands.EventStream(n.EventID)
	first, err := s.lastBefore(ctx, stream, in.claimed)
	if err != nil {
		return nil, err
	}
	last, err := s.lastBefore(ctx, stream, in.followed)
	if err != nil || first < 0 || last-first >= maxVersions {
		return nil, err
	}
	n.Attempts = a.Number
	for revision := first; revision <= last; revision++ {
		type seen struct {
			composed
			ok bool
		}
		v, err := commands.At(ctx, s.commands, stream, commands.Until{Revision: &revision}, func(e *aggregates.Event, _ int64) seen {
			m, ok := compose(e, c.Kind, n, a.StartedAt)
			return seen{m, ok}
		})
		if err != nil {
			return nil, err
		}
		if !v.ok || v.message.To == "" { // it saw that it was not wanted; or the person was erased
			continue
		}
		m, err := v.render()
		if err != nil { // it could not be sent either
			continue
		}
		same := func(other rendered) bool {
			return other.To == m.To && other.Text == m.Text && other.Subject == m.Subject
		}
		if !slices.ContainsFunc(all, same) {
			all = append(all, m)
		}
	}
	return all, nil
}

// bounded is an attempt's claim: its place in the log, that of what followed on it in
// the notification's stream (the log's end where nothing has), and whose it was.
type bounded struct {
	claimed, followed eventstore.Position
	boot              string
}

// bounds finds an attempt's claim.
func (s *sender) bounds(ctx context.Context, id string, attempt int) (b bounded, err error) {
	const page = 256
	stream, found := commands.NotificationStream(id), false
	for from := int64(0); ; from += page {
		records, err := s.store.ReadStream(ctx, stream, from, page)
		if err != nil {
			return b, fmt.Errorf("read %s: %w", stream, err)
		}
		for _, r := range records {
			if found {
				b.followed = r.Position
				return b, nil
			}
			entry, err := s.commands.Open(r)
			if err != nil {
				return b, err
			}
			if f, ok := entry.Fact.(events.SendingStarted); ok && f.Attempt == attempt {
				b.claimed, b.boot, found = r.Position, f.Boot, true
			}
		}
		if len(records) < page {
			break
		}
	}
	if !found {
		return b, errors.New("the attempt is not in the log")
	}
	b.followed, err = s.store.End(ctx)
	return b, err
}

// lastBefore gives the revision of a stream's last record before a position, -1
// where there is none.
func (s *sender) lastBefore(ctx context.Context, stream string, p eventstore.Position) (int64, error) {
	last, ok, err := s.store.ReadLast(ctx, stream)
	if err != nil || !ok {
		return -1, err
	}
	if last.Position.Before(p) {
		return last.Revision, nil
	}
	behind := sort.Search(int(last.Revision), func(i int) bool { // the first one that isn't before p
		if err != nil {
			return true
		}
		var records []eventstore.Record
		records, err = s.store.ReadStream(ctx, stream, int64(i), 1)
		return err != nil || len(records) == 0 || !records[0].Position.Before(p)
	})
	return int64(behind) - 1, err
}

// pauseAfter is how long one is left alone that could not be read.
func pauseAfter(err error) time.Duration {
	if lasting(err) {
		return lastingPause
	}
	return refusedPause
}
