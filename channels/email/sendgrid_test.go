package email_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/email"
	"github.com/belltower/belltower/channels/outgoing"
)

const sendGridKey = "SG.s3cr3t-k3y"

// sendGridMail is a request as SendGrid reads it.
type sendGridMail struct {
	Personalizations []struct {
		To         []struct{ Email, Name string }
		CustomArgs map[string]string `json:"custom_args"`
	}
	From        struct{ Email, Name string }
	Subject     string
	Content     []struct{ Type, Value string }
	Attachments []struct{ Content, Type, Filename string }
	Headers     map[string]string
	Tracking    map[string]struct{ Enable bool } `json:"tracking_settings"`
}

func readSendGrid(t *testing.T, r *http.Request, body []byte) sendGridMail {
	t.Helper()
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, "/v3/mail/send", r.URL.Path)
	require.Equal(t, "Bearer "+sendGridKey, r.Header.Get("Authorization"))
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	var m sendGridMail
	require.NoError(t, decoder.Decode(&m))
	require.Len(t, m.Personalizations, 1)
	require.Len(t, m.Personalizations[0].To, 1)
	require.Len(t, m.Content, 2)
	require.NotEmpty(t, m.Subject)
	for name, value := range m.Headers {
		require.False(t, strings.ContainsAny(name+value, "\r\n\x00"), "%s: %q", name, value)
	}
	require.False(t, strings.ContainsAny(m.Subject+m.From.Name+m.Personalizations[0].To[0].Name, "\r\n\x00\u2028"))
	for _, tracking := range m.Tracking {
		require.False(t, tracking.Enable)
	}
	return m
}

func sendGrid(t *testing.T, base string, client *outgoing.Client) *email.SendGrid {
	t.Helper()
	c, err := email.NewSendGrid(email.SendGridOptions{
		URL: base, Key: sendGridKey, From: mail.Address{Name: "Choir", Address: "choir@example.org"}, Client: client,
	})
	require.NoError(t, err)
	return c
}

var sendGridHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return sendGrid(t, base, client)
	},
	To: func(string) string { return "zebulon@example.org" },
	Accept: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Message-Id", "14c5d75ce93.dfd.64b469")
		w.WriteHeader(http.StatusAccepted)
	},
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"errors":[{"message":%q,"field":"personalizations","help":null}]}`, reason)
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		m := readSendGrid(t, r, body)
		return channeltest.Sent{ID: m.Personalizations[0].CustomArgs["notification_id"], Text: m.Content[0].Value}
	},
	Secrets: []string{sendGridKey},
	Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Broken, Forbidden: channels.Broken,
}

func TestSendGridContract(t *testing.T) { channeltest.RunHTTP(t, sendGridHTTP) }

func TestSendGridRequestsAreAsDescribed(t *testing.T) {
	channeltest.RunContract(t, sendGridHTTP, "sendgrid/mail_send.openapi.json")
}

func TestSendGridClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "sendgrid") {
		rows = append(rows, channeltest.Answer{Status: class.Status(), Want: class.Outcome})
	}
	channeltest.RunAnswers(t, sendGridHTTP, rows)
}

func TestSendGridAnswers(t *testing.T) {
	const why = `{"errors":[{"message":"The from address does not match a verified Sender Identity.","field":"from","help":null}]}`
	channeltest.RunAnswers(t, sendGridHTTP, []channeltest.Answer{
		{Status: 202, Want: channels.Accepted},
		{Status: 200, Want: channels.Accepted, Name: "sandbox mode"},
		{Status: 400, Body: why, Want: channels.Rejected, Code: "http_400"},
		{Status: 401, Want: channels.Broken},
		{Status: 403, Body: why, Want: channels.Broken},
		{Status: 404, Want: channels.Broken},
		{Status: 405, Want: channels.Broken},
		{Status: 406, Want: channels.Broken},
		{Status: 413, Want: channels.Rejected},
		{Status: 429, Want: channels.Later},
		{Status: 451, Want: channels.Broken},
		{Status: 500, Want: channels.Unknown},
		{Status: 502, Body: "<html>", Want: channels.Unknown},
		{Status: 503, Want: channels.Later},
		{Status: 418, Want: channels.Unknown},
	})
}

// onThisMachine is a client that may call servers of tests.
func onThisMachine(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(c.CloseIdle)
	return c
}

// SendGrid says when its limit ends in Unix seconds, and in no Retry-After.
func TestSendGridRateLimit(t *testing.T) {
	reset := time.Now().Add(37 * time.Second)
	for header, want := range map[string]time.Time{fmt.Sprint(reset.Unix()): reset, "1": time.Now(), "": {}, "soon": {}, "-4": {}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-RateLimit-Reset", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		defer server.Close()
		result := sendGrid(t, server.URL, onThisMachine(t)).Send(t.Context(), message())
		require.Equal(t, channels.Later, result.Outcome)
		require.Equal(t, want.IsZero(), result.NotBefore.IsZero(), header)
		require.WithinDuration(t, want, result.NotBefore, time.Minute)
	}
}

func TestSendGridMail(t *testing.T) {
	var got sendGridMail
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got = readSendGrid(t, r, body)
		}
		sendGridHTTP.Accept(w, r)
	}))
	defer server.Close()
	m := message()
	result, words := sendGrid(t, server.URL, onThisMachine(t)).Try(t.Context(), m)
	require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "14c5d75ce93.dfd.64b469"}, result)
	require.Equal(t, "202 Accepted", words)
	require.Equal(t, "choir@example.org", got.From.Email)
	require.Equal(t, m.Subject, got.Subject)
	require.Equal(t, m.Name, got.Personalizations[0].To[0].Name)
	require.Equal(t, map[string]string{
		"Message-ID": "<" + m.ID + "@example.org>", "Date": "Tue, 06 May 2031 16:00:00 +0000", "Auto-Submitted": "auto-generated",
		"List-Unsubscribe": "<" + m.OptOut + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
	}, got.Headers)
	require.Contains(t, got.Content[1].Value, "&lt;&amp;&gt;")
	require.Equal(t, "event.ics", got.Attachments[0].Filename)
	calendar, err := base64.StdEncoding.DecodeString(got.Attachments[0].Content)
	require.NoError(t, err)
	require.Contains(t, string(calendar), "UID:"+m.Event.UID)
	require.Len(t, got.Tracking, 3, "links and texts stay as they are")
}

func TestSendGridProbe(t *testing.T) {
	for body, want := range map[string]channels.Outcome{
		`200 {"scopes":["alerts.read","mail.send"]}`: channels.Accepted,
		`200 {"scopes":["alerts.read"]}`:             channels.Broken,
		`200 <html>`:                                 channels.Broken,
		`401 {"errors":[]}`:                          channels.Broken,
		`500 `:                                       channels.Unknown,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method+r.URL.Path != "GET/v3/scopes" || r.Header.Get("Authorization") != "Bearer "+sendGridKey {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			var code int
			fmt.Sscanf(body, "%d", &code)
			w.WriteHeader(code)
			io.WriteString(w, body[4:])
		}))
		defer server.Close()
		result, words := sendGrid(t, server.URL, onThisMachine(t)).Probe(t.Context())
		require.Equal(t, want, result.Outcome, body)
		require.True(t, strings.HasPrefix(words, body[:3]), words)
	}
}

func TestSendGridOptions(t *testing.T) {
	fine := email.SendGridOptions{URL: email.SendGridURL, Key: sendGridKey, From: mail.Address{Address: "choir@example.org"}, Client: outgoing.New(outgoing.Options{})}
	_, err := email.NewSendGrid(fine)
	require.NoError(t, err)
	for name, change := range map[string]func(*email.SendGridOptions){
		"no key":         func(o *email.SendGridOptions) { o.Key = "" },
		"no sender":      func(o *email.SendGridOptions) { o.From.Address = "" },
		"no URL":         func(o *email.SendGridOptions) { o.URL = "" },
		"unencrypted":    func(o *email.SendGridOptions) { o.URL = "http://api.sendgrid.com" },
		"inside":         func(o *email.SendGridOptions) { o.URL = "https://169.254.169.254" },
		"a secret in it": func(o *email.SendGridOptions) { o.URL = "https://u:" + sendGridKey + "@api.sendgrid.com" },
	} {
		o := fine
		change(&o)
		_, err := email.NewSendGrid(o)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), sendGridKey)
	}
}
