// Package sms carries text messages through Twilio.
package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// TwilioURL is Twilio's own.
const TwilioURL = "https://api.twilio.com"

// Options say as whom messages are sent.
type Options struct {
	URL     string // TwilioURL or another
	Account string // the account's SID, AC…
	Token   string // a secret
	// From is a number in E.164, a short code, a sender's name, or the SID of a
	// messaging service, MG….
	From string
	// Receipts is the public address at which Receive is called, without a query; it
	// is told to Twilio with each message. Empty: Twilio tells nothing.
	Receipts    string
	MaxSegments int // a message that would be sent in more parts is refused; 0: no bound but Twilio's
	Client      *outgoing.Client
	Now         func() time.Time // nil: time.Now
}

// Twilio sends text messages. Twilio recognises no repeats, but can be asked what
// it took (Find). Its methods may be called concurrently.
type Twilio struct {
	o      Options
	sender outgoing.Sender
}

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	number     = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	// A name of at most 11 characters with a letter in it, or a short code.
	senderName = regexp.MustCompile(`^[A-Za-z0-9 ]{0,10}[A-Za-z][A-Za-z0-9 ]{0,10}$|^[0-9]{3,8}$`)
)

// NewTwilio makes a channel. Nothing is called before the first Send.
func NewTwilio(o Options) (*Twilio, error) {
	if err := o.Client.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("twilio: the URL: %w", err)
	}
	const longestName = 11
	name := senderName.MatchString(o.From) && len(o.From) <= longestName
	switch {
	case !accountSID.MatchString(o.Account):
		return nil, errors.New("twilio: the account is no SID such as AC and 32 hexadecimal digits")
	case o.Token == "":
		return nil, errors.New("twilio: there is no token")
	case !number.MatchString(o.From) && !serviceSID.MatchString(o.From) && !name:
		return nil, errors.New("twilio: the sender is no number such as +15005550006, no name of at most 11 letters and digits, and no messaging service's SID, MG…")
	case o.MaxSegments < 0:
		return nil, errors.New("twilio: the number of segments is negative")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.URL = strings.TrimRight(o.URL, "/")
	t := &Twilio{o: o}
	t.sender = outgoing.Sender{Name: "twilio", Client: o.Client, Now: o.Now, Check: t.Check, Request: t.request, Read: t.read}
	return t, nil
}

// Server names who is called, for people.
func (t *Twilio) Server() string { return outgoing.Host(t.o.URL) }

const maxCharacters = 1600

// Check refuses what Twilio would not take, and what would cost more than is allowed.
func (t *Twilio) Check(m channels.Message) error {
	text := textOf(m)
	_, segments := Segments(text)
	switch {
	case !number.MatchString(m.To):
		return errors.New("twilio: the recipient's number is none in E.164, such as +15005550006")
	case strings.TrimSpace(text) == "":
		return errors.New("twilio: the message has no text")
	case utf8.RuneCountInString(text) > maxCharacters:
		return fmt.Errorf("twilio: the message is longer than %d characters", maxCharacters)
	case t.o.MaxSegments > 0 && segments > t.o.MaxSegments:
		return fmt.Errorf("twilio: the message would be sent in %d parts, and %d are allowed", segments, t.o.MaxSegments)
	}
	return nil
}

// textOf is the text as UTF-8.
func textOf(m channels.Message) string { return string([]rune(m.Text)) }

// Send makes one attempt. It is Unknown where Twilio may have taken the message;
// Find tells.
func (t *Twilio) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := t.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives Twilio's words as well. They quote the message
// and its recipient: show them to who asked, and keep them not.
func (t *Twilio) Try(ctx context.Context, m channels.Message) (channels.Result, string) {
	result, words := t.sender.Try(ctx, m)
	if result.Outcome == channels.Accepted {
		encoding, segments := Segments(textOf(m))
		result.Detail = fmt.Sprintf("twilio: %d × %s", segments, encoding)
	}
	return result, words
}

