package reminders

import (
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/belltower/belltower/channels"
)

// pause is that nothing is sent for a while, and why. It is guarded by sender.mu.
type pause struct {
	until  time.Time // not before
	since  time.Time // when it first was so without a message taken meanwhile; zero: it isn't
	reason string    // what the provider said, without personal data
}

// hold lets nothing be sent before until.
func (p *pause) hold(now, until time.Time, reason string) {
	if p.since.IsZero() {
		p.since = now
	}
	p.until, p.reason = latest(p.until, until), reason
}

// start is since when p is, in UTC; now where that is just coming to be.
func (p *pause) start(now time.Time) time.Time {
	if p.since.IsZero() {
		return now.UTC()
	}
	return p.since.UTC()
}

// worked notes that a message was taken.
func (p *pause) worked() { p.since, p.reason = time.Time{}, "" }

// gate lets messages through to a provider, or to one of its endpoints, as long
// as that works.
type gate struct {
	circuit *gobreaker.TwoStepCircuitBreaker[channels.Result]
	pause
	probing bool // until is only for as long as nobody has tried the circuit
}

func newGate(logger *slog.Logger, channel, endpoint string) *gate {
	return &gate{circuit: gobreaker.NewTwoStepCircuitBreaker[channels.Result](gobreaker.Settings{
		Name: channel, Timeout: brokenPause, MaxRequests: 1,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNotSent) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			logger.Warn("the circuit of a channel changed", "channel", name, "endpoint", endpoint, "from", from.String(), "to", to.String())
		},
	})}
}

// permit asks the circuit of g for one attempt. Where it refuses, nothing goes
// through until the circuit may be tried, or one who tries it has shown that the
// provider works again. sender.mu is held, so that the first in line tries it.
func (g *gate) permit(now time.Time) (report func(error), ok bool) {
	report, err := g.circuit.Allow()
	if err == nil {
		return report, true
	}
	if !now.Before(g.until) {
		g.until, g.probing = now.Add(refusedPause), true
	}
	return nil, false
}

// probed opens g, where it waited for a circuit that is closed now. sender.mu is held.
func (g *gate) probed(now time.Time) bool {
	if !g.probing || g.circuit.State() != gobreaker.StateClosed {
		return false
	}
	g.until, g.probing = now, false
	return true
}

// shut tells whether nothing goes through at now. sender.mu is held.
func (g *gate) shut(now time.Time) bool {
	return now.Before(g.until) || g.circuit.State() == gobreaker.StateOpen
}

// heed takes over what an answer says of those who come next. sender.mu is held.
func (g *gate) heed(r channels.Result, said string, now time.Time) {
	switch {
	case failure(r) == nil:
		g.worked()
	case r.Outcome == channels.Broken:
		g.hold(now, now.Add(brokenPause), said)
		g.probing = false
	case g.circuit.State() == gobreaker.StateOpen:
		g.hold(now, now, said)
	}
}

// failure is what a circuit counts: not that a message was refused or is to wait
// as told, but that the provider did not work.
func failure(r channels.Result) error {
	switch {
	case r.Outcome == channels.Later && !r.NotBefore.IsZero():
		return errNotSent
	case r.Outcome == channels.Unknown, r.Outcome == channels.Broken, r.Outcome == channels.Later:
		return errFailed
	}
	return nil
}

var (
	errFailed = errors.New("the provider did not work")
	// errNotSent says that the provider was not called, which says nothing of it.
	errNotSent = errors.New("not sent")
)
