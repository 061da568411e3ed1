package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of some 24 bytes and more"))
	newer  = "whsec_" + base64.StdEncoding.EncodeToString([]byte("another one, which comes after it"))
)

func parse(t *testing.T, texts ...string) (secrets []webhook.Secret) {
	t.Helper()
	for _, text := range texts {
		s, err := webhook.ParseSecret(text)
		require.NoError(t, err)
		secrets = append(secrets, s)
	}
	return secrets
}

func channel(t *testing.T, base string, client *outgoing.Client) *webhook.Channel {
	t.Helper()
	c, err := webhook.New(webhook.Options{URL: base + "/hooks/bells", Secrets: parse(t, newer, secret), Client: client})
	require.NoError(t, err)
	return c
}

type payload struct {
	Type      string
	Timestamp time.Time
	Data      struct {
		NotificationID string `json:"notification_id"`
		Channel        string
		To             string
		Name           string
		Subject        string
		Message        string
		ExpiresAt      time.Time `json:"expires_at"`
		OptOutURL      string    `json:"opt_out_url"`
		Event          *struct {
			ID, Title, Location string
			StartTime           time.Time `json:"start_time"`
			EndTime             time.Time `json:"end_time"`
			TimeZone            string    `json:"time_zone"`
			Cancelled           bool
		}
	}
}

// read verifies a request as a receiver does, by a library of other authors and
// with either secret.
func read(t *testing.T, r *http.Request, body []byte) payload {
	t.Helper()
	require.Equal(t, "POST /hooks/bells", r.Method+" "+r.URL.Path)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	for _, s := range []string{secret, newer} {
		verifier, err := standardwebhooks.NewWebhook(s)
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(body, r.Header))
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	var p payload
	require.NoError(t, decoder.Decode(&p))
	require.Equal(t, "notification.due", p.Type)
	require.Equal(t, r.Header.Get("Webhook-Id"), p.Data.NotificationID)
	return p
}

var webhookHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return channel(t, base, client)
	},
	To:     func(string) string { return "zebulon@example.org" },
	Accept: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "thank you") },
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, reason)
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		p := read(t, r, body)
		return channeltest.Sent{ID: p.Data.NotificationID, Text: p.Data.Message}
	},
	Secrets: []string{"/hooks/bells", secret, newer},
	Lost:    channels.Later, Cut: channels.Accepted, Redirect: channels.Later, Forbidden: channels.Broken,
}

func TestContract(t *testing.T) { channeltest.RunHTTP(t, webhookHTTP) }

func TestClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "webhook") {
		statuses := []int{class.Status()}
		switch class.Text("http") {
		case "2xx":
			statuses = []int{200, 201, 202, 204, 299}
		case "3xx":
			statuses = []int{300, 301, 302, 303, 304, 307, 308}
		case "502, 504":
			statuses = []int{502, 504}
		case "any other, timeout":
			require.Equal(t, class.Outcome, webhookHTTP.Lost)
			statuses = []int{400, 401, 403, 404, 418, 500, 503}
		}
		for _, status := range statuses {
			require.NotZero(t, status, class.When)
			rows = append(rows, channeltest.Answer{Status: status, Want: class.Outcome})
		}
	}
	channeltest.RunAnswers(t, webhookHTTP, rows)
}

func TestAnswers(t *testing.T) {
	var rows []channeltest.Answer
	for want, statuses := range map[channels.Outcome][]int{
		channels.Accepted: {200, 201, 202, 204}, channels.Gone: {410},
		channels.Later: {301, 302, 304, 307, 308, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504},
	} {
		for _, status := range statuses {
			rows = append(rows, channeltest.Answer{Status: status, Want: want})
		}
	}
	channeltest.RunAnswers(t, webhookHTTP, rows)
}

