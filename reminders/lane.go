package reminders

import (
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/belltower/belltower/channels"
)

// lane is a channel with its own bounds, so that a slow or broken one holds up no other.
type lane struct {
	channels.Registration
	limiter *rate.Limiter
	circuit *gobreaker.TwoStepCircuitBreaker[channels.Result]

	// guarded by sender.mu
	free     int
	queue    []row
	more     bool      // more was due than could be read ahead
	resumeAt time.Time // not before, while the circuit is open
	probing  bool      // resumeAt is only until somebody has tried the circuit
	tokenAt  time.Time // not before, as so many were sent in the last second
	reached  time.Time // when the last one that was started had been due
	startAt  time.Time // when it was started
}

func newLane(r channels.Registration, logger *slog.Logger) *lane {
	if r.Timeout == 0 {
		r.Timeout = defaultTimeout
	}
	if r.Workers == 0 {
		r.Workers = defaultWorkers
	}
	limit := rate.Inf
	if r.PerSecond > 0 {
		limit = rate.Limit(r.PerSecond)
	}
	return &lane{
		Registration: r, free: r.Workers,
		limiter: rate.NewLimiter(limit, max(1, int(r.PerSecond/10))),
		circuit: gobreaker.NewTwoStepCircuitBreaker[channels.Result](gobreaker.Settings{
			Name: r.Name, Timeout: brokenPause, MaxRequests: 1,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
			IsExcluded:  func(err error) bool { return errors.Is(err, errNotSent) },
			OnStateChange: func(name string, from, to gobreaker.State) {
				logger.Warn("the circuit of a channel changed", "channel", name, "from", from.String(), "to", to.String())
			},
		}),
	}
}

// newDisused is the lane of channels that are not configured any more: on it
// nothing is sent, and what was claimed is concluded.
func newDisused(logger *slog.Logger) *lane {
	l := newLane(channels.Registration{Name: "disused"}, logger)
	l.resumeAt = time.Unix(1<<40, 0)
	return l
}

// admits takes a token of l's rate, where l isn't paused and there is one.
// sender.mu is held.
func (l *lane) admits(now time.Time) bool {
	if now.Before(l.resumeAt) {
		return false
	}
	token := l.limiter.ReserveN(now, 1)
	wait := token.DelayFrom(now)
	if wait > 0 {
		token.CancelAt(now)
		l.tokenAt = now.Add(wait)
	}
	return wait == 0
}
