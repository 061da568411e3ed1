// Package push carries messages to apps, through Firebase Cloud Messaging, and to
// browsers, through the push services of those who make them (Web Push).
package push

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
)

// identifier is what may stand in a tag and in the headers of Apple's service.
var identifier = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

var errID = errors.New("the message's id can't stand in a header")

// isSubscription tells a browser's subscription, which is a JSON object, from an
// app's token.
func isSubscription(to string) bool { return strings.HasPrefix(strings.TrimSpace(to), "{") }

// longestLife is how long a push service keeps a message for a device at most.
const longestLife = 28 * 24 * time.Hour

// life is how long a message is worth keeping, in whole seconds.
func life(m channels.Message, now time.Time) int64 {
	return int64(min(max(m.Expires.Sub(now), 0), longestLife) / time.Second)
}

// Backoff is how long to wait after each attempt that failed without saying when the
// next may be: 10 s, which FCM wants at least ("Best practices when sending FCM messages
// at scale", "Exponential backoff"), doubling up to 15 min, for 20 attempts in all.
func Backoff() []time.Duration {
	const first, longest, attempts = 10 * time.Second, 15 * time.Minute, 20
	pauses := make([]time.Duration, attempts-1)
	for i := range pauses {
		pauses[i] = min(first<<min(i, 10), longest)
	}
	return pauses
}

// urgency is that of a calendar's messages (RFC 8030, section 5.3).
const urgency = "normal"

// topic lets a repeat of a message replace the one that waits: 32 characters of
// base64url, made of the message's id (RFC 8030, section 5.4).
func topic(id string) string {
	sum := sha256.Sum256([]byte(id))
	return encode(sum[:24])
}

// content is a message as apps and service workers are handed it: docs/channels.md
// names its parts.
type content struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id,omitempty"`
	StartTime      string `json:"start_time,omitempty"`
	OptOutURL      string `json:"opt_out_url,omitempty"`
	Title          string `json:"title"`
	Body           string `json:"body"`
}

func contentOf(m channels.Message) content {
	c := content{NotificationID: m.ID, EventID: valid(m.Event.UID), OptOutURL: valid(m.OptOut), Title: valid(m.Subject), Body: valid(m.Text)}
	if !m.Event.Start.IsZero() {
		c.StartTime = m.Event.Start.UTC().Format(time.RFC3339)
	}
	return c
}

// valid is text as JSON carries it.
func valid(text string) string { return string([]rune(text)) }

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
