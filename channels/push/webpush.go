package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// WebPushOptions say as whom messages are sent.
type WebPushOptions struct {
	Key VAPIDKey
	// Subject is how push services reach us: mailto:… or an https URL.
	Subject string
	Client  *outgoing.Client
	Now     func() time.Time // nil: time.Now
}

// WebPush sends to browsers (RFC 8030), through the push service that each
// subscription names. A repeat replaces what was not delivered yet; what was, the
// service worker replaces by its tag. Its methods may be called concurrently.
type WebPush struct {
	o      WebPushOptions
	sender outgoing.Sender
}

// NewWebPush makes a channel.
func NewWebPush(o WebPushOptions) (*WebPush, error) {
	if o.Key.private == nil {
		return nil, errors.New("webpush: there is no key")
	}
	if err := checkSubject(o.Subject); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	w := &WebPush{o: o}
	w.sender = outgoing.Sender{Name: "webpush", Client: o.Client, Now: o.Now, Check: w.Check, Request: w.request, Read: w.read}
	return w, nil
}

// Check refuses what no push service takes, and an address that is no subscription.
func (w *WebPush) Check(m channels.Message) error {
	if err := checkText("webpush", m); err != nil {
		return err
	}
	to, err := parseSubscription(m.To)
	if err != nil {
		return fmt.Errorf("webpush: the recipient's push token: %w", err)
	}
	if err := w.o.Client.CheckURL(to.endpoint); err != nil {
		return fmt.Errorf("webpush: the recipient's endpoint: %w", err)
	}
	payload, err := json.Marshal(contentOf(m))
	if err != nil {
		return errors.New("webpush: the message can't be written as JSON")
	}
	if len(payload) > maxPlaintext {
		return fmt.Errorf("webpush: the message takes %d bytes, and %d are allowed", len(payload), maxPlaintext)
	}
	return nil
}

// Send makes one attempt. It is Unknown where the push service may have taken the
// message.
func (w *WebPush) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := w.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives the push service's words as well: show them to
// who asked, and keep them not.
func (w *WebPush) Try(ctx context.Context, m channels.Message) (channels.Result, string) {
	result, words := w.sender.Try(ctx, m)
	if result.Code == "forbidden_address" {
		result.Outcome = channels.Rejected // it is the subscription that named it, and none of our settings
	}
	return result, words
}

func (w *WebPush) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	to, err := parseSubscription(m.To)
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(to.endpoint)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(contentOf(m))
	if err != nil {
		return nil, err
	}
	body, err := to.encrypt(payload)
	if err != nil {
		return nil, err
	}
	now := w.o.Now()
	authorization, err := w.o.Key.authorize(endpoint, w.o.Subject, now)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Encoding", "aes128gcm")
	req.Header.Set("TTL", strconv.FormatInt(ttlSeconds(m, now), 10))
	req.Header.Set("Urgency", "high") // a reminder is for now
	req.Header.Set("Topic", topic(m.ID))
	return req, nil
}

// read says what an answer means.
func (w *WebPush) read(a outgoing.Answer) channels.Result {
	switch {
	case a.Status == http.StatusCreated, a.Status == http.StatusOK, a.Status == http.StatusAccepted:
		return channels.Result{Outcome: channels.Accepted} // the message's URL would be a capability
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone:
		return channels.Result{Outcome: channels.Gone}
	case a.Status == http.StatusBadRequest, a.Status == http.StatusRequestEntityTooLarge, a.Redirects(): // endpoints are given by strangers
		return channels.Result{Outcome: channels.Rejected}
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden: // our key or subject
		return channels.Result{Outcome: channels.Broken}
	case a.Status == http.StatusTooManyRequests, a.Status >= 500:
		return channels.Result{Outcome: channels.Later, NotBefore: outgoing.RetryAfter(a, w.o.Now())}
	}
	return channels.Result{} // Unknown
}
