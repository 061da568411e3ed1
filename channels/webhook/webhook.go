// Package webhook hands messages to somebody's own server, signed as Standard
// Webhooks says (https://www.standardwebhooks.com, 1.0.0).
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// Options say who is called.
type Options struct {
	URL string
	// Secrets sign, all of them, so that one can be replaced while both are known.
	Secrets []Secret
	Client  *outgoing.Client
	Now     func() time.Time // nil: time.Now
}

// Channel calls one URL. Whoever is there recognises a repeat by its webhook-id,
// which is the notification's, so a lost answer is Later. Its methods may be
// called concurrently.
type Channel struct {
	o Options
	outgoing.Sender
}

// New makes a channel. Nothing is called before the first Send. Its errors show
// neither URL nor secrets.
func New(o Options) (*Channel, error) {
	if err := o.Client.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("webhook: the URL: %w", err)
	}
	if len(o.Secrets) == 0 {
		return nil, errors.New("webhook: there is no secret to sign with")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Channel{o: o}
	c.Sender = outgoing.Sender{Name: "webhook", Client: o.Client, Now: o.Now, Check: c.Check, Request: c.request, Read: c.read, Lost: channels.Later}
	return c, nil
}

// Backoff is how long to wait after each attempt that failed, as Standard Webhooks
// recommends; the first attempt is made at once, and ten are made in all.
func Backoff() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// Destination is the URL, which is for its owner alone to know.
func (c *Channel) Destination() string { return c.o.URL }

// Server names who is called, for people.
func (c *Channel) Server() string { return outgoing.Host(c.o.URL) }

// identifier is what may stand in webhook-id; a full stop may not.
var identifier = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// maxPayload is the most that receivers are advised to expect, in bytes.
const maxPayload = 20 << 10

// Check refuses a message that can't be signed or is too large.
func (c *Channel) Check(m channels.Message) error {
	switch {
	case strings.TrimSpace(m.To) == "":
		return errors.New("webhook: the message has no address")
	case !identifier.MatchString(m.ID):
		return errors.New("webhook: the message's id can't be signed")
	}
	body, err := encode(m)
	if err != nil {
		return errors.New("webhook: the message has a time that no JSON can have")
	}
	if len(body) > maxPayload {
		return fmt.Errorf("webhook: the message takes more than %d bytes", maxPayload)
	}
	return nil
}

// The payload. Its names are what receivers are written against: see docs/channels.md.
type (
	payload struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      data      `json:"data"`
	}
	data struct {
		NotificationID string    `json:"notification_id"`
		Channel        string    `json:"channel"`
		To             string    `json:"to"`
		Name           string    `json:"name,omitempty"`
		Subject        string    `json:"subject"`
		Message        string    `json:"message"`
		ExpiresAt      time.Time `json:"expires_at"`
		OptOutURL      string    `json:"opt_out_url,omitempty"`
		Event          *event    `json:"event,omitempty"`
	}
	event struct {
		ID        string    `json:"id"`
		Title     string    `json:"title"`
		Location  string    `json:"location,omitempty"`
		StartTime time.Time `json:"start_time"`
		EndTime   time.Time `json:"end_time"`
		TimeZone  string    `json:"time_zone"`
		Cancelled bool      `json:"cancelled"`
	}
)

// encode makes the payload, which is the same on every attempt.
func encode(m channels.Message) ([]byte, error) {
	p := payload{Type: "notification.due", Timestamp: m.Due.UTC(), Data: data{
		NotificationID: m.ID, Channel: m.Channel, To: m.To, Name: m.Name, Subject: m.Subject, Message: m.Text, ExpiresAt: m.Expires.UTC(), OptOutURL: m.OptOut,
	}}
	if e := m.Event; e.UID != "" {
		p.Data.Event = &event{
			ID: e.UID, Title: e.Title, Location: e.Location, StartTime: e.Start.UTC(), EndTime: e.End.UTC(), TimeZone: "UTC", Cancelled: e.Cancelled,
		}
		if e.Zone != nil {
			p.Data.Event.TimeZone = e.Zone.String()
		}
	}
	return json.Marshal(p)
}

func (c *Channel) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	body, err := encode(m)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	now := c.o.Now() // of this attempt, unlike all else
	signatures := make([]string, len(c.o.Secrets))
	for i, s := range c.o.Secrets {
		signatures[i] = s.Sign(m.ID, now, body)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", m.ID)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	return req, nil
}

// read says what an answer means: what is no success is tried again, as a repeat
// does no harm.
func (c *Channel) read(a outgoing.Answer) channels.Result {
	switch {
	case a.Status >= 200 && a.Status < 300:
		return channels.Result{Outcome: channels.Accepted}
	case a.Status == http.StatusGone:
		return channels.Result{Outcome: channels.Gone}
	}
	return channels.Result{Outcome: channels.Later, NotBefore: outgoing.RetryAfter(a, c.o.Now()), Scope: channels.SameEndpoint}
}
