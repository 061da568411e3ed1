package reminders

import (
	"math/rand/v2"
	"time"

	"github.com/belltower/belltower/channels"
)

// Classes of a failed attempt that is made again, as they stand in SendingFailed.
const (
	ClassTemporary   = "temporary"
	ClassRateLimited = "rate_limited"
	ClassUnknown     = "unknown"
	ClassBroken      = "broken"
)

const (
	// maxAttempts bounds the attempts that reach a provider which neither takes
	// nor refuses the message.
	maxAttempts = 20

	firstBackoff  = 5 * time.Second
	longestPause  = 15 * time.Minute
	brokenPause   = 30 * time.Second
	tripAfter     = 5 // failures in a row open the circuit of a channel
	maxRetryAfter = 24 * time.Hour
)

// nextAttempt says when to try again after attempt failed at now with r, and
// how that failure is classed. jitter, from 0 to below 1, only makes it later.
func nextAttempt(r channels.Result, attempt int, now time.Time, jitter float64) (class string, next time.Time) {
	pause := min(firstBackoff<<min(attempt-1, 10), longestPause)
	pause += time.Duration(jitter * float64(pause) / 4)
	switch r.Outcome {
	case channels.Broken:
		return ClassBroken, now.Add(brokenPause)
	case channels.Unknown:
		return ClassUnknown, now.Add(pause)
	case channels.Later:
		if told := r.NotBefore; told.After(now) {
			if told.After(now.Add(maxRetryAfter)) {
				told = now.Add(maxRetryAfter)
			}
			return ClassRateLimited, told.Add(time.Duration(jitter * float64(time.Second)))
		}
	}
	return ClassTemporary, now.Add(pause)
}

func jitter() float64 { return rand.Float64() }
