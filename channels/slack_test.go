package channels_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secretPath = "/services/T000/B000/s3cr3t"

// slack is a webhook's server. It keeps what is posted and answers as told.
type slack struct {
	url    string
	mu     sync.Mutex
	posted []string
	answer http.HandlerFunc
}

func newSlack(t *testing.T, answer http.HandlerFunc) *slack {
	s := &slack{answer: answer}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL + secretPath
	return s
}

func (s *slack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	if err == nil && r.Method == http.MethodPost && r.URL.Path == secretPath {
		s.posted = append(s.posted, string(body))
	}
	answer := s.answer
	s.mu.Unlock()
	answer(w, r)
}

func (s *slack) then(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *slack) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posted
}

func (s *slack) channel(t *testing.T) *Webhook {
	w, err := NewWebhook(s.url, true)
	require.NoError(t, err)
	return w
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// stalled never answers; it lets go when the client does.
func stalled(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// hangUp ends the connection after writing text to it, with a reset.
func hangUp(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, text)
		if text == "" {
			conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

func TestSlackContract(t *testing.T) {
	channeltest.Run(t, channeltest.Subject{
		To:      "zebulon@example.org",
		Secrets: []string{secretPath, "s3cr3t"},
		New: func(t *testing.T) channeltest.Rig {
			s := newSlack(t, status(http.StatusOK, "ok"))
			return channeltest.Rig{
				Channel: s.channel(t),
				Sent: func() (sent []channeltest.Sent) {
					for _, body := range s.all() {
						sent = append(sent, channeltest.Sent{Text: shown(t, body)})
					}
					return sent
				},
				Refuse: func(reason string) { s.then(status(http.StatusBadRequest, reason)) },
				Stall: func() <-chan struct{} {
					arrived := make(chan struct{})
					s.then(func(w http.ResponseWriter, r *http.Request) {
						close(arrived)
						stalled(w, r)
					})
					return arrived
				},
			}
		},
	})
}

// shown is the text that Slack shows for a posted body.
func shown(t *testing.T, body string) string {
	t.Helper()
	var payload struct {
		Text   string
		Mrkdwn *bool
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&payload))
	require.False(t, *payload.Mrkdwn)
	require.False(t, strings.ContainsAny(payload.Text, "<>"), "markup of Slack's in %q", payload.Text)
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(payload.Text)
}

func message() channels.Message {
	return channels.Message{
		ID: "b1c5", Channel: "slack", Attempt: 1, To: "ann@example.org", Name: "Ann",
		Text: "Choir at six", Expires: time.Now().Add(time.Hour),
	}
}

func TestSlackAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   channels.Outcome
		code   string
	}{
		"ok":                  {status(200, "ok"), channels.Accepted, ""},
		"ok and a line break": {status(200, "ok\n"), channels.Accepted, ""},
		"somebody's page":     {status(200, "<html>Log in"), channels.Unknown, "http_200"},
		"an endless page":     {status(200, strings.Repeat("ok", 1<<20)), channels.Unknown, "http_200"},
		"nothing":             {status(200, ""), channels.Unknown, "http_200"},
		"bad payload":         {status(400, "invalid_payload"), channels.Rejected, "invalid_payload"},
		"too large":           {status(413, ""), channels.Rejected, "http_413"},
		"bad token":           {status(401, ""), channels.Broken, "http_401"},
		"forbidden":           {status(403, "action_prohibited"), channels.Broken, "action_prohibited"},
		"no such webhook":     {status(404, "no_service"), channels.Gone, "no_service"},
		"archived":            {status(410, "channel_is_archived"), channels.Gone, "channel_is_archived"},
		"slow down":           {status(429, ""), channels.Later, "http_429"},
		"a teapot":            {status(418, ""), channels.Unknown, "http_418"},
		"broken":              {status(500, "rollup_error"), channels.Unknown, "rollup_error"},
		"a gateway's page":    {status(502, "<html>Bad gateway"), channels.Unknown, "http_502"},
		"unavailable":         {status(503, ""), channels.Unknown, "http_503"},
		"reset":               {hangUp(""), channels.Unknown, "no_answer"},
		"not HTTP":            {hangUp("220 smtp.example.org\r\n"), channels.Unknown, "no_answer"},
		"a body cut short":    {hangUp("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"), channels.Unknown, "http_200"},
		"a refusal cut short": {hangUp("HTTP/1.1 403 No\r\nContent-Length: 20\r\n\r\nno"), channels.Broken, "http_403"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlack(t, tt.answer)
			result := s.channel(t).Send(t.Context(), message())
			require.Equal(t, tt.want, result.Outcome)
			require.Equal(t, tt.code, result.Code)
			require.True(t, result.NotBefore.IsZero())
			require.Len(t, s.all(), 1, "one attempt is one call")
			require.Equal(t, "Ann: Choir at six", shown(t, s.all()[0]))
		})
	}
}

