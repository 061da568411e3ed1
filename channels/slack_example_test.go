package channels_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/belltower/belltower/channels"
)

// Webhook posts messages into the Slack channel of one incoming webhook. Slack
// has no idempotency key here: sending again after an unknown outcome may post
// twice, so it is registered with HoldUnknown.
type Webhook struct {
	url    string // a secret: whoever has it can post
	client *http.Client
}

// NewWebhook makes a channel of an incoming webhook's URL, which must be https
// unless allowHTTP is set (for tests and proxies on this machine). Its errors
// don't show the URL.
func NewWebhook(rawURL string, allowHTTP bool) (*Webhook, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("slack: the webhook is not a URL")
	}
	if u.Scheme != "https" && !(allowHTTP && u.Scheme == "http") {
		return nil, errors.New("slack: the webhook's URL is not https")
	}
	return &Webhook{url: rawURL, client: &http.Client{
		// A redirect would take the message to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			// A connection that Slack closed while it was idle looks like a lost
			// answer. At one message a second a new one each costs little.
			DisableKeepAlives: true,
		},
	}}, nil
}

// Check refuses what Slack would not take.
func (w *Webhook) Check(m channels.Message) error {
	const longest = 40_000 // characters; Slack cuts what is longer
	switch {
	case strings.TrimSpace(m.To) == "":
		return errors.New("slack: the message has no address")
	case strings.TrimSpace(m.Text) == "":
		return errors.New("slack: the message has no text")
	case utf8.RuneCountInString(text(m)) > longest:
		return fmt.Errorf("slack: the message is longer than %d characters", longest)
	}
	return nil
}

// Send posts the message once. The context's deadline bounds the whole attempt.
func (w *Webhook) Send(ctx context.Context, m channels.Message) channels.Result {
	if err := w.Check(m); err != nil {
		return channels.Result{Outcome: channels.Rejected, Code: "check", Detail: err.Error()}
	}
	if time.Now().After(m.Expires) {
		return channels.Result{Outcome: channels.Rejected, Code: "expired", Detail: "slack: the message has expired"}
	}
	body, _ := json.Marshal(map[string]any{"text": text(m), "mrkdwn": false}) // can't fail on these types
	// Until there is a connection nothing can have been taken; from then on
	// everything may have been, whatever goes wrong.
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return channels.Result{Outcome: channels.Broken, Code: "url", Detail: "slack: the webhook is not a URL"}
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := w.client.Do(req)
	switch {
	case err != nil && connected.Load():
		return channels.Result{Outcome: channels.Unknown, Code: "no_answer", Detail: "slack: no answer came"}
	case err != nil: // which is not passed on, as it holds the URL
		return channels.Result{Outcome: channels.Later, Code: "no_connection", Detail: "slack: no connection could be made"}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		answer = nil // the status alone decides
	}
	return classify(resp, string(answer))
}

// classify says what Slack's answer means. What is not listed stays Unknown.
func classify(resp *http.Response, answer string) channels.Result {
	answer = strings.TrimSpace(answer)
	code := fmt.Sprintf("http_%d", resp.StatusCode)
	if word.MatchString(answer) { // Slack's own, not something that quotes the message
		code = answer
	}
	result := channels.Result{Code: code, Detail: fmt.Sprintf("slack: answered %d", resp.StatusCode)}
	switch status := resp.StatusCode; {
	case status == http.StatusOK && answer == "ok":
		result = channels.Result{Outcome: channels.Accepted}
	case status >= 300 && status < 400:
		result.Outcome = channels.Broken // not a webhook of Slack's
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		result.Outcome = channels.Rejected
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		result.Outcome = channels.Broken
	case status == http.StatusNotFound, status == http.StatusGone: // no_service, channel_is_archived
		result.Outcome = channels.Gone
	case status == http.StatusTooManyRequests:
		result.Outcome = channels.Later
		result.NotBefore = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return result
}

var word = regexp.MustCompile(`^[a-z_]{2,40}$`)

// retryAfter reads the header, which holds seconds or a date; zero if neither.
func retryAfter(header string, now time.Time) time.Time {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return time.Time{}
	}
	return date
}

// text is what Slack shows. Escaped, nobody's name or event can mention a whole
// channel or hide where a link goes.
func text(m channels.Message) string {
	if m.Name == "" {
		return escape.Replace(m.Text)
	}
	return escape.Replace(m.Name) + ": " + escape.Replace(m.Text)
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
