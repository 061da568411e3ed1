package email

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// SendGridURL is SendGrid's own; https://api.eu.sendgrid.com is that for accounts
// whose data stay in the EU.
const SendGridURL = "https://api.sendgrid.com"

// SendGridOptions say as whom mails are sent.
type SendGridOptions struct {
	URL  string // SendGridURL or another
	Key  string // a secret that may send mail and read its own scopes
	From mail.Address
	// EventsKey verifies what SendGrid tells of its mails; nil: nothing is believed.
	EventsKey *ecdsa.PublicKey
	Client    *outgoing.Client
	Now       func() time.Time // nil: time.Now
}

// SendGrid sends e-mail through SendGrid's Mail Send. It recognises no repeats:
// the notification's id goes along as a custom argument, by which its events tell
// what became of a mail. Its methods may be called concurrently.
type SendGrid struct {
	o    SendGridOptions
	from address
	outgoing.Sender
}

// NewSendGrid makes a channel. Nothing is called before the first Send.
func NewSendGrid(o SendGridOptions) (*SendGrid, error) {
	if err := o.Client.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("sendgrid: the URL: %w", err)
	}
	from, err := parseAddress(o.From.Address)
	if err != nil {
		return nil, fmt.Errorf("sendgrid: the sender's address: %w", err)
	}
	if o.Key == "" {
		return nil, errors.New("sendgrid: there is no key")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.URL = strings.TrimRight(o.URL, "/")
	s := &SendGrid{o: o, from: from}
	s.Sender = outgoing.Sender{Name: "sendgrid", Client: o.Client, Now: o.Now, Check: s.Check, Request: s.request, Read: s.read}
	return s, nil
}

// Server names who is called, for people.
func (s *SendGrid) Server() string { return outgoing.Host(s.o.URL) }

// maxMail is the most that SendGrid takes, less what else a request holds.
const maxMail = 20 << 20

// Check refuses what can't be put into a mail. What it says doesn't quote it.
func (s *SendGrid) Check(m channels.Message) error {
	if strings.TrimSpace(m.Text) == "" {
		return errors.New("sendgrid: the message has no text")
	}
	if len(m.Text) > maxMail {
		return fmt.Errorf("sendgrid: the message is longer than %d bytes", maxMail)
	}
	return checkMail(m)
}

// The parts of a request that we use.
type (
	sendGridMail struct {
		Personalizations []sendGridRecipients `json:"personalizations"`
		From             sendGridAddress      `json:"from"`
		Subject          string               `json:"subject"`
		Content          []sendGridContent    `json:"content"`
		Attachments      []sendGridAttachment `json:"attachments,omitempty"`
		Headers          map[string]string    `json:"headers"`
		Tracking         sendGridTracking     `json:"tracking_settings"`
	}
	sendGridRecipients struct {
		To         []sendGridAddress `json:"to"`
		CustomArgs map[string]string `json:"custom_args"` // no personal data: its events repeat them
	}
	sendGridAddress struct {
		Email string `json:"email"`
		Name  string `json:"name,omitempty"`
	}
	sendGridContent struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	sendGridAttachment struct {
		Content  string `json:"content"`
		Type     string `json:"type"`
		Filename string `json:"filename"`
	}
	// sendGridTracking turns off what would rewrite links and texts.
	sendGridTracking struct {
		Click        sendGridSwitch `json:"click_tracking"`
		Open         sendGridSwitch `json:"open_tracking"`
		Subscription sendGridSwitch `json:"subscription_tracking"`
	}
	sendGridSwitch struct {
		Enable bool `json:"enable"`
	}
)

func (s *SendGrid) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	to, err := parseAddress(m.To)
	if err != nil {
		return nil, err
	}
	shown := view{Text: string([]rune(m.Text)), OptOut: m.OptOut, Event: details(m.Event)}
	html, err := shown.html()
	if err != nil {
		return nil, err
	}
	body := sendGridMail{
		Personalizations: []sendGridRecipients{{[]sendGridAddress{{to.String(), headerText(m.Name, maxName)}}, map[string]string{
			argNotification: m.ID, argAttempt: strconv.Itoa(m.Attempt),
		}}},
		From:    sendGridAddress{s.from.String(), headerText(s.o.From.Name, maxName)},
		Subject: headerText(m.Subject, maxSubject),
		Content: []sendGridContent{{"text/plain", shown.plain()}, {"text/html", html}},
		Headers: map[string]string{
			"Message-ID": "<" + m.ID + "@" + s.from.domain + ">", "Date": m.Due.UTC().Format(time.RFC1123Z), "Auto-Submitted": "auto-generated",
		},
	}
	if body.Subject == "" {
		body.Subject = "Reminder" // SendGrid takes none without
	}
	if oneClick(m.OptOut) {
		body.Headers["List-Unsubscribe"] = "<" + m.OptOut + ">"
		body.Headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
	}
	if m.Event.UID != "" {
		body.Attachments = []sendGridAttachment{{base64.StdEncoding.EncodeToString([]byte(calendar(m.Event))), "text/calendar", "event.ics"}}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL+"/v3/mail/send", bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.o.Key)
	return req, nil
}

// read says what an answer means.
func (s *SendGrid) read(a outgoing.Answer) channels.Result {
	switch a.Status {
	case http.StatusOK, http.StatusAccepted:
		return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(a.Header.Get("X-Message-Id"))}
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return channels.Result{Outcome: channels.Rejected}
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusUnavailableForLegalReasons: // the account's data belong into another region
		return channels.Result{Outcome: channels.Broken}
	case http.StatusTooManyRequests:
		return channels.Result{Outcome: channels.Later, NotBefore: s.reset(a), Scope: channels.SameProvider}
	case http.StatusServiceUnavailable: // documented as "the API is not available"
		return channels.Result{Outcome: channels.Later, NotBefore: outgoing.RetryAfter(a, s.o.Now())}
	}
	if a.Redirects() {
		return channels.Result{Outcome: channels.Broken} // nobody of SendGrid's
	}
	return channels.Result{} // Unknown: it may have been taken
}

// reset is when SendGrid takes more: its own header has Unix seconds.
func (s *SendGrid) reset(a outgoing.Answer) time.Time {
	now := s.o.Now()
	if at := outgoing.RetryAfter(a, now); !at.IsZero() {
		return at
	}
	seconds, err := strconv.ParseInt(a.Header.Get("X-RateLimit-Reset"), 10, 40)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	if at := time.Unix(seconds, 0); at.After(now) {
		return at
	}
	return now
}

// Probe looks whether the key may send mail, and sends nothing.
func (s *SendGrid) Probe(ctx context.Context) (channels.Result, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.URL+"/v3/scopes", nil)
	if err != nil {
		return channels.Result{Outcome: channels.Broken, Detail: "sendgrid: the URL is none"}, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+s.o.Key)
	probing := s.Sender
	probing.Read = func(a outgoing.Answer) channels.Result {
		var granted struct{ Scopes []string }
		switch {
		case a.Status != http.StatusOK:
			return s.read(a)
		case a.Cut, json.Unmarshal(a.Body, &granted) != nil:
			return channels.Result{Outcome: channels.Broken, Code: "scopes", Detail: "sendgrid: the answer is none of SendGrid's"}
		}
		for _, scope := range granted.Scopes {
			if scope == "mail.send" {
				return channels.Result{Outcome: channels.Accepted}
			}
		}
		return channels.Result{Outcome: channels.Broken, Code: "scopes", Detail: "sendgrid: the key may not send mail"}
	}
	return probing.Call(req)
}