func TestSlackRetryAfter(t *testing.T) {
	now := time.Now()
	date := now.Add(90 * time.Second).Truncate(time.Second)
	for header, want := range map[string]time.Time{
		"30":                                  now.Add(30 * time.Second),
		"0":                                   now,
		date.UTC().Format(http.TimeFormat):    date,
		"Sun, 06 Nov 1994 08:49:37 GMT":       time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC),
		"":                                    {},
		"-5":                                  {},
		"soon":                                {},
		"99999999999999999999999999999999999": {},
	} {
		s := newSlack(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		result := s.channel(t).Send(t.Context(), message())
		require.Equal(t, channels.Later, result.Outcome)
		require.Equal(t, want.IsZero(), result.NotBefore.IsZero(), header)
		require.WithinDuration(t, want, result.NotBefore, 10*time.Second, header)
		require.False(t, result.NotBefore.Before(want), "%s: never earlier than told", header)
	}
}

func TestSlackRedirectIsNotFollowed(t *testing.T) {
	elsewhere := newSlack(t, status(http.StatusOK, "ok"))
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newSlack(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.url, code) })
		result := s.channel(t).Send(t.Context(), message())
		require.Equal(t, channels.Broken, result.Outcome)
		require.NotContains(t, result.Detail+result.Code, secretPath)
	}
	require.Empty(t, elsewhere.all())
}

func TestSlackTimeouts(t *testing.T) {
	started := func(answer http.HandlerFunc) channels.Result {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSlack(t, func(w http.ResponseWriter, r *http.Request) {
			answer(w, r)
			cancel()
			stalled(w, r)
		})
		return s.channel(t).Send(ctx, message())
	}
	require.Equal(t, channels.Unknown, started(func(http.ResponseWriter, *http.Request) {}).Outcome,
		"no answer")
	require.Equal(t, channels.Unknown, started(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
	}).Outcome, "a status without a body")
}

func TestSlackCannotBeReached(t *testing.T) {
	secure := httptest.NewUnstartedServer(status(http.StatusOK, "ok"))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that we mean to fail
	secure.StartTLS()
	defer secure.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, base := range map[string]string{
		"nobody listens":         closed.URL,
		"an unknown certificate": secure.URL,
	} {
		w, err := NewWebhook(base+secretPath, true)
		require.NoError(t, err)
		result := w.Send(t.Context(), message())
		require.Equal(t, channels.Later, result.Outcome, name)
		require.NotContains(t, result.Detail+result.Code, "s3cr3t")
	}
}

func TestSlackWebhookURL(t *testing.T) {
	for _, url := range []string{
		"", "s3cr3t", "http://hooks.slack.com/s3cr3t", "ftp://hooks.slack.com/s3cr3t", "https:///s3cr3t", "https://%zz/s3cr3t",
	} {
		_, err := NewWebhook(url, false)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	_, err := NewWebhook("https://hooks.slack.com/services/s3cr3t", false)
	require.NoError(t, err)
}

// The documented channel is the one that is tested here.
func TestDocumentedSlackChannel(t *testing.T) {
	doc, err := os.ReadFile("../docs/channels.md")
	require.NoError(t, err)
	source, err := os.ReadFile("slack_example_test.go")
	require.NoError(t, err)

	const begin = "```go\npackage slack\n"
	_, block, found := strings.Cut(string(doc), begin)
	require.True(t, found, "docs/channels.md has no block that begins with %q", begin)
	block, _, found = strings.Cut(block, "```\n")
	require.True(t, found)
	_, code, found := strings.Cut(string(source), "package channels_test\n")
	require.True(t, found)
	require.Equal(t, code, block)
}
