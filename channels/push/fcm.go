package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// FCMURL is Google's own.
const FCMURL = "https://fcm.googleapis.com"

// FCMOptions say as whom, and where.
type FCMOptions struct {
	URL     string // FCMURL or another
	Account Account
	Client  *outgoing.Client
	Now     func() time.Time // nil: time.Now
}

// FCM sends to apps through the HTTP v1 API of Firebase Cloud Messaging. It has no
// idempotency key: a repeat replaces what waits for the device and what the device
// shows, by the message's id. Its methods may be called concurrently.
type FCM struct {
	o      FCMOptions
	url    string
	host   string
	tokens *tokens
}

// NewFCM makes a channel. Nothing is called before the first Send.
func NewFCM(o FCMOptions) (*FCM, error) {
	if err := o.Client.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("fcm: the URL: %w", err)
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.RawQuery != "" {
		return nil, errors.New("fcm: the URL has more than a host and a path")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &FCM{
		o: o, host: u.Host, tokens: newTokens(o.Account, o.Client, o.Now),
		url: u.JoinPath("v1", "projects", o.Account.Project, "messages:send").String(),
	}, nil
}

// Server names the API and the project, for people.
func (f *FCM) Server() string { return f.host + " (project " + f.o.Account.Project + ")" }

// registrationToken is what apps are given; how long it is, isn't documented.
var registrationToken = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)

// longestFCM bounds the keys and values of a message, in bytes.
const longestFCM = 4096

// Check refuses what FCM would not take. What it says doesn't quote it.
func (f *FCM) Check(m channels.Message) error {
	switch {
	case isSubscription(m.To):
		return errors.New("fcm: the recipient's token is a browser's subscription, and web push is not set up")
	case !registrationToken.MatchString(m.To):
		return errors.New("fcm: the recipient's token is none of FCM's")
	case !identifier.MatchString(m.ID):
		return fmt.Errorf("fcm: %w", errID)
	}
	c := contentOf(m)
	size := len("title") + len(c.Title) + len("body") + len(c.Body)
	for key, value := range c.data() {
		size += len(key) + len(value)
	}
	if size > longestFCM {
		return fmt.Errorf("fcm: the message is larger than %d bytes", longestFCM)
	}
	return nil
}

// Send makes one attempt.
func (f *FCM) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := f.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives FCM's words as well. They may quote the
// message: show them to who asked, and keep them not.
//
// Where FCM no longer takes an access token that we have kept, it has taken no
// message either, and is asked once more with a new token.
func (f *FCM) Try(ctx context.Context, m channels.Message) (result channels.Result, words string) {
	return f.authorized(func(refused string, given *access) (channels.Result, string) {
		return f.sender(func(ctx context.Context, m channels.Message) (*http.Request, error) {
			return f.request(ctx, fcmRequest{Message: f.compose(m)}, refused, given)
		}).Try(ctx, m)
	})
}

// Probe asks FCM to look at a message for nobody that it is not to send.
func (f *FCM) Probe(ctx context.Context) (result channels.Result, words string) {
	nobody := fcmRequest{ValidateOnly: true, Message: fcmMessage{
		Topic: "belltower-probe", Notification: fcmNotification{Title: "Belltower", Body: "Not to be sent"},
	}}
	return f.authorized(func(refused string, given *access) (channels.Result, string) {
		req, err := f.request(ctx, nobody, refused, given)
		if unprepared := (*outgoing.Unprepared)(nil); errors.As(err, &unprepared) {
			return unprepared.Result, unprepared.Words
		} else if err != nil {
			return channels.Result{Outcome: channels.Broken, Code: "request", Detail: "fcm: the request could not be made"}, err.Error()
		}
		return f.sender(nil).Call(req)
	})
}

// authorized calls once, and again with another access token where FCM refused one
// that had been kept. attempt says in given which it used.
func (f *FCM) authorized(attempt func(refused string, given *access) (channels.Result, string)) (channels.Result, string) {
	var given access
	result, words := attempt("", &given)
	if result.Code != "UNAUTHENTICATED" || !given.kept {
		return result, words
	}
	return attempt(given.token, &given)
}

func (f *FCM) sender(request func(context.Context, channels.Message) (*http.Request, error)) outgoing.Sender {
	return outgoing.Sender{
		Name: "fcm", Client: f.o.Client, Now: f.o.Now, Check: f.Check, Request: request,
		Read: func(a outgoing.Answer) channels.Result { return readFCM(a, f.o.Now()) },
		Lost: channels.Unknown,
	}
}

func (f *FCM) request(ctx context.Context, body fcmRequest, refused string, given *access) (*http.Request, error) {
	var err error
	if *given, err = f.tokens.get(ctx, refused); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+given.token)
	return req, nil
}

// The parts of projects.messages.send that we use.
type (
	fcmRequest struct {
		ValidateOnly bool       `json:"validateOnly,omitempty"`
		Message      fcmMessage `json:"message"`
	}
	fcmMessage struct {
		Token        string            `json:"token,omitempty"`
		Topic        string            `json:"topic,omitempty"`
		Notification fcmNotification   `json:"notification"`
		Data         map[string]string `json:"data,omitempty"`
		Android      *fcmAndroid       `json:"android,omitempty"`
		APNS         *fcmAPNS          `json:"apns,omitempty"`
		Webpush      *fcmWebpush       `json:"webpush,omitempty"`
	}
	fcmNotification struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	fcmTag struct {
		Tag string `json:"tag"`
	}
	fcmAndroid struct {
		CollapseKey  string `json:"collapseKey"`
		Priority     string `json:"priority"`
		TTL          string `json:"ttl"`
		Notification fcmTag `json:"notification"`
	}
	fcmAPNS struct {
		Headers map[string]string `json:"headers"`
	}
	fcmWebpush struct {
		Headers      map[string]string `json:"headers"`
		Notification fcmTag            `json:"notification"`
	}
)

func (f *FCM) compose(m channels.Message) fcmMessage {
	c := contentOf(m)
	seconds := strconv.FormatInt(life(m, f.o.Now()), 10)
	return fcmMessage{
		Token:        m.To,
		Notification: fcmNotification{Title: c.Title, Body: c.Body},
		Data:         c.data(),
		Android: &fcmAndroid{
			// Without one, all that waits for a device would count as the same.
			CollapseKey: m.ID,
			Priority:    "HIGH", // or the device sleeps until after the event
			TTL:         seconds + "s", Notification: fcmTag{m.ID},
		},
		APNS: &fcmAPNS{Headers: map[string]string{
			"apns-collapse-id": m.ID, "apns-expiration": strconv.FormatInt(m.Expires.Unix(), 10),
		}},
		Webpush: &fcmWebpush{
			Headers:      map[string]string{"TTL": seconds, "Topic": topic(m.ID), "Urgency": urgency},
			Notification: fcmTag{m.ID},
		},
	}
}

// data is what an app may go by, beside what is shown.
func (c content) data() map[string]string {
	values := map[string]string{"notification_id": c.NotificationID}
	for name, value := range map[string]string{"event_id": c.EventID, "start_time": c.StartTime, "opt_out_url": c.OptOutURL} {
		if value != "" {
			values[name] = value
		}
	}
	return values
}
