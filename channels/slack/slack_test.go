package slack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/slack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretPath = "/services/T000/B000/s3cr3t"
	token      = "xoxb-s3cr3t"
	inChannel  = "C012AB3CD"
)

// shown is the text that Slack shows for a posted body.
func shown(t *testing.T, body []byte, channel string) string {
	t.Helper()
	var payload struct {
		Channel, Text, Parse string
		Mrkdwn               *bool
		LinkNames            *bool `json:"link_names"`
		UnfurlLinks          *bool `json:"unfurl_links"`
		UnfurlMedia          *bool `json:"unfurl_media"`
		Metadata             *struct {
			EventType    string            `json:"event_type"`
			EventPayload map[string]string `json:"event_payload"`
		}
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&payload))
	require.Equal(t, channel, payload.Channel)
	require.Equal(t, "none", payload.Parse)
	if require.Equal(t, channel != "", payload.Metadata != nil, "a webhook has none"); channel != "" {
		require.Equal(t, "belltower_notification", payload.Metadata.EventType)
		require.Len(t, payload.Metadata.EventPayload, 1)
		require.NotEmpty(t, payload.Metadata.EventPayload["notification_id"])
	}
	for _, off := range []*bool{payload.Mrkdwn, payload.LinkNames, payload.UnfurlLinks, payload.UnfurlMedia} {
		require.False(t, *off)
	}
	require.False(t, strings.ContainsAny(payload.Text, "<>"), "markup of Slack's in %q", payload.Text)
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(payload.Text)
}

func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func refuse(w http.ResponseWriter, reason string) {
	w.WriteHeader(http.StatusBadRequest)
	io.WriteString(w, reason)
}

var webhookHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		c, err := slack.NewWebhook(base+secretPath, client)
		require.NoError(t, err)
		return c
	},
	To:     func(string) string { return "zebulon@example.org" },
	Accept: answer("ok"),
	Refuse: refuse,
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		require.Equal(t, "POST "+secretPath, r.Method+" "+r.URL.Path)
		require.Equal(t, "application/json; charset=utf-8", r.Header.Get("Content-Type"))
		return channeltest.Sent{Text: shown(t, body, "")}
	},
	Secrets: []string{secretPath, "s3cr3t"},
	Lost:    channels.Unknown, Cut: channels.Unknown, Redirect: channels.Broken, Forbidden: channels.Broken,
}

var appHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return app(t, base, client)
	},
	To:     func(string) string { return "zebulon@example.org" },
	Accept: answer(`{"ok":true,"channel":"` + inChannel + `","ts":"1503435956.000247"}`),
	Refuse: func(w http.ResponseWriter, reason string) {
		json.NewEncoder(w).Encode(map[string]any{"ok": false, "error": reason})
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		require.Equal(t, "POST /chat.postMessage", r.Method+" "+r.URL.Path)
		require.Equal(t, "Bearer "+token, r.Header.Get("Authorization"))
		return channeltest.Sent{Text: shown(t, body, inChannel)}
	},
	Secrets: []string{token, "s3cr3t"},
	Lost:    channels.Unknown, Cut: channels.Unknown, Redirect: channels.Broken, Forbidden: channels.Broken,
}

func app(t *testing.T, base string, client *outgoing.Client) *slack.App {
	t.Helper()
	c, err := slack.NewApp(slack.AppOptions{URL: base, Token: token, Channel: inChannel, Client: client})
	require.NoError(t, err)
	return c
}

func TestWebhookContract(t *testing.T) { channeltest.RunHTTP(t, webhookHTTP) }

func TestAppContract(t *testing.T) { channeltest.RunHTTP(t, appHTTP) }

func TestAppRequestsAreAsDescribed(t *testing.T) {
	// The description is of 2021; metadata came in 2022 (docs.slack.dev/messaging/message-metadata).
	channeltest.RunContract(t, appHTTP, "slack/web_api_subset.openapi3.json", "metadata")
}

