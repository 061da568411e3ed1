package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/outgoing"
)

// APIURL is Slack's own.
const APIURL = "https://slack.com/api"

// AppOptions say as whom an app posts, and where.
type AppOptions struct {
	URL     string // APIURL or another
	Token   string // a secret, xoxb-…, that may chat:write
	Channel string // an id such as C012AB3CD, or a name such as #reminders
	Client  *outgoing.Client
	Now     func() time.Time // nil: time.Now
}

// App posts by chat.postMessage. Its methods may be called concurrently.
type App struct {
	o AppOptions
	outgoing.Sender
}

var channelName = regexp.MustCompile(`^[CGD][A-Z0-9]{5,20}$|^#[\p{L}\p{N}_.-]{1,80}$`)

// NewApp makes a channel. Nothing is called before the first Send.
func NewApp(o AppOptions) (*App, error) {
	if err := o.Client.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("slack: the URL: %w", err)
	}
	if o.Token == "" {
		return nil, errors.New("slack: there is no token")
	}
	if !channelName.MatchString(o.Channel) {
		return nil, errors.New("slack: the channel is neither an id such as C012AB3CD nor a name such as #reminders")
	}
	o.URL = strings.TrimRight(o.URL, "/")
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &App{o: o}
	a.Sender = outgoing.Sender{Name: "slack", Client: o.Client, Now: o.Now, Check: a.Check, Request: a.request, Read: readAPI}
	return a, nil
}

// Server names who is called, for people.
func (a *App) Server() string { return outgoing.Host(a.o.URL) }

// Check refuses what Slack would not take.
func (a *App) Check(m channels.Message) error { return check(m) }

func (a *App) request(ctx context.Context, m channels.Message) (*http.Request, error) {
	p := payloadOf(a.o.Channel, m)
	p.Metadata = metadataOf(m.ID)
	return a.authorized(post(ctx, a.o.URL+"/chat.postMessage", p))
}

// get asks by one of the methods that change nothing.
func (a *App) get(ctx context.Context, method string) (*http.Request, error) {
	return a.authorized(http.NewRequestWithContext(ctx, http.MethodGet, a.o.URL+method, nil))
}

func (a *App) authorized(req *http.Request, err error) (*http.Request, error) {
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.o.Token)
	return req, nil
}

// Probe looks whether Slack knows the token, and sends nothing.
func (a *App) Probe(ctx context.Context) (channels.Result, string) {
	req, err := a.get(ctx, "/auth.test")
	if err != nil {
		return channels.Result{Outcome: channels.Broken, Detail: "slack: the URL is none"}, err.Error()
	}
	return a.Call(req)
}

// outcomes are what Slack's words mean where "ok" is false, whatever the status
// (chat.postMessage, "Errors"). What isn't here, and what may have been done in part,
// stays Unknown.
var outcomes = map[string]channels.Outcome{
	"channel_not_found": channels.Gone, "is_archived": channels.Gone,

	"ratelimited": channels.Later, "rate_limited": channels.Later, "message_limit_exceeded": channels.Later,

	"msg_too_long": channels.Rejected, "no_text": channels.Rejected, "too_many_attachments": channels.Rejected, "invalid_blocks": channels.Rejected,
	"invalid_blocks_format": channels.Rejected, "msg_blocks_too_long": channels.Rejected, "attachment_payload_limit_exceeded": channels.Rejected,
	"metadata_too_large": channels.Rejected, "invalid_metadata_format": channels.Rejected, "invalid_metadata_schema": channels.Rejected,

	"not_in_channel": channels.Broken, "restricted_action": channels.Broken, "restricted_action_read_only_channel": channels.Broken,
	"restricted_action_thread_only_channel": channels.Broken, "restricted_action_non_threadable_channel": channels.Broken,
	"not_authed": channels.Broken, "invalid_auth": channels.Broken, "account_inactive": channels.Broken, "token_revoked": channels.Broken,
	"token_expired": channels.Broken, "missing_scope": channels.Broken, "no_permission": channels.Broken, "org_login_required": channels.Broken,
	"ekm_access_denied": channels.Broken, "access_denied": channels.Broken, "team_access_not_granted": channels.Broken,
	"not_allowed_token_type": channels.Broken, "two_factor_setup_required": channels.Broken, "accesslimited": channels.Broken,
	"team_not_found": channels.Broken, "enterprise_is_restricted": channels.Broken, "metadata_must_be_sent_from_app": channels.Broken,
	"messages_tab_disabled": channels.Broken, "method_deprecated": channels.Broken, "deprecated_endpoint": channels.Broken,
}

// readAPI says what an answer of the Web API means: its body decides before its status.
func readAPI(a outgoing.Answer) channels.Result {
	var body struct {
		OK      bool   `json:"ok"`
		Error   string `json:"error"`
		Channel string `json:"channel"`
		TS      string `json:"ts"`
	}
	if a.Cut || json.Unmarshal(a.Body, &body) != nil {
		body.OK, body.Error = false, ""
	}
	result := channels.Result{Code: outgoing.Word(body.Error)}
	switch known, ok := outcomes[body.Error]; {
	case a.Status == http.StatusTooManyRequests:
		result.Outcome = channels.Later
	case a.Redirects():
		result.Outcome = channels.Broken
	case a.Status == http.StatusOK && body.OK:
		return channels.Result{Outcome: channels.Accepted, Ref: outgoing.Ref(strings.Trim(body.Channel+":"+body.TS, ":"))}
	case ok:
		result.Outcome = known
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed:
		result.Outcome = channels.Broken
	case a.Status == http.StatusRequestEntityTooLarge:
		result.Outcome = channels.Rejected
	}
	if result.Outcome == channels.Later {
		result.NotBefore, result.Scope = outgoing.RetryAfter(a, time.Now()), channels.SameEndpoint
	}
	return result // else Unknown: it may have been done
}
