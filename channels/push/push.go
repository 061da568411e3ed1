// Package push carries push messages: through Firebase Cloud Messaging, and to
// browsers by Web Push.
package push

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
)

// content is a message as a device shows it, and as its app is handed it. Its names
// are what apps and service workers are written against: see docs/channels.md.
type content struct {
	NotificationID string `json:"notification_id"`
	Title          string `json:"title"`
	Body           string `json:"body"`
	EventID        string `json:"event_id,omitempty"`
	StartTime      string `json:"start_time,omitempty"`
	OptOutURL      string `json:"opt_out_url,omitempty"`
}

func contentOf(m channels.Message) content {
	c := content{NotificationID: m.ID, Title: string([]rune(m.Subject)), Body: string([]rune(m.Text)), OptOutURL: m.OptOut}
	if m.Event.UID != "" {
		c.EventID, c.StartTime = m.Event.UID, m.Event.Start.UTC().Format(time.RFC3339)
	}
	return c
}

// data is what is not shown.
func (c content) data() map[string]string {
	data := map[string]string{"notification_id": c.NotificationID}
	for name, value := range map[string]string{"event_id": c.EventID, "start_time": c.StartTime, "opt_out_url": c.OptOutURL} {
		if value != "" {
			data[name] = value
		}
	}
	return data
}

// identifier is what may stand in headers, and be a tag.
var identifier = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func checkText(name string, m channels.Message) error {
	switch {
	case strings.TrimSpace(m.Text) == "":
		return errors.New(name + ": the message has no text")
	case !identifier.MatchString(m.ID):
		return fmt.Errorf("%s: the message's id can't be a tag", name)
	}
	return nil
}

// topic makes 32 characters of the URL-safe base64 alphabet of an id, the same for
// every attempt: the most that Web Push takes (RFC 8030, section 5.4).
func topic(id string) string {
	const bytes = 24
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:bytes])
}

// maxTTL is how long push services keep a message for a device that is away.
const maxTTL = 28 * 24 * time.Hour

// ttlSeconds is how long a message may wait for a device.
func ttlSeconds(m channels.Message, now time.Time) int64 {
	return int64(min(max(m.Expires.Sub(now), 0), maxTTL) / time.Second)
}
