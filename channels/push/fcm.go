package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// FCMURL is Firebase Cloud Messaging's own.
const FCMURL = "https://fcm.googleapis.com"

// FCMOptions say as whom messages are sent.
type FCMOptions struct {
	URL      string // FCMURL or another
	TokenURL string // GoogleTokenURL or another
	// Account is a service account's file, as Google gives it: a secret.
	Account []byte
	Client  *outgoing.Client
	Now     func() time.Time // nil: time.Now
}

// FCM sends through Firebase Cloud Messaging (HTTP v1) to one registration token
// each. It recognises no repeats, but one that is still undelivered is replaced on
// Apple's devices and in browsers, and one that is shown on Android's. Its methods
// may be called concurrently.
type FCM struct {
	o      FCMOptions
	tokens *tokens
	url    string
	sender outgoing.Sender
}

// NewFCM makes a channel. Nothing is called before the first Send.
func NewFCM(o FCMOptions) (*FCM, error) {
	for what, url := range map[string]string{"URL": o.URL, "URL for tokens": o.TokenURL} {
		if err := o.Client.CheckURL(url); err != nil {
			return nil, fmt.Errorf("fcm: the %s: %w", what, err)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	account, project, err := parseAccount(o.Account, o.TokenURL)
	if err != nil {
		return nil, fmt.Errorf("fcm: %w", err)
	}
	f := &FCM{
		o: o, tokens: &tokens{account: account, http: o.Client.HTTP(), now: o.Now},
		url: strings.TrimRight(o.URL, "/") + "/v1/projects/" + project + "/messages:send",
	}
	f.sender = outgoing.Sender{Name: "fcm", Client: o.Client, Now: o.Now, Check: f.Check, Read: f.read}
	return f, nil
}

// Server names who is called, for people.
func (f *FCM) Server() string { return hostOf(f.url) }

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// maxFCM is the most that texts and data may take, in bytes.
const maxFCM = 4096

// Check refuses what FCM would not take.
func (f *FCM) Check(m channels.Message) error {
	if err := checkText("fcm", m); err != nil {
		return err
	}
	if m.To == "" || len(m.To) > maxFCM || strings.ContainsFunc(m.To, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("fcm: the recipient has no registration token")
	}
	size := 0
	c := contentOf(m)
	for name, value := range c.data() {
		size += len(name) + len(value)
	}
	if size += len("title") + len(c.Title) + len("body") + len(c.Body); size > maxFCM {
		return fmt.Errorf("fcm: the message takes %d bytes, and %d are allowed", size, maxFCM)
	}
	return nil
}

// Send makes one attempt. It is Unknown where FCM may have taken the message.
func (f *FCM) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := f.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives FCM's words as well. They may quote the
// message: show them to who asked, and keep them not.
//
// Where FCM doesn't know a token that was kept, nothing was taken: one more call is
// made with a new token.
func (f *FCM) Try(ctx context.Context, m channels.Message) (channels.Result, string) {
	var (
		used string
		kept bool
	)
	sender := f.sender
	sender.Request = func(ctx context.Context, m channels.Message) (req *http.Request, err error) {
		if used, kept, err = f.tokens.get(ctx); err != nil {
			result, words := refused(err)
			return nil, &outgoing.Unprepared{Result: result, Words: words}
		}
		return f.request(ctx, m, used)
	}
	for {
		result, words := sender.Try(ctx, m)
		if result.Code != unauthenticated {
			return result, words
		}
		if f.tokens.forget(used); !kept {
			return result, words
		}
	}
}

// The parts of a request that we use.
type (
	fcmRequest struct {
		Message fcmMessage `json:"message"`
	}
	fcmMessage struct {
		Token        string            `json:"token"`
		Notification fcmNotification   `json:"notification"`
		Data         map[string]string `json:"data"`
		Android      fcmAndroid        `json:"android"`
		APNS         fcmHeaders        `json:"apns"`
		Webpush      fcmHeaders        `json:"webpush"`
	}
	fcmNotification struct {
		Title string `json:"title"`
		Body  string `json:"body"`
	}
	// fcmAndroid has no collapse key: FCM keeps at most four of them for a device that
	// is away, and drops the rest.
	fcmAndroid struct {
		Priority     string `json:"priority"`
		TTL          string `json:"ttl"`
		Notification fcmTag `json:"notification"`
	}
	fcmTag struct {
		Tag string `json:"tag"`
	}
	fcmHeaders struct {
		Headers map[string]string `json:"headers"`
	}
)

func (f *FCM) request(ctx context.Context, m channels.Message, token string) (*http.Request, error) {
	c := contentOf(m)
	ttl := strconv.FormatInt(ttlSeconds(m, f.o.Now()), 10)
	body, err := json.Marshal(fcmRequest{fcmMessage{
		Token:        m.To,
		Notification: fcmNotification{c.Title, c.Body},
		Data:         c.data(),
		Android:      fcmAndroid{"HIGH", ttl + "s", fcmTag{m.ID}},
		APNS: fcmHeaders{map[string]string{
			"apns-priority": "10", "apns-collapse-id": topic(m.ID), "apns-expiration": strconv.FormatInt(m.Expires.Unix(), 10),
		}},
		Webpush: fcmHeaders{map[string]string{"TTL": ttl, "Urgency": "high", "Topic": topic(m.ID)}},
	}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	return req, nil
}

// fcmError is what FCM says of an error. Some answers hold none, or are not JSON.
type fcmError struct {
	Error struct {
		Status  string `json:"status"`
		Details []struct {
			ErrorCode       string `json:"errorCode"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// code is FCM's own, which says more than the status.
func (e fcmError) code() string {
	for _, d := range e.Error.Details {
		if d.ErrorCode != "" {
			return d.ErrorCode
		}
	}
	return e.Error.Status
}

// blames tells whether a field of the request is said to be wrong.
func (e fcmError) blames(field string) bool {
	for _, d := range e.Error.Details {
		for _, v := range d.FieldViolations {
			if v.Field == field {
				return true
			}
		}
	}
	return false
}

const (
	unauthenticated = "UNAUTHENTICATED"
	quotaWait       = time.Minute // in which FCM's quota fills up again
)

// read says what an answer means. A token is given up only on what says that it is
// the token: a plain 404 may be a wrong project, a plain 400 too long a text.
func (f *FCM) read(a outgoing.Answer) channels.Result {
	var (
		said fcmError
		sent struct{ Name string }
	)
	if a.Status == http.StatusOK {
		if a.Cut || json.Unmarshal(a.Body, &sent) != nil {
			sent.Name = ""
		}
		return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(sent.Name)}
	}
	if a.Cut || json.Unmarshal(a.Body, &said) != nil {
		said = fcmError{}
	}
	code := said.code()
	result := channels.Result{Code: outgoing.Word(code)}
	switch gone := code == "UNREGISTERED" || code == "SENDER_ID_MISMATCH"; {
	case slices.Contains([]int{http.StatusNotFound, http.StatusForbidden}, a.Status) && gone:
		result.Outcome = channels.Gone
	case a.Status == http.StatusUnauthorized:
		result.Outcome = channels.Broken
		if result.Code == "" {
			result.Code = unauthenticated
		}
	case a.Status == http.StatusNotFound, a.Status == http.StatusForbidden, a.Redirects():
		result.Outcome = channels.Broken
	case a.Status == http.StatusBadRequest && code == "INVALID_ARGUMENT" && said.blames("message.token"):
		result.Outcome = channels.Gone
	case a.Status == http.StatusBadRequest, a.Status == http.StatusRequestEntityTooLarge:
		result.Outcome = channels.Rejected
	case a.Status == http.StatusTooManyRequests:
		result.Outcome, result.NotBefore = channels.Later, outgoing.RetryAfter(a, f.o.Now())
		if result.NotBefore.IsZero() {
			result.NotBefore = f.o.Now().Add(quotaWait)
		}
	case a.Status >= 500: // FCM asks to try again
		result.Outcome, result.NotBefore = channels.Later, outgoing.RetryAfter(a, f.o.Now())
	}
	return result // else Unknown
}

// Probe looks whether Google gives us a token, and sends nothing.
func (f *FCM) Probe(ctx context.Context) (channels.Result, string) {
	if _, _, err := f.tokens.get(ctx); err != nil {
		return refused(err)
	}
	return channels.Result{Outcome: channels.Accepted}, ""
}
