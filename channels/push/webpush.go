package push

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// WebPushOptions say as whom, and through whom.
type WebPushOptions struct {
	// Key gives our key. Where it can't, nothing is sent.
	Key func() (*VAPIDKey, error)
	// Contact is whom push services turn to: a mailto: or https: URL.
	Contact string
	// Services are the hosts of push services that subscriptions may name, with
	// "*." before a domain for all below it. Endpoints come from whoever registers;
	// a host that pretends to be a push service could stop the whole channel.
	Services []string
	Client   *outgoing.Client
	Now      func() time.Time // nil: time.Now
}

// WebPush sends to browsers, through the push service that each one's subscription
// names. A repeat replaces what waits for the browser. Its methods may be called
// concurrently.
type WebPush struct{ o WebPushOptions }

var serviceName = regexp.MustCompile(`^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$`)

// NewWebPush makes a channel. Nothing is called before the first Send.
func NewWebPush(o WebPushOptions) (*WebPush, error) {
	if why := wrongContact(o.Contact); why != "" {
		return nil, fmt.Errorf("webpush: the contact %s", why)
	}
	if len(o.Services) == 0 {
		return nil, errors.New("webpush: there is no push service")
	}
	for _, service := range o.Services {
		if !serviceName.MatchString(service) {
			return nil, fmt.Errorf("webpush: %q is no host, such as push.example.org or *.example.org", service)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &WebPush{o}, nil
}

// wrongContact says why push services would refuse a contact: some look whether it
// could reach anybody.
func wrongContact(contact string) string {
	u, err := url.Parse(contact)
	if err != nil || u.Scheme != "mailto" && u.Scheme != "https" {
		return "is not a URL such as mailto:choir@example.org or https://choir.example.org"
	}
	host := u.Hostname()
	if u.Scheme == "mailto" {
		parsed, err := mail.ParseAddress(u.Opaque)
		if err != nil || parsed.Address != u.Opaque || u.RawQuery != "" {
			return "is not one address, such as mailto:choir@example.org"
		}
		host = u.Opaque[strings.LastIndexByte(u.Opaque, '@')+1:]
	}
	_, isAddress := netip.ParseAddr(host)
	top := host[strings.LastIndexByte(host, '.')+1:]
	if top == host || isAddress == nil || slices.Contains([]string{"local", "localhost", "invalid", "test", "internal"}, strings.ToLower(top)) {
		return "is at no host of the Internet"
	}
	return ""
}

// Server names our key, for people: a page subscribes with it.
func (w *WebPush) Server() string {
	key, err := w.o.Key()
	if err != nil {
		return "push services (there is no key)"
	}
	return "push services (public key " + key.Public() + ")"
}

// PublicKey is what a page subscribes with: applicationServerKey, in base64url.
func (w *WebPush) PublicKey() (string, error) {
	key, err := w.o.Key()
	if err != nil {
		return "", err
	}
	return key.Public(), nil
}

// Subscription gives a browser's subscription in the form that it is kept in, as a
// push token. What it says of one that nothing could be sent to doesn't quote it.
func (w *WebPush) Subscription(text string) (string, error) {
	s, err := w.subscription(text)
	if err != nil {
		return "", err
	}
	return s.json(), nil
}

// subscription reads one that may be sent to.
func (w *WebPush) subscription(text string) (subscription, error) {
	s, err := readSubscription(text)
	if err != nil {
		return subscription{}, err
	}
	if !w.serves(s.endpoint.Hostname()) {
		return subscription{}, errors.New("it names a push service that is not among those allowed")
	}
	if err := w.o.Client.CheckURL(s.endpoint.String()); err != nil {
		return subscription{}, fmt.Errorf("its endpoint: %w", err)
	}
	return s, nil
}

// Check refuses what no push service would take. What it says doesn't quote it.
func (w *WebPush) Check(m channels.Message) error {
	if _, err := w.subscription(m.To); err != nil {
		return fmt.Errorf("webpush: the recipient's subscription: %w", err)
	}
	if !identifier.MatchString(m.ID) {
		return fmt.Errorf("webpush: %w", errID)
	}
	if n := len(payload(m)); n > longestPlain {
		return fmt.Errorf("webpush: the message has %d bytes, and push services take %d", n, longestPlain)
	}
	return nil
}

func (w *WebPush) serves(host string) bool {
	host = strings.ToLower(host)
	for _, service := range w.o.Services {
		if below, wild := strings.CutPrefix(service, "*"); host == service || wild && strings.HasSuffix(host, below) {
			return true
		}
	}
	return false
}

// Send makes one attempt.
func (w *WebPush) Send(ctx context.Context, m channels.Message) channels.Result {
	result, _ := w.Try(ctx, m)
	return result
}

// Try sends as Send does, and gives the push service's words as well. They may
// quote the message: show them to who asked, and keep them not.
func (w *WebPush) Try(ctx context.Context, m channels.Message) (result channels.Result, words string) {
	result, words = outgoing.Sender{
		Name: "webpush", Client: w.o.Client, Now: w.o.Now, Check: w.Check, Request: w.request,
		Read: func(a outgoing.Answer) channels.Result { return readService(a, w.o.Now()) },
		Lost: channels.Unknown,
	}.Try(ctx, m)
	if result.Outcome == channels.Broken && result.Code == "forbidden_address" {
		result.Outcome = channels.Rejected // the address is the recipient's doing, not ours
	}
	return result, words
}

func (w *WebPush) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	key, err := w.o.Key()
	if err != nil {
		return nil, &outgoing.Unprepared{
			Result: channels.Result{Outcome: channels.Broken, Code: "no_key", Detail: "webpush: there is no key that can be read"},
			Words:  err.Error(),
		}
	}
	to, err := readSubscription(m.To)
	if err != nil {
		return nil, err
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for the message: %w", err)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	plain := payload(m)
	body, err := encrypt(plain, padding(len(plain)), to, own, salt)
	if err != nil {
		return nil, err
	}
	authorization, err := key.authorization(to.origin(), w.o.Contact, w.o.Now())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"Authorization": authorization, "Content-Encoding": "aes128gcm", "Content-Type": "application/octet-stream",
		"TTL": strconv.FormatInt(life(m, w.o.Now()), 10), "Topic": topic(m.ID), "Urgency": urgency,
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// payload is what the browser's service worker reads.
func payload(m channels.Message) []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // it would only be longer
	// Strings into memory: nothing here can fail.
	_ = enc.Encode(contentOf(m))
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// padding brings a text to one of a few lengths, so that the push service can't
// tell messages apart by theirs.
func padding(length int) int {
	const step = 512
	padded := (length + step - 1) / step * step
	return min(padded, longestPlain) - length
}

var reason = regexp.MustCompile(`^[A-Za-z]{2,40}$`)

// readService says what a push service's answer means: RFC 8030, sections 5, 7.2,
// 7.3 and 8.4, RFC 8292, sections 2 and 4.2, and the services' own documents.
// Microsoft's says 406 where others say 429.
func readService(a outgoing.Answer, now time.Time) channels.Result {
	var said struct {
		Reason string `json:"reason"`
	}
	var result channels.Result
	if json.Unmarshal(a.Body, &said) == nil && reason.MatchString(said.Reason) { // Apple's
		result.Code = said.Reason
	}
	switch status := a.Status; {
	case status == http.StatusCreated, status == http.StatusAccepted, status == http.StatusOK:
		return channels.Result{Outcome: channels.Accepted}
	case status == http.StatusNotFound, status == http.StatusGone:
		result.Outcome = channels.Gone
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge,
		a.Redirects(): // where to, is for whoever named the endpoint to know
		result.Outcome = channels.Rejected
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		result.Outcome = channels.Broken
	case status == http.StatusTooManyRequests, status == http.StatusNotAcceptable, status >= 500:
		result.Outcome, result.NotBefore, result.Scope = channels.Later, outgoing.RetryAfter(a, now), channels.SameEndpoint
	}
	return result
}
