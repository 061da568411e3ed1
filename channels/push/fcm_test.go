package push_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

const (
	deviceToken = "fW9k2_Qx-T0:APA91bHun4MxP5egoKMwt2KZFBaFUH"
	sendPath    = "/v1/projects/bell-tower-1/messages:send"
	tokenPath   = "/token"
	sent        = `{"name": "projects/bell-tower-1/messages/0:1500415314455276%31bd1c9631bd1c96"}`
)

// serviceKey is that of the account; making one takes a while.
var serviceKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// account is a service account's file, with changes; nil leaves a field out.
func account(t *testing.T, tokenURL string, changes map[string]any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(serviceKey())
	require.NoError(t, err)
	fields := map[string]any{
		"type": "service_account", "project_id": "bell-tower-1", "private_key_id": "1f2e3d",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "bells@bell-tower-1.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokenURL,
	}
	maps.Copy(fields, changes)
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil })
	file, err := json.Marshal(fields)
	require.NoError(t, err)
	return file
}

// fcm makes a channel whose API and access tokens are at base.
func fcm(t *testing.T, base string, client *outgoing.Client, now func() time.Time) *push.FCM {
	t.Helper()
	account, err := push.ReadAccount(account(t, base+tokenPath, nil), base+tokenPath)
	require.NoError(t, err)
	c, err := push.NewFCM(push.FCMOptions{Account: account, URL: base, Client: client, Now: now})
	require.NoError(t, err)
	return c
}

// accessToken is an answer with one.
func accessToken(token string) http.HandlerFunc {
	return answer(http.StatusOK, fmt.Sprintf(`{"access_token": %q, "expires_in": 3599, "token_type": "Bearer"}`, token))
}

var fcmHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return fcm(t, base, client, nil)
	},
	To:     func(string) string { return deviceToken },
	Accept: answer(http.StatusOK, sent),
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"code":400,"message":%q,"status":%[1]q}}`, reason)
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		m := read(t, call{r, string(body)})
		require.Equal(t, deviceToken, m.Token)
		return channeltest.Sent{ID: m.Data["notification_id"], Text: m.Notification.Body}
	},
	Beside: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != tokenPath {
			return false
		}
		accessToken("ya29.s3cr3t-1")(w, r)
		return true
	},
	Secrets: []string{"ya29.s3cr3t", "PRIVATE KEY"},
	Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Broken, Forbidden: channels.Broken,
}

func TestFCMContract(t *testing.T) { channeltest.RunHTTP(t, fcmHTTP) }

func TestFCMRequestsAreAsDescribed(t *testing.T) {
	channeltest.RunContract(t, fcmHTTP, "fcm/fcm_v1_messages_send.openapi3.json")
}

// google stands for FCM and for what gives access tokens, which are numbered.
type google struct {
	*server
	tokens  atomic.Int32
	token   http.HandlerFunc // nil: gives one
	channel *push.FCM
}

func serveGoogle(t *testing.T, api http.HandlerFunc) *google {
	g := &google{}
	g.server = serve(t, nil)
	g.answers(api)
	g.channel = fcm(t, g.url, g.client, clock)
	return g
}

// answers sets what FCM answers from now on.
func (g *google) answers(api http.HandlerFunc) {
	g.then(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != tokenPath:
			api(w, r)
		case g.token != nil:
			g.token(w, r)
		default:
			accessToken(fmt.Sprintf("ya29.s3cr3t-%d", g.tokens.Add(1)))(w, r)
		}
	})
}

func (g *google) send(t *testing.T) channels.Result {
	t.Helper()
	return g.channel.Send(t.Context(), message(deviceToken))
}

// fcmMessage is what FCM reads.
type fcmMessage struct {
	Token        string
	Topic        string
	Notification struct{ Title, Body string }
	Data         map[string]string
	Android      struct {
		CollapseKey, Priority, TTL string
		Notification               struct{ Tag string }
	}
	APNS    struct{ Headers map[string]string }
	Webpush struct {
		Headers      map[string]string
		Notification struct{ Tag string }
	}
}

func read(t *testing.T, c call) fcmMessage {
	t.Helper()
	require.Equal(t, http.MethodPost, c.request.Method)
	require.Equal(t, sendPath, c.request.URL.Path)
	require.Equal(t, "application/json", c.request.Header.Get("Content-Type"))
	require.Regexp(t, `^Bearer ya29\.`, c.request.Header.Get("Authorization"))
	var body struct {
		ValidateOnly bool
		Message      fcmMessage
	}
	decoder := json.NewDecoder(strings.NewReader(c.body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&body))
	require.Equal(t, body.Message.Topic != "", body.ValidateOnly, "nobody is sent to all who follow a topic")
	return body.Message
}

// Whatever waits or is shown is replaced by a repeat, and nothing outlives its use.
func TestFCMMessage(t *testing.T) {
	g := serveGoogle(t, answer(http.StatusOK, sent))
	m := message(deviceToken)
	result := g.channel.Send(t.Context(), m)
	require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "projects/bell-tower-1/messages/0:1500415314455276%31bd1c9631bd1c96"}, result)
	calls := g.to(sendPath)
	require.Len(t, calls, 1)
	require.Equal(t, "Bearer ya29.s3cr3t-1", calls[0].request.Header.Get("Authorization"))
	got := read(t, calls[0])
	require.Equal(t, m.Subject, got.Notification.Title)
	require.Equal(t, m.Text, got.Notification.Body)
	require.Equal(t, map[string]string{
		"notification_id": m.ID, "event_id": m.Event.UID, "start_time": "2031-05-06T18:00:00Z", "opt_out_url": m.OptOut,
	}, got.Data)
	require.Equal(t, m.ID, got.Android.CollapseKey)
	require.Equal(t, m.ID, got.Android.Notification.Tag)
	require.Equal(t, "HIGH", got.Android.Priority)
	require.Equal(t, "7200s", got.Android.TTL)
	require.Equal(t, map[string]string{"apns-collapse-id": m.ID, "apns-expiration": fmt.Sprint(m.Expires.Unix())}, got.APNS.Headers)
	require.Equal(t, m.ID, got.Webpush.Notification.Tag)
	require.Equal(t, "7200", got.Webpush.Headers["TTL"])
	require.Regexp(t, `^[A-Za-z0-9_-]{32}$`, got.Webpush.Headers["Topic"])

	m.Expires = now.Add(60 * 24 * time.Hour)
	g.channel.Send(t.Context(), m)
	require.Equal(t, "2419200s", read(t, g.to(sendPath)[1]).Android.TTL, "FCM keeps nothing for longer")
	m.Expires = now.Add(time.Millisecond)
	g.channel.Send(t.Context(), m)
	require.Equal(t, "0s", read(t, g.to(sendPath)[2]).Android.TTL)
}

// fcmError is an error's body with its details.
func fcmError(status int, word, code, field string) string {
	details := []map[string]any{}
	if code != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
	}
	if field != "" {
		details = append(details, map[string]any{
			"@type":           "type.googleapis.com/google.rpc.BadRequest",
			"fieldViolations": []map[string]any{{"field": field, "description": "it is wrong"}},
		})
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{"code": status, "message": "said FCM", "status": word, "details": details}})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func TestFCMClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "fcm") {
		code, word, _ := strings.Cut(class.Text("errorCode"), " ")
		if code == "(absent)" {
			code = ""
		}
		fields := []string{class.Text("fieldViolation")}
		if fields[0] == "(absent or another)" {
			fields = []string{"", "message.data[0].value"}
		}
		for _, field := range fields {
			row := channeltest.Answer{Name: code + " " + field, Status: class.Status(), Want: class.Outcome, Code: code}
			if row.Body = fcmError(row.Status, word, code, field); row.Status == http.StatusOK {
				row.Body = sent
			}
			rows = append(rows, row)
		}
	}
	channeltest.RunAnswers(t, fcmHTTP, rows)
}

func TestFCMErrorExamplesOfTheTable(t *testing.T) {
	var table struct {
		Examples []struct {
			HTTP  int
			Class string
			Body  json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "fcm/error_examples.json"), &table))
	outcomes := map[string]channels.Outcome{"later": channels.Later, "rejected": channels.Rejected, "gone": channels.Gone}
	var rows []channeltest.Answer
	for i, example := range table.Examples {
		body := string(example.Body)
		if text := ""; json.Unmarshal(example.Body, &text) == nil {
			body = text // HTML
		}
		require.Contains(t, outcomes, example.Class)
		rows = append(rows, channeltest.Answer{Name: fmt.Sprint(i), Status: example.HTTP, Body: body, Want: outcomes[example.Class]})
	}
	require.NotEmpty(t, rows)
	channeltest.RunAnswers(t, fcmHTTP, rows)
}

func TestFCMAnswers(t *testing.T) {
	const strange = `{"error": {"status": "NOT_FOUND", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "errorCode": "UNREGISTERED"}]}}`
	channeltest.RunAnswers(t, fcmHTTP, []channeltest.Answer{
		{Name: "sent", Status: 200, Body: sent, Want: channels.Accepted},
		{Name: "somebody's page", Status: 200, Body: "<html>Log in", Want: channels.Unknown, Code: "http_200"},
		{Name: "an app that is gone", Status: 404, Body: fcmError(404, "NOT_FOUND", "UNREGISTERED", ""), Want: channels.Gone, Code: "UNREGISTERED"},
		{Name: "gone, says a 400", Status: 400, Body: fcmError(400, "INVALID_ARGUMENT", "UNREGISTERED", ""), Want: channels.Rejected, Code: "UNREGISTERED"},
		{Name: "no such project", Status: 404, Body: fcmError(404, "NOT_FOUND", "", ""), Want: channels.Broken, Code: "NOT_FOUND"},
		{Name: "a page that isn't there", Status: 404, Body: "<html>404", Want: channels.Broken, Code: "http_404"},
		{Name: "details of another kind", Status: 404, Body: strange, Want: channels.Broken, Code: "NOT_FOUND"},
		{Name: "details that are none", Status: 404, Body: `{"error": {"status": "NOT_FOUND", "details": "UNREGISTERED"}}`, Want: channels.Broken, Code: "http_404"},
		{Name: "a token that is none", Status: 400, Body: fcmError(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token"), Want: channels.Gone, Code: "INVALID_ARGUMENT"},
		{Name: "another field", Status: 400, Body: fcmError(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"), Want: channels.Rejected, Code: "INVALID_ARGUMENT"},
		{Name: "no field", Status: 400, Body: fcmError(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ""), Want: channels.Rejected, Code: "INVALID_ARGUMENT"},
		{Name: "another project's token", Status: 403, Body: fcmError(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""), Want: channels.Gone, Code: "SENDER_ID_MISMATCH"},
		{Name: "no permission", Status: 403, Body: fcmError(403, "PERMISSION_DENIED", "", ""), Want: channels.Broken, Code: "PERMISSION_DENIED"},
		{Name: "no access", Status: 401, Body: fcmError(401, "UNAUTHENTICATED", "", ""), Want: channels.Broken, Code: "UNAUTHENTICATED"},
		{Name: "the project's APNs key", Status: 401, Body: fcmError(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", ""), Want: channels.Broken, Code: "THIRD_PARTY_AUTH_ERROR"},
		{Name: "quota", Status: 429, Body: fcmError(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ""), Want: channels.Later, Code: "QUOTA_EXCEEDED"},
		{Name: "unavailable", Status: 503, Body: fcmError(503, "UNAVAILABLE", "UNAVAILABLE", ""), Want: channels.Later, Code: "UNAVAILABLE"},
		{Name: "internal", Status: 500, Body: fcmError(500, "INTERNAL", "INTERNAL", ""), Want: channels.Later, Code: "INTERNAL"},
		{Name: "a gateway's page", Status: 502, Body: "<html>502", Want: channels.Later, Code: "http_502"},
		{Name: "a gateway that waited", Status: 504, Body: "<html>504", Want: channels.Unknown, Code: "http_504"},
		{Name: "too large", Status: 413, Want: channels.Rejected, Code: "http_413"},
		{Name: "a teapot", Status: 418, Want: channels.Unknown, Code: "http_418"},
		{Name: "a code that quotes the token", Status: 400, Body: fcmError(400, deviceToken, deviceToken, ""), Want: channels.Rejected, Code: "http_400"},
	})
}

// FCM wants a minute where its answer doesn't say how long.
func TestFCMQuota(t *testing.T) {
	g := serveGoogle(t, answer(http.StatusTooManyRequests, ""))
	require.Equal(t, now.Add(time.Minute), g.send(t).NotBefore)
	g.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	require.Equal(t, now.Add(7*time.Second), g.send(t).NotBefore)
}

// FCM wants 10 s between attempts, more after each, and none that is late.
func TestBackoff(t *testing.T) {
	pauses := push.Backoff()
	require.Len(t, pauses, 19, "as many attempts as by others' channels")
	require.Equal(t, 10*time.Second, pauses[0])
	require.True(t, slices.IsSorted(pauses))
	require.Equal(t, 20*time.Second, pauses[1])
	require.Equal(t, 15*time.Minute, pauses[18])
}

func TestFCMOptions(t *testing.T) {
	account, err := push.ReadAccount(account(t, push.GoogleTokenURL, nil), push.GoogleTokenURL)
	require.NoError(t, err)
	client := outgoing.New(outgoing.Options{})
	for url, right := range map[string]bool{
		push.FCMURL: true, "https://fcm.example.org/behind/a/path/": true,
		"": false, "http://fcm.googleapis.com": false, "https://10.0.0.1": false, "https://fcm.example.org?key=s3cr3t": false, "https://u:s3cr3t@fcm.example.org": false,
	} {
		_, err := push.NewFCM(push.FCMOptions{Account: account, URL: url, Client: client})
		require.Equal(t, right, err == nil, url)
		if err != nil {
			require.NotContains(t, err.Error(), "s3cr3t")
		}
	}
}

func TestFCMCheck(t *testing.T) {
	g := serveGoogle(t, answer(200, sent))
	for name, change := range map[string]func(*channels.Message){
		"a subscription":  func(m *channels.Message) { m.To = `{"endpoint": "https://push.example.org/s3cr3t"}` },
		"no token":        func(m *channels.Message) { m.To = "two words" },
		"a line break":    func(m *channels.Message) { m.To += "\n" },
		"an odd id":       func(m *channels.Message) { m.ID = "a b" },
		"a long text":     func(m *channels.Message) { m.Text = strings.Repeat("ö", 2048) },
		"a long event id": func(m *channels.Message) { m.Event.UID = strings.Repeat("x", 4096) },
	} {
		m := message(deviceToken)
		change(&m)
		require.Error(t, g.channel.Check(m), name)
	}
	m := message(deviceToken)
	m.Text = strings.Repeat("ö", 1900)
	require.NoError(t, g.channel.Check(m))
}

// Access tokens are asked for with a proof that Google can verify, and kept.
func TestAccessTokens(t *testing.T) {
	g := serveGoogle(t, answer(200, sent))
	shown := now
	c := fcm(t, g.url, g.client, func() time.Time { return shown })
	for _, step := range []struct {
		later  time.Duration
		tokens int
	}{{0, 1}, {time.Minute, 1}, {57 * time.Minute, 1}, {2 * time.Minute, 2}, {0, 2}} {
		shown = shown.Add(step.later)
		m := message(deviceToken)
		m.Expires = shown.Add(time.Hour)
		require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
		require.Len(t, g.to(tokenPath), step.tokens, "at %v", shown.Sub(now))
	}
	form, err := url.ParseQuery(g.to(tokenPath)[0].body)
	require.NoError(t, err)
	require.Equal(t, "urn:ietf:params:oauth:grant-type:jwt-bearer", form.Get("grant_type"))
	parts := strings.Split(form.Get("assertion"), ".")
	require.Len(t, parts, 3)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	require.NoError(t, rsa.VerifyPKCS1v15(&serviceKey().PublicKey, crypto.SHA256, digest[:], signature))
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claimed struct{ Iss, Scope, Aud string }
	require.NoError(t, json.NewDecoder(bytes.NewReader(claims)).Decode(&claimed))
	require.Equal(t, "bells@bell-tower-1.iam.gserviceaccount.com", claimed.Iss)
	require.Equal(t, "https://www.googleapis.com/auth/firebase.messaging", claimed.Scope)
	require.Equal(t, g.url+tokenPath, claimed.Aud)
}

// Whoever comes while a token is asked for waits for it, and for no longer than
// their contexts last.
func TestOneAsksForAnAccessToken(t *testing.T) {
	g := serveGoogle(t, answer(200, sent))
	asked, give := make(chan struct{}, 20), make(chan struct{})
	g.token = func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-give
		accessToken("ya29.s3cr3t-1")(w, r)
	}
	var all sync.WaitGroup
	results := make([]channels.Result, 10)
	all.Go(func() { results[0] = g.send(t) })
	<-asked
	for i := range results[1:] {
		all.Go(func() { results[1+i] = g.send(t) })
	}
	hasty, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	result := g.channel.Send(hasty, message(deviceToken))
	require.Equal(t, channels.Later, result.Outcome)
	close(give)
	all.Wait()
	for _, result := range results {
		require.Equal(t, channels.Accepted, result.Outcome, result.Detail)
	}
	require.Empty(t, asked)
	require.Len(t, g.to(sendPath), len(results))
}

// A token that was kept may have been revoked; one that was got just now is refused
// for another reason.
func TestARefusedAccessTokenIsReplacedOnce(t *testing.T) {
	good := "Bearer ya29.s3cr3t-1"
	g := serveGoogle(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == good {
			answer(200, sent)(w, r)
			return
		}
		answer(401, fcmError(401, "UNAUTHENTICATED", "", ""))(w, r)
	})
	require.Equal(t, channels.Accepted, g.send(t).Outcome)
	good = "Bearer ya29.s3cr3t-2"
	require.Equal(t, channels.Accepted, g.send(t).Outcome)
	require.Len(t, g.to(sendPath), 3)
	good = "none"
	require.Equal(t, channels.Broken, g.send(t).Outcome)
	require.Len(t, g.to(sendPath), 5)
	require.Len(t, g.to(tokenPath), 3)
}

// raw answers with text and hangs up.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, text)
		conn.Close()
	}
}

// Without an access token nothing is sent, so nothing is in doubt.
func TestAccessTokenIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   channels.Outcome
		code   string
	}{
		"a wrong key":        {answer(400, `{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}`), channels.Broken, "invalid_grant"},
		"no such account":    {answer(401, `{"error": "invalid_client"}`), channels.Broken, "invalid_client"},
		"a page":             {answer(403, "<html>"), channels.Broken, "token_http_403"},
		"a redirect":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, channels.Broken, "token_http_302"},
		"too many":           {answer(429, ""), channels.Later, "token_http_429"},
		"unavailable":        {answer(503, ""), channels.Later, "token_http_503"},
		"reset":              {raw(""), channels.Later, "no_answer"},
		"cut short":          {raw("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"), channels.Later, "no_answer"},
		"somebody's page":    {answer(200, "<html>Log in"), channels.Broken, "token_answer"},
		"nothing":            {answer(200, "{}"), channels.Broken, "token_answer"},
		"a code that quotes": {answer(400, `{"error": "ya29.s3cr3t"}`), channels.Broken, "token_http_400"},
	} {
		t.Run(name, func(t *testing.T) {
			g := serveGoogle(t, answer(200, sent))
			g.token = tt.answer
			result := g.send(t)
			require.Equal(t, tt.want, result.Outcome, result.Detail)
			require.Equal(t, tt.code, result.Code)
			require.NotContains(t, result.Detail, "s3cr3t")
			require.Empty(t, g.to(sendPath))
			require.Empty(t, g.to("/elsewhere"))
			probed, _ := g.channel.Probe(t.Context())
			require.Equal(t, result, probed)
		})
	}
	g := serveGoogle(t, answer(200, sent))
	ctx, cancel := context.WithCancel(t.Context())
	g.token = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	require.Equal(t, channels.Later, g.channel.Send(ctx, message(deviceToken)).Outcome)
}

// A probe sends nothing to anybody.
func TestFCMProbe(t *testing.T) {
	g := serveGoogle(t, answer(200, `{"name": "projects/bell-tower-1/messages/fake_message_id"}`))
	result, words := g.channel.Probe(t.Context())
	require.Equal(t, channels.Accepted, result.Outcome, words)
	calls := g.to(sendPath)
	require.Len(t, calls, 1)
	require.Contains(t, calls[0].body, `"validateOnly":true`)
	require.Empty(t, read(t, calls[0]).Token)
	g.answers(answer(403, fcmError(403, "PERMISSION_DENIED", "", "")))
	result, words = g.channel.Probe(t.Context())
	require.Equal(t, channels.Broken, result.Outcome)
	require.Contains(t, words, "said FCM")
}

// A file that would have us prove ourselves to somebody else is refused.
func TestReadAccount(t *testing.T) {
	file := account(t, push.GoogleTokenURL, nil)
	read, err := push.ReadAccount(file, push.GoogleTokenURL)
	require.NoError(t, err)
	require.Equal(t, "bell-tower-1", read.Project)
	for name, tt := range map[string]struct {
		file []byte
		says string
	}{
		"empty":                 {nil, "not the JSON key"},
		"not JSON":              {[]byte("s3cr3t"), "not the JSON key"},
		"another kind":          {account(t, push.GoogleTokenURL, map[string]any{"type": "external_account"}), "not the JSON key"},
		"a user's":              {account(t, push.GoogleTokenURL, map[string]any{"type": "authorized_user"}), "not the JSON key"},
		"somebody else's URL":   {account(t, "https://oauth2.example.org/token", nil), "token_uri"},
		"without TLS":           {account(t, "http://oauth2.googleapis.com/token", nil), "token_uri"},
		"a look-alike":          {account(t, push.GoogleTokenURL+".example.org", nil), "token_uri"},
		"a URL, given twice":    {bytes.Replace(file, []byte(`"type"`), []byte(`"TOKEN_URI": "https://oauth2.example.org/token", "type"`), 1), "token_uri"},
		"another universe":      {account(t, push.GoogleTokenURL, map[string]any{"universe_domain": "example.org"}), "universe_domain"},
		"no project":            {account(t, push.GoogleTokenURL, map[string]any{"project_id": nil}), "project_id"},
		"a path in the project": {account(t, push.GoogleTokenURL, map[string]any{"project_id": "../../x"}), "project_id"},
		"no address":            {account(t, push.GoogleTokenURL, map[string]any{"client_email": nil}), "client_email"},
		"no key":                {account(t, push.GoogleTokenURL, map[string]any{"private_key": nil}), "private_key"},
		"a key that is none":    {account(t, push.GoogleTokenURL, map[string]any{"private_key": "s3cr3t"}), "private_key"},
	} {
		_, err := push.ReadAccount(tt.file, push.GoogleTokenURL)
		require.ErrorContains(t, err, tt.says, name)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	_, err = push.ReadAccount(account(t, "https://oauth2.example.org/token", nil), "https://oauth2.example.org/token")
	require.NoError(t, err, "where it is said to be so")
}