// Bounds of how long Twilio may keep a message before it is sent, in seconds.
const minValidity, maxValidity = 1, 36000

func (t *Twilio) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	remaining := int64(m.Expires.Sub(t.o.Now()) / time.Second)
	form := url.Values{
		"To":             {m.To},
		"Body":           {textOf(m)},
		"ValidityPeriod": {strconv.FormatInt(min(max(remaining, minValidity), maxValidity), 10)},
		"SmartEncoded":   {"false"}, // so that what is counted and looked for is what is sent
	}
	if serviceSID.MatchString(t.o.From) {
		form.Set("MessagingServiceSid", t.o.From)
	} else {
		form.Set("From", t.o.From)
	}
	if callback := t.callback(m); callback != "" {
		form.Set("StatusCallback", callback)
	}
	return t.call(ctx, http.MethodPost, "/Messages.json", form.Encode())
}

// call makes a request below the account.
func (t *Twilio) call(ctx context.Context, method, path, form string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, t.o.URL+"/2010-04-01/Accounts/"+t.o.Account+path, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.SetBasicAuth(t.o.Account, t.o.Token)
	return req, nil
}

// outcomes are what Twilio's codes mean that come with 400. Twilio splits codes
// over time, so what isn't here is decided by the status.
var outcomes = map[int]channels.Outcome{
	21211: channels.Gone, 21614: channels.Gone, // no such number; no mobile one
	21610: channels.OptedOut,
	21611: channels.Later,                                                                          // the sender's queue is full
	21408: channels.Broken, 21606: channels.Broken, 21212: channels.Broken, 21608: channels.Broken, // region; sender, twice; trial account
	21609: channels.Broken, // our public URL can't be called
}

// read says what an answer means.
func (t *Twilio) read(a outgoing.Answer) channels.Result {
	var body struct {
		SID  string `json:"sid"`
		Code int    `json:"code"`
	}
	if a.Cut || json.Unmarshal(a.Body, &body) != nil {
		body.SID, body.Code = "", 0 // the status alone decides
	}
	result := channels.Result{}
	if body.Code != 0 {
		result.Code = strconv.Itoa(body.Code)
	}
	switch {
	case a.Status == http.StatusCreated:
		return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(body.SID)}
	case a.Status == http.StatusTooManyRequests: // documented as never processed
		result.Outcome, result.NotBefore, result.Scope = channels.Later, outgoing.RetryAfter(a, t.o.Now()), channels.SameProvider
	case a.Status == http.StatusBadRequest:
		result.Outcome = channels.Rejected
		if known, ok := outcomes[body.Code]; ok {
			result.Outcome = known
		}
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed, a.Redirects():
		result.Outcome = channels.Broken
	case a.Status > 400 && a.Status < 500 && a.Status != http.StatusRequestTimeout:
		result.Outcome = channels.Rejected
	}
	return result // else Unknown: it may have been taken
}

// Probe looks whether Twilio lets us in, and sends nothing.
func (t *Twilio) Probe(ctx context.Context) (channels.Result, string) {
	req, err := t.call(ctx, http.MethodGet, ".json", "")
	if err != nil {
		return channels.Result{Outcome: channels.Broken, Detail: "twilio: the URL is none"}, err.Error()
	}
	probing := t.sender
	probing.Read = func(a outgoing.Answer) channels.Result {
		var account struct{ Status string }
		switch {
		case a.Status != http.StatusOK:
			return t.read(a)
		case a.Cut, json.Unmarshal(a.Body, &account) != nil:
			return channels.Result{Outcome: channels.Broken, Code: "account", Detail: "twilio: the answer is none of Twilio's"}
		case account.Status != "active":
			return channels.Result{Outcome: channels.Broken, Code: "account", Detail: "twilio: the account is not active"}
		}
		return channels.Result{Outcome: channels.Accepted}
	}
	result, words := probing.Call(req)
	if result.Outcome == channels.Accepted {
		words = "" // it has the account's token
	}
	return result, words
}
