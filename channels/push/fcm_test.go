package push_test

import (
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
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	accessToken  = "ya29.s3cr3t"
	registration = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1-s3cr3t"
	project      = "bells-4711"
)

// serviceKey is that of the service account, made once as it takes a while.
var serviceKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// accountFile is a service account's file as Google gives it, but for changes.
func accountFile(t *testing.T, change map[string]any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(serviceKey())
	require.NoError(t, err)
	file := map[string]any{
		"type": "service_account", "project_id": project, "private_key_id": "k1", "client_email": "bells@" + project + ".iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": push.GoogleTokenURL,
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
	}
	for name, value := range change {
		file[name] = value
	}
	encoded, err := json.Marshal(file)
	require.NoError(t, err)
	return encoded
}

func fcm(t *testing.T, base string, client *outgoing.Client) *push.FCM {
	t.Helper()
	c, err := push.NewFCM(push.FCMOptions{URL: base, TokenURL: base + "/token", Account: accountFile(t, nil), Client: client})
	require.NoError(t, err)
	return c
}

// giveToken answers as Google's token endpoint does.
func giveToken(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/token" {
		return false
	}
	io.WriteString(w, `{"access_token":"`+accessToken+`","token_type":"Bearer","expires_in":3599}`)
	return true
}

type fcmBody struct {
	Message struct {
		Token        string
		Notification struct{ Title, Body string }
		Data         map[string]string
		Android      struct {
			Priority, TTL string
			Notification  struct{ Tag string }
		}
		APNS    struct{ Headers map[string]string }
		Webpush struct{ Headers map[string]string }
	}
}

func readFCM(t *testing.T, r *http.Request, body []byte) fcmBody {
	t.Helper()
	require.Equal(t, "POST /v1/projects/"+project+"/messages:send", r.Method+" "+r.URL.Path)
	require.Equal(t, "Bearer "+accessToken, r.Header.Get("Authorization"))
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	var b fcmBody
	require.NoError(t, decoder.Decode(&b))
	require.Equal(t, b.Message.Data["notification_id"], b.Message.Android.Notification.Tag)
	return b
}

var fcmHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel { return fcm(t, base, client) },
	To:  func(string) string { return registration },
	Accept: func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"name":"projects/`+project+`/messages/0:1500415314455276%31bd1c9631bd1c96"}`)
	},
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": 400, "message": reason, "status": reason, "details": []any{map[string]any{"errorCode": reason}}}})
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		b := readFCM(t, r, body)
		return channeltest.Sent{ID: b.Message.Data["notification_id"], Text: b.Message.Notification.Body}
	},
	Beside:  giveToken,
	Secrets: []string{accessToken, "PRIVATE KEY"},
	Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Broken, Forbidden: channels.Broken,
}

func TestFCMContract(t *testing.T) { channeltest.RunHTTP(t, fcmHTTP) }

func TestFCMRequestsAreAsDescribed(t *testing.T) {
	channeltest.RunContract(t, fcmHTTP, "fcm/fcm_v1_messages_send.openapi3.json")
}

// fcmSays is an error as FCM tells it.
func fcmSays(status int, word, code, field string) string {
	var details []any
	if code != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
	}
	if field != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": []any{map[string]any{"field": field}}})
	}
	said, err := json.Marshal(map[string]any{"error": map[string]any{"code": status, "message": "m", "status": word, "details": details}})
	if err != nil {
		panic(err)
	}
	return string(said)
}

func TestFCMClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "fcm") {
		code, field := class.Text("errorCode"), class.Text("fieldViolation")
		row := channeltest.Answer{Name: code + " " + field, Status: class.Status(), Want: class.Outcome}
		switch {
		case code == "":
			row.Body = `{"name":"projects/x/messages/1"}`
		case strings.HasPrefix(code, "(absent)"):
			row.Body = fcmSays(row.Status, strings.TrimSpace(strings.TrimPrefix(code, "(absent)")), "", "")
		default:
			row.Body = fcmSays(row.Status, code, code, strings.NewReplacer("(absent or another)", "message.data[0].value").Replace(field))
		}
		rows = append(rows, row)
	}
	channeltest.RunAnswers(t, fcmHTTP, rows)
}

func TestFCMAnswersOfTheVectors(t *testing.T) {
	var examples struct {
		Examples []struct {
			HTTP        int
			Class, Note string
			Body        json.RawMessage
		}
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "fcm/error_examples.json"), &examples))
	outcomes := map[string]channels.Outcome{"gone": channels.Gone, "rejected": channels.Rejected, "later": channels.Later}
	var rows []channeltest.Answer
	for _, e := range examples.Examples {
		body := string(e.Body)
		_ = json.Unmarshal(e.Body, &body) // one is text and no JSON
		require.Contains(t, outcomes, e.Class)
		rows = append(rows, channeltest.Answer{Name: e.Note, Status: e.HTTP, Body: body, Want: outcomes[e.Class]})
	}
	require.Greater(t, len(rows), 5)
	channeltest.RunAnswers(t, fcmHTTP, rows)
}

func TestFCMAnswers(t *testing.T) {
	channeltest.RunAnswers(t, fcmHTTP, []channeltest.Answer{
		{Status: 200, Body: `{"name":"projects/x/messages/1"}`, Want: channels.Accepted},
		{Status: 404, Body: fcmSays(404, "NOT_FOUND", "UNREGISTERED", ""), Want: channels.Gone, Code: "UNREGISTERED"},
		{Status: 404, Body: fcmSays(404, "NOT_FOUND", "", ""), Want: channels.Broken, Code: "NOT_FOUND"},
		{Status: 404, Body: "<html>", Want: channels.Broken, Code: "http_404"},
		{Status: 400, Body: fcmSays(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token"), Want: channels.Gone},
		{Status: 400, Body: fcmSays(400, "INVALID_ARGUMENT", "", "message.token"), Want: channels.Gone, Name: "no code"},
		{Status: 400, Body: fcmSays(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.android.ttl"), Want: channels.Rejected},
		{Status: 400, Body: fcmSays(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ""), Want: channels.Rejected},
		{Status: 400, Body: fcmSays(400, "INVALID_ARGUMENT", "UNREGISTERED", ""), Want: channels.Rejected, Name: "a code of another status"},
		{Status: 403, Body: fcmSays(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""), Want: channels.Gone},
		{Status: 403, Body: fcmSays(403, "PERMISSION_DENIED", "", ""), Want: channels.Broken, Code: "PERMISSION_DENIED"},
		{Status: 401, Body: fcmSays(401, "UNAUTHENTICATED", "", ""), Want: channels.Broken, Code: "UNAUTHENTICATED"},
		{Status: 401, Body: fcmSays(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", ""), Want: channels.Broken, Code: "THIRD_PARTY_AUTH_ERROR"},
		{Status: 429, Body: fcmSays(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ""), Want: channels.Later, Code: "QUOTA_EXCEEDED"},
		{Status: 500, Body: fcmSays(500, "INTERNAL", "INTERNAL", ""), Want: channels.Later, Code: "INTERNAL"},
		{Status: 502, Body: "<!DOCTYPE html>", Want: channels.Later, Code: "http_502"},
		{Status: 503, Body: fcmSays(503, "UNAVAILABLE", "UNAVAILABLE", ""), Want: channels.Later},
		{Status: 418, Want: channels.Unknown},
	})
}

func onThisMachine(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(c.CloseIdle)
	return c
}

func message() channels.Message {
	now := time.Now()
	return channels.Message{
		ID: "3f8e1f0a-9d53-5c58-8d2b-6a1f2f0c7e11", Channel: "push", Attempt: 1, To: registration, Name: "Ann", Subject: "Choir", Text: "Choir at six",
		Due: now, Expires: now.Add(time.Hour), OptOut: "https://bells.example.org/v1/opt-out/x",
		Event: channels.Event{UID: "0f8b6c0e", Start: time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)},
	}
}

func TestFCMMessage(t *testing.T) {
	var got fcmBody
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if giveToken(w, r) {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got = readFCM(t, r, body)
		}
		fcmHTTP.Accept(w, r)
	}))
	defer server.Close()
	m := message()
	result := fcm(t, server.URL, onThisMachine(t)).Send(t.Context(), m)
	require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "projects/bells-4711/messages/0:1500415314455276%31bd1c9631bd1c96"}, result)
	require.Equal(t, registration, got.Message.Token)
	require.Equal(t, "Choir", got.Message.Notification.Title)
	require.Equal(t, map[string]string{
		"notification_id": m.ID, "event_id": "0f8b6c0e", "start_time": "2031-05-06T16:00:00Z", "opt_out_url": m.OptOut,
	}, got.Message.Data)
	require.Equal(t, "HIGH", got.Message.Android.Priority)
	var ttl int
	fmt.Sscanf(got.Message.Android.TTL, "%ds", &ttl)
	require.Greater(t, ttl, 3000)
	require.LessOrEqual(t, ttl, 3600)
	require.Equal(t, fmt.Sprint(ttl), got.Message.Webpush.Headers["TTL"])
	require.Len(t, got.Message.Webpush.Headers["Topic"], 32)
	require.LessOrEqual(t, len(got.Message.APNS.Headers["apns-collapse-id"]), 64)
	require.Equal(t, fmt.Sprint(m.Expires.Unix()), got.Message.APNS.Headers["apns-expiration"])
}

func TestFCMCheck(t *testing.T) {
	c := fcm(t, "https://fcm.googleapis.com", outgoing.New(outgoing.Options{}))
	require.NoError(t, c.Check(message()))
	for name, change := range map[string]func(*channels.Message){
		"no token": func(m *channels.Message) { m.To = "" },
		"a blank":  func(m *channels.Message) { m.To = "a b" },
		"no text":  func(m *channels.Message) { m.Text = " " },
		"too long": func(m *channels.Message) { m.Text = strings.Repeat("x", 4000) },
		"an id":    func(m *channels.Message) { m.ID = "a\nb" },
	} {
		m := message()
		change(&m)
		require.Error(t, c.Check(m), name)
	}
	m := message()
	m.Text = strings.Repeat("x", 3700)
	require.NoError(t, c.Check(m))
}

// The assertion that asks for a token is signed by the service account, and for
// nobody else.
func TestFCMAssertion(t *testing.T) {
	assertions := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assertions <- r.FormValue("grant_type") + " " + r.FormValue("assertion")
		giveToken(w, r)
	}))
	defer server.Close()
	result, _ := fcm(t, server.URL, onThisMachine(t)).Probe(t.Context())
	require.Equal(t, channels.Accepted, result.Outcome)
	grant, assertion, _ := strings.Cut(<-assertions, " ")
	require.Equal(t, "urn:ietf:params:oauth:grant-type:jwt-bearer", grant)
	parts := strings.Split(assertion, ".")
	require.Len(t, parts, 3)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	require.NoError(t, rsa.VerifyPKCS1v15(&serviceKey().PublicKey, crypto.SHA256, sum[:], signature))
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var said struct {
		Iss, Aud, Scope string
		Iat, Exp        int64
	}
	require.NoError(t, json.Unmarshal(claims, &said))
	require.Equal(t, "bells@bells-4711.iam.gserviceaccount.com", said.Iss)
	require.Equal(t, server.URL+"/token", said.Aud)
	require.Equal(t, "https://www.googleapis.com/auth/firebase.messaging", said.Scope)
	require.LessOrEqual(t, said.Exp-said.Iat, int64(3600))
}

// A token is asked for once, by however many, and again when it ends or is refused.
func TestFCMTokens(t *testing.T) {
	var asked, sent, refuse atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			asked.Add(1)
			giveToken(w, r)
			return
		}
		sent.Add(1)
		if refuse.Add(-1) >= 0 {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, fcmSays(401, "UNAUTHENTICATED", "", ""))
			return
		}
		fcmHTTP.Accept(w, r)
	}))
	defer server.Close()
	var ahead atomic.Int64
	c, err := push.NewFCM(push.FCMOptions{
		URL: server.URL, TokenURL: server.URL + "/token", Account: accountFile(t, nil), Client: onThisMachine(t),
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	require.NoError(t, err)
	m := message()
	m.Expires = m.Expires.Add(24 * time.Hour)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { c.Send(t.Context(), m) })
	}
	all.Wait()
	require.EqualValues(t, 1, asked.Load())
	require.EqualValues(t, 16, sent.Load())

	refuse.Store(1)
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome, "a kept token that is refused is replaced")
	require.EqualValues(t, 2, asked.Load())
	require.EqualValues(t, 18, sent.Load())

	refuse.Store(2)
	require.Equal(t, channels.Broken, c.Send(t.Context(), m).Outcome, "a new one that is refused is not")
	require.EqualValues(t, 3, asked.Load())
	require.EqualValues(t, 20, sent.Load())

	refuse.Store(0)
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
	require.EqualValues(t, 4, asked.Load(), "it was forgotten")
	ahead.Store(int64(59 * time.Minute)) // less than a minute is left
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
	require.EqualValues(t, 5, asked.Load())
}

// Without a token nothing was sent, whatever went wrong.
func TestFCMWithoutAToken(t *testing.T) {
	for answer, want := range map[string]channels.Outcome{
		`400 {"error":"invalid_grant","error_description":"Invalid JWT Signature."}`: channels.Broken,
		`401 {}`: channels.Broken, `403 {}`: channels.Broken, `302 `: channels.Broken, `200 {}`: channels.Broken, `200 <html>`: channels.Broken,
		`429 {}`: channels.Later, `500 {}`: channels.Later, `503 <html>`: channels.Later, `000 `: channels.Later,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var code int
			fmt.Sscanf(answer, "%d", &code)
			if code == 0 || r.URL.Path != "/token" {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(code)
			io.WriteString(w, answer[4:])
		}))
		defer server.Close()
		c := fcm(t, server.URL, onThisMachine(t))
		for _, result := range []channels.Result{c.Send(t.Context(), message()), first(c.Probe(t.Context()))} {
			require.Equal(t, want, result.Outcome, answer)
			require.NotEmpty(t, result.Detail)
			require.NotContains(t, result.Detail, "Signature")
		}
	}
	// Whoever stops waiting was certainly not sent.
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or it would not hear that the client goes
		<-r.Context().Done()
	}))
	defer stalled.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, channels.Later, fcm(t, stalled.URL, onThisMachine(t)).Send(ctx, message()).Outcome)
	stalled.CloseClientConnections()
}

func first(r channels.Result, _ string) channels.Result { return r }

// A file that points elsewhere would hand somebody what signs us in.
func TestServiceAccounts(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"elsewhere":            {"token_uri": "https://oauth2.example.org/token"},
		"almost":               {"token_uri": "https://oauth2.googleapis.com.example.org/token"},
		"nowhere":              {"token_uri": ""},
		"another universe":     {"universe_domain": "example.org"},
		"another type":         {"type": "external_account"},
		"no project":           {"project_id": ""},
		"a project with paths": {"project_id": "../../x"},
		"no key":               {"private_key": ""},
		"a wrong key":          {"private_key": "-----BEGIN PRIVATE KEY-----\nTr0ub4dor\n-----END PRIVATE KEY-----\n"},
		"nobody":               {"client_email": ""},
	} {
		_, err := push.NewFCM(push.FCMOptions{URL: push.FCMURL, TokenURL: push.GoogleTokenURL, Account: accountFile(t, change), Client: outgoing.New(outgoing.Options{})})
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "Tr0ub4dor")
	}
	for _, file := range []string{"", "null", "[]", "Tr0ub4dor", `{"type":"service_account"}`} {
		_, err := push.NewFCM(push.FCMOptions{URL: push.FCMURL, TokenURL: push.GoogleTokenURL, Account: []byte(file), Client: outgoing.New(outgoing.Options{})})
		require.Error(t, err, file)
		require.NotContains(t, err.Error(), "Tr0ub4dor")
	}
	_, err := push.NewFCM(push.FCMOptions{URL: push.FCMURL, TokenURL: push.GoogleTokenURL, Account: accountFile(t, nil), Client: outgoing.New(outgoing.Options{})})
	require.NoError(t, err)
}
