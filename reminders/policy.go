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

// nextAttempt says when to try again after attempt failed at now with r, and
// how that failure is classed. jitter, from 0 to below 1, only makes it later.
// Where we choose the time and it would be past expires, we try once halfway
// there, as long as that is worth it.
func nextAttempt(r channels.Result, attempt int, now, expires time.Time, jitter float64) (class string, next time.Time) {
	class = events.ClassTemporary
	pause := min(firstBackoff<<min(attempt-1, 10), longestPause)
	pause += time.Duration(jitter * float64(pause) / 4)
	switch told := r.NotBefore; {
	case r.Outcome == channels.Broken:
		class, pause = events.ClassBroken, brokenPause
	case r.Outcome == channels.Unknown:
		class = events.ClassUnknown
	case r.Outcome == channels.Later && told.After(now):
		if told.After(now.Add(maxRetryAfter)) {
			told = now.Add(maxRetryAfter)
		}
		return events.ClassRateLimited, told.Add(time.Duration(jitter * float64(time.Second)))
	}
	if left := expires.Sub(now); pause > left && left >= 2*firstBackoff {
		pause = left / 2
	}
	return class, now.Add(pause)
}

// jitter spreads attempts that failed together. It is drawn from the id and the
// attempt, so that the same history leads to the same times.
func jitter(id string, attempt int) float64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s %d", id, attempt)
	return rand.New(rand.NewPCG(h.Sum64(), 0)).Float64()
}