func TestProbeRequestsAreAsDescribed(t *testing.T) {
	described := channeltest.Described(t, "slack/web_api_subset.openapi3.json")
	asked := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		io.WriteString(w, `{"ok":true}`)
	}))
	defer server.Close()
	result, _ := app(t, server.URL, onThisMachine(t)).Probe(t.Context())
	require.Equal(t, channels.Accepted, result.Outcome)
	described(<-asked, nil)
}

func TestWebhookClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "slack-webhook") {
		for word := range strings.SplitSeq(class.Text("body"), ", ") {
			rows = append(rows, channeltest.Answer{Status: class.Status(), Name: word, Body: word, Want: class.Outcome})
		}
	}
	channeltest.RunAnswers(t, webhookHTTP, rows)
}

func TestAppClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "slack") {
		word := class.Text("error")
		ok, _ := class.When["ok"].(bool)
		row := channeltest.Answer{Name: word, Status: class.Status(), Body: fmt.Sprintf(`{"ok":%v,"error":%q}`, ok, word), Want: class.Outcome, Code: word}
		if class.Text("http") == "5xx or no answer" {
			require.Equal(t, class.Outcome, appHTTP.Lost)
			row.Status, row.Body = 500, ""
		}
		rows = append(rows, row)
	}
	require.Greater(t, len(rows), 20)
	channeltest.RunAnswers(t, appHTTP, rows)
}

func TestWebhookAnswers(t *testing.T) {
	channeltest.RunAnswers(t, webhookHTTP, []channeltest.Answer{
		{Status: 200, Body: "ok", Want: channels.Accepted},
		{Status: 200, Body: "ok\n", Want: channels.Accepted, Name: "and a line break"},
		{Status: 200, Body: "<html>Log in", Want: channels.Unknown, Code: "http_200"},
		{Status: 200, Want: channels.Unknown, Code: "http_200"},
		{Status: 400, Body: "invalid_payload", Want: channels.Rejected, Code: "invalid_payload"},
		{Status: 400, Body: "no_text", Want: channels.Rejected, Code: "no_text"},
		{Status: 413, Want: channels.Rejected, Code: "http_413"},
		{Status: 401, Want: channels.Broken, Code: "http_401"},
		{Status: 403, Body: "action_prohibited", Want: channels.Broken, Code: "action_prohibited"},
		{Status: 404, Body: "no_service", Want: channels.Gone, Code: "no_service"},
		{Status: 410, Body: "channel_is_archived", Want: channels.Gone, Code: "channel_is_archived"},
		{Status: 429, Want: channels.Later, Code: "http_429"},
		{Status: 418, Want: channels.Unknown, Code: "http_418"},
		{Status: 500, Body: "rollup_error", Want: channels.Unknown, Code: "rollup_error"},
		{Status: 502, Body: "<html>Bad gateway", Want: channels.Unknown, Code: "http_502"},
		{Status: 503, Want: channels.Unknown, Code: "http_503"},
	})
}

func TestAppAnswers(t *testing.T) {
	rows := []channeltest.Answer{
		{Status: 200, Body: `{"ok":true}`, Want: channels.Accepted},
		{Status: 200, Body: `<html>`, Want: channels.Unknown, Code: "http_200"},
		{Status: 200, Body: `{}`, Want: channels.Unknown, Code: "http_200"},
		{Status: 500, Body: `{"ok":true}`, Want: channels.Unknown, Code: "http_500"},
		{Status: 429, Body: `{"ok":false,"error":"ratelimited"}`, Want: channels.Later, Code: "ratelimited"},
		{Status: 401, Want: channels.Broken, Code: "http_401"},
		{Status: 404, Body: "<html>", Want: channels.Broken, Code: "http_404"},
		{Status: 413, Want: channels.Rejected, Code: "http_413"},
		{Status: 503, Want: channels.Unknown, Code: "http_503"},
	}
	for word, want := range map[string]channels.Outcome{
		"channel_not_found": channels.Gone, "is_archived": channels.Gone, "not_in_channel": channels.Broken, "restricted_action": channels.Broken,
		"msg_too_long": channels.Rejected, "no_text": channels.Rejected, "invalid_auth": channels.Broken, "token_revoked": channels.Broken,
		"missing_scope": channels.Broken, "fatal_error": channels.Unknown, "internal_error": channels.Unknown, "request_timeout": channels.Unknown,
		"rate_limited": channels.Later, "message_limit_exceeded": channels.Later, "a_word_of_tomorrow": channels.Unknown,
		"service_unavailable": channels.Unknown, "team_not_found": channels.Broken, "accesslimited": channels.Broken, "enterprise_is_restricted": channels.Broken,
		"metadata_must_be_sent_from_app": channels.Broken, "messages_tab_disabled": channels.Broken, "method_deprecated": channels.Broken, "metadata_too_large": channels.Rejected,
	} {
		rows = append(rows, channeltest.Answer{Name: word, Status: 200, Body: fmt.Sprintf(`{"ok":false,"error":%q}`, word), Want: want, Code: word})
	}
	channeltest.RunAnswers(t, appHTTP, rows)
}

