package push_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

// browser is who subscribed: it alone can read what it is sent.
type browser struct {
	key  *ecdh.PrivateKey
	auth []byte
}

var theBrowser = sync.OnceValue(func() browser {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return browser{key, []byte("sixteen bytes s3")}
})

// subscription is what it hands out.
func (b browser) subscription(endpoint string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"endpoint":%q,"expirationTime":null,"keys":{"p256dh":%q,"auth":%q}}`, endpoint, encode(b.key.PublicKey().Bytes()), encode(b.auth))
}

// open decrypts a message of one record (RFC 8188, RFC 8291).
func (b browser) open(t *testing.T, body []byte) []byte {
	t.Helper()
	require.LessOrEqual(t, len(body), 4096)
	require.Equal(t, []byte{0, 0, 16, 0, 65}, body[16:21], "records of 4096 bytes, a key of 65")
	salt, sender := body[:16], body[21:86]
	theirs, err := ecdh.P256().NewPublicKey(sender)
	require.NoError(t, err)
	shared, err := b.key.ECDH(theirs)
	require.NoError(t, err)
	material, err := hkdf.Key(sha256.New, shared, b.auth, "WebPush: info\x00"+string(b.key.PublicKey().Bytes())+string(sender), 32)
	require.NoError(t, err)
	key, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: aes128gcm\x00", 16)
	require.NoError(t, err)
	nonce, err := hkdf.Key(sha256.New, material, salt, "Content-Encoding: nonce\x00", 12)
	require.NoError(t, err)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	padded, err := aead.Open(nil, nonce, body[86:], nil)
	require.NoError(t, err)
	text := strings.TrimRight(string(padded), "\x00")
	require.True(t, strings.HasSuffix(text, "\x02"), "the last record")
	return []byte(text[:len(text)-1])
}

const endpointPath = "/push/s3cr3t-endpoint"

var vapidKey = sync.OnceValue(func() push.VAPIDKey {
	key, err := push.NewVAPIDKey()
	if err != nil {
		panic(err)
	}
	return key
})

func webPush(t *testing.T, client *outgoing.Client) *push.WebPush {
	t.Helper()
	c, err := push.NewWebPush(push.WebPushOptions{Key: vapidKey(), Subject: "mailto:bells@example.org", Client: client})
	require.NoError(t, err)
	return c
}

type shown struct {
	NotificationID string `json:"notification_id"`
	Title, Body    string
	EventID        string `json:"event_id"`
	StartTime      string `json:"start_time"`
	OptOutURL      string `json:"opt_out_url"`
}

func readWebPush(t *testing.T, r *http.Request, body []byte) shown {
	t.Helper()
	require.Equal(t, "POST "+endpointPath, r.Method+" "+r.URL.Path)
	public, err := vapidKey().Public()
	require.NoError(t, err)
	require.Regexp(t, `^vapid t=[\w-]+\.[\w-]+\.[\w-]+, k=`+public+`$`, r.Header.Get("Authorization"))
	require.Equal(t, "aes128gcm", r.Header.Get("Content-Encoding"))
	require.Regexp(t, `^[0-9]+$`, r.Header.Get("TTL"))
	require.Equal(t, "high", r.Header.Get("Urgency"))
	require.Regexp(t, `^[\w-]{32}$`, r.Header.Get("Topic"))
	decoder := json.NewDecoder(strings.NewReader(string(theBrowser().open(t, body))))
	decoder.DisallowUnknownFields()
	var s shown
	require.NoError(t, decoder.Decode(&s))
	return s
}

var webPushHTTP = channeltest.HTTP{
	New:    func(t *testing.T, _ string, client *outgoing.Client) channels.Channel { return webPush(t, client) },
	To:     func(base string) string { return theBrowser().subscription(base + endpointPath) },
	Accept: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) },
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, reason)
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		s := readWebPush(t, r, body)
		return channeltest.Sent{ID: s.NotificationID, Text: s.Body}
	},
	Secrets: []string{"s3cr3t-endpoint", "sixteen bytes s3"},
	Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Rejected, Forbidden: channels.Rejected,
}

func TestWebPushContract(t *testing.T) { channeltest.RunHTTP(t, webPushHTTP) }

func TestWebPushClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "webpush") {
		statuses := []int{class.Status()}
		switch class.Text("http") {
		case "5xx":
			statuses = []int{500, 502, 503, 504}
		case "301/302/307/308":
			statuses = []int{301, 302, 307, 308}
		}
		for _, status := range statuses {
			require.NotZero(t, status, class.When)
			rows = append(rows, channeltest.Answer{Name: class.Text("body"), Status: status, Body: class.Text("body"), Want: class.Outcome})
		}
	}
	channeltest.RunAnswers(t, webPushHTTP, rows)
}

func TestWebPushAnswers(t *testing.T) {
	var rows []channeltest.Answer
	for want, statuses := range map[channels.Outcome][]int{
		channels.Accepted: {200, 201, 202}, channels.Gone: {404, 410}, channels.Rejected: {400, 413, 301, 302, 307, 308},
		channels.Broken: {401, 403}, channels.Later: {429, 500, 502, 503}, channels.Unknown: {204, 418},
	} {
		for _, status := range statuses {
			rows = append(rows, channeltest.Answer{Status: status, Want: want})
		}
	}
	channeltest.RunAnswers(t, webPushHTTP, rows)
}

func TestWebPushMessage(t *testing.T) {
	var (
		got    shown
		topics []string
		ttl    string
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got = readWebPush(t, r, body)
		}
		topics, ttl = append(topics, r.Header.Get("Topic")), r.Header.Get("TTL")
		w.Header().Set("Location", "https://push.example.net/m/s3cr3t")
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	m := message()
	m.To = theBrowser().subscription(server.URL + endpointPath)
	c := webPush(t, onThisMachine(t))
	for m.Attempt = 1; m.Attempt <= 2; m.Attempt++ {
		require.Equal(t, channels.Result{Outcome: channels.Accepted}, c.Send(t.Context(), m), "where it can be deleted is nobody's business")
	}
	require.Equal(t, shown{m.ID, "Choir", "Choir at six", "0f8b6c0e", "2031-05-06T16:00:00Z", m.OptOut}, got)
	require.Equal(t, topics[0], topics[1], "a repeat replaces what was not delivered yet")
	var seconds int
	fmt.Sscan(ttl, &seconds)
	require.Greater(t, seconds, 3000)
	require.LessOrEqual(t, seconds, 3600)

	m.Expires = time.Now().Add(365 * 24 * time.Hour)
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
	require.Equal(t, "2419200", ttl)
}

func TestWebPushCheck(t *testing.T) {
	c := webPush(t, outgoing.New(outgoing.Options{}))
	fine := theBrowser().subscription("https://push.example.net/x")
	m := message()
	m.To = fine
	require.NoError(t, c.Check(m))
	for name, to := range map[string]string{
		"nothing":         "",
		"no JSON":         registration,
		"no endpoint":     theBrowser().subscription(""),
		"unencrypted":     theBrowser().subscription("http://push.example.net/s3cr3t"),
		"inside":          theBrowser().subscription("https://169.254.169.254/s3cr3t"),
		"this machine":    theBrowser().subscription("https://[::1]/s3cr3t"),
		"a file":          theBrowser().subscription("file:///s3cr3t"),
		"no keys":         `{"endpoint":"https://push.example.net/s3cr3t"}`,
		"a wrong key":     `{"endpoint":"https://push.example.net/s3cr3t","keys":{"p256dh":"BAAA","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`,
		"a short secret":  strings.Replace(fine, base64.RawURLEncoding.EncodeToString(theBrowser().auth), "AAAA", 1),
		"a key elsewhere": strings.Replace(fine, `"p256dh":"B`, `"p256dh":"A`, 1),
	} {
		m.To = to
		err := c.Check(m)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "s3cr3t")
		require.Equal(t, channels.Rejected, c.Send(t.Context(), m).Outcome, name)
	}
	m.To, m.Text = fine, strings.Repeat("x", 3993)
	require.ErrorContains(t, c.Check(m), "3993 are allowed")
}

func TestWebPushOptions(t *testing.T) {
	_, err := push.NewWebPush(push.WebPushOptions{Subject: "mailto:bells@example.org", Client: outgoing.New(outgoing.Options{})})
	require.ErrorContains(t, err, "no key")
	_, err = push.NewWebPush(push.WebPushOptions{Key: vapidKey(), Subject: "mailto:bells@localhost", Client: outgoing.New(outgoing.Options{})})
	require.ErrorContains(t, err, "subject")
}
