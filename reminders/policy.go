package reminders

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/events"
)

const (
	// maxTries bounds the attempts after which a provider has neither taken nor
	// refused the message, and has not said when it will.
	maxTries = 20

	firstBackoff  = 5 * time.Second
	longestPause  = 15 * time.Minute
	brokenPause   = 30 * time.Second
	tripAfter     = 5 // failures in a row open the circuit of a channel
	maxRetryAfter = 24 * time.Hour
)

// attempt is one that has failed, as far as that says when the next one is.
type attempt struct {
	number  int             // counts from 1
	failed  int             // how many before it used up the attempts that there are
	backoff []time.Duration // nil: ours
	expires time.Time
	jitter  float64 // from 0 to below 1, only makes the next one later
}

// next says when to try again after a failed at now with r, and how that failure is
// classed. Where we choose the time and it would be past the end, we try once
// halfway there, as long as that is worth it.
func (a attempt) next(r channels.Result, now time.Time) (class string, next time.Time) {
	class = events.ClassTemporary
	pause := a.pause()
	switch {
	case r.Outcome == channels.Broken:
		class, pause = events.ClassBroken, brokenPause
	case r.Outcome == channels.Unknown:
		class = events.ClassUnknown
	case r.Outcome == channels.Later && r.NotBefore.After(now):
		return events.ClassRateLimited, asTold(r, now, a.jitter)
	}
	if left := a.expires.Sub(now); pause > left && left >= 2*firstBackoff {
		pause = left / 2
	}
	return class, now.Add(pause)
}

func (a attempt) pause() time.Duration {
	pause := min(firstBackoff<<min(a.number-1, 10), longestPause)
	if len(a.backoff) > 0 {
		pause = a.backoff[min(a.failed, len(a.backoff)-1)]
	}
	return pause + time.Duration(a.jitter*float64(pause)/4)
}

// last tells whether no other attempt is made.
func (a attempt) last() bool { return usedUp(a.failed+1, a.backoff) }

// usedUp tells whether so many attempts that failed are all that there are.
func usedUp(failed int, backoff []time.Duration) bool {
	if len(backoff) > 0 {
		return failed > len(backoff)
	}
	return failed >= maxTries
}

// asTold is when a provider that has said so may be called again.
func asTold(r channels.Result, now time.Time, jitter float64) time.Time {
	at := r.NotBefore
	if most := now.Add(maxRetryAfter); at.After(most) {
		at = most
	}
	return at.Add(time.Duration(jitter * float64(time.Second)))
}

// jitter spreads attempts that failed together. It is drawn from the id and the
// attempt, so that the same history leads to the same times.
func jitter(id string, attempt int) float64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", id, attempt)
	return rand.New(rand.NewPCG(h.Sum64(), 0)).Float64()
}