// The signatures are those of the specification's authors.
func TestSignaturesOfTheVectors(t *testing.T) {
	var vectors struct {
		Sign []struct {
			Alg, Secret, ID, Payload, Signature string
			Timestamp                           int64
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "standard-webhooks/vectors.json"), &vectors))
	checked := 0
	for _, v := range vectors.Sign {
		if strings.HasPrefix(v.Alg, "v1 ") {
			require.Equal(t, v.Signature, parse(t, v.Secret)[0].Sign(v.ID, time.Unix(v.Timestamp, 0), []byte(v.Payload)))
			checked++
		}
	}
	require.Positive(t, checked)
}

func onThisMachine(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(c.CloseIdle)
	return c
}

// The id and the body stay as they are over all attempts; the time is the attempt's.
func TestAttempts(t *testing.T) {
	type request struct{ id, at, body string }
	var got []request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), string(body)})
	}))
	defer server.Close()
	now := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	c, err := webhook.New(webhook.Options{URL: server.URL, Secrets: parse(t, secret), Client: onThisMachine(t), Now: func() time.Time { return now }})
	require.NoError(t, err)
	zone, err := time.LoadLocation("Europe/Vienna")
	require.NoError(t, err)
	m := channels.Message{
		ID: "3f8e1f0a", Channel: "webhook", To: "ann@example.org", Name: "Ann", Subject: "Choir", Text: "Choir at six", Due: now, Expires: now.Add(time.Hour),
		Event: channels.Event{UID: "0f8b", Title: "Choir", Location: "Łódź", Start: now.Add(time.Hour), End: now.Add(2 * time.Hour), Zone: zone},
	}
	for m.Attempt = 1; m.Attempt <= 2; m.Attempt++ {
		require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
		now = now.Add(time.Minute)
	}
	require.Len(t, got, 2)
	require.Equal(t, got[0].body, got[1].body)
	require.Equal(t, []string{"3f8e1f0a", "3f8e1f0a"}, []string{got[0].id, got[1].id})
	require.Equal(t, []string{"1935849600", "1935849660"}, []string{got[0].at, got[1].at})
	require.JSONEq(t, `{"type": "notification.due", "timestamp": "2031-05-06T16:00:00Z", "data": {
		"notification_id": "3f8e1f0a", "channel": "webhook", "to": "ann@example.org", "name": "Ann", "subject": "Choir", "message": "Choir at six",
		"expires_at": "2031-05-06T17:00:00Z", "event": {"id": "0f8b", "title": "Choir", "location": "Łódź", "start_time": "2031-05-06T17:00:00Z",
		"end_time": "2031-05-06T18:00:00Z", "time_zone": "Europe/Vienna", "cancelled": false}}}`, got[0].body)
}

func TestCheck(t *testing.T) {
	c := channel(t, "https://bells.example.org", outgoing.New(outgoing.Options{}))
	m := channels.Message{ID: "3f8e1f0a", To: "ann@example.org", Text: strings.Repeat("x", 19<<10)}
	require.NoError(t, c.Check(m))
	m.Text = strings.Repeat("x", 21<<10)
	require.Error(t, c.Check(m))
	for _, id := range []string{"", "a.b", "a b", "a\nb"} {
		require.Error(t, c.Check(channels.Message{ID: id, To: "ann@example.org"}), id)
	}
}

func TestWrongSettings(t *testing.T) {
	client := outgoing.New(outgoing.Options{})
	for name, text := range map[string]string{
		"empty": "", "a prefix alone": "whsec_", "no prefix": secret[6:], "no base64": "whsec_%%%",
		"short": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "long": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
	} {
		_, err := webhook.ParseSecret(text)
		require.Error(t, err, name)
	}
	_, err := webhook.New(webhook.Options{URL: "https://bells.example.org", Client: client})
	require.ErrorContains(t, err, "no secret")
	for _, url := range []string{"", "http://bells.example.org/s3cr3t", "https://127.0.0.1/s3cr3t", "https://u:s3cr3t@bells.example.org"} {
		_, err := webhook.New(webhook.Options{URL: url, Secrets: parse(t, secret), Client: client})
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	require.NotContains(t, fmt.Sprint(parse(t, secret)), secret)
}