func onThisMachine(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(c.CloseIdle)
	return c
}

// Nobody is pinged by what somebody else typed.
func TestNobodyIsMentioned(t *testing.T) {
	posted := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var payload struct{ Text string }
		json.NewDecoder(r.Body).Decode(&payload)
		posted <- payload.Text
		appHTTP.Accept(w, r)
	}))
	defer server.Close()
	result := app(t, server.URL, onThisMachine(t)).Send(t.Context(), channels.Message{
		To: "ann@example.org", Name: "<@U012AB3CD>", Text: "<!channel> <!here|x> <https://example.org|your bank> & &lt;", Expires: time.Now().Add(time.Hour),
	})
	require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "C012AB3CD:1503435956.000247"}, result)
	require.Equal(t, "&lt;@U012AB3CD&gt;: &lt;!channel&gt; &lt;!here|x&gt; &lt;https://example.org|your bank&gt; &amp; &amp;lt;", <-posted)
}

func TestAppProbe(t *testing.T) {
	for body, want := range map[string]channels.Outcome{
		`{"ok":true,"url":"https://x.slack.com/","team":"x","user":"bells"}`: channels.Accepted,
		`{"ok":false,"error":"invalid_auth"}`:                                channels.Broken,
		`<html>`:                                                             channels.Unknown,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/auth.test" || r.Header.Get("Authorization") != "Bearer "+token {
				w.WriteHeader(http.StatusTeapot)
			}
			io.WriteString(w, body)
		}))
		defer server.Close()
		result, words := app(t, server.URL, onThisMachine(t)).Probe(t.Context())
		require.Equal(t, want, result.Outcome, body)
		require.Contains(t, words, body)
	}
}

func TestWrongSettings(t *testing.T) {
	client := outgoing.New(outgoing.Options{})
	for _, url := range []string{
		"", "s3cr3t", "http://hooks.slack.com/s3cr3t", "ftp://hooks.slack.com/s3cr3t", "https:///s3cr3t", "https://%zz/s3cr3t", "https://127.0.0.1/s3cr3t",
	} {
		_, err := slack.NewWebhook(url, client)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	_, err := slack.NewWebhook("https://hooks.slack.com/services/s3cr3t", client)
	require.NoError(t, err)
	for _, o := range []slack.AppOptions{
		{URL: "http://slack.com/api", Token: token, Channel: "#bells"}, {URL: slack.APIURL, Channel: "#bells"},
		{URL: slack.APIURL, Token: token}, {URL: slack.APIURL, Token: token, Channel: "bells"}, {URL: slack.APIURL, Token: token, Channel: "#a b"},
	} {
		o.Client = client
		_, err := slack.NewApp(o)
		require.Error(t, err, o.Channel)
		require.NotContains(t, err.Error(), token)
	}
	_, err = slack.NewApp(slack.AppOptions{URL: slack.APIURL, Token: token, Channel: "#chœur-du-soir", Client: client})
	require.NoError(t, err)
}
