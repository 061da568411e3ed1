package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// provider is a server that takes messages, and keeps what it was sent.
type provider struct {
	*httptest.Server
	mu   sync.Mutex
	took []string
}

func newProvider(t *testing.T, status int) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		p.took = append(p.took, string(body))
		n := len(p.took)
		p.mu.Unlock()
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"sid":"SM%d"}`, n)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.took)
}

// tells posts what a provider does to where Belltower listens, as its proxy would.
func tells(t *testing.T, p *process, path, body string, header map[string]string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}

func (p *process) becomes(t *testing.T, who, status string) (id string) {
	t.Helper()
	until(t, "it is "+status, func() bool {
		list := p.does(t, 200, "GET", "/v1/notifications?participant_id="+who+"&status="+status, nil).items()
		if len(list) > 0 {
			id = list[0].text("id")
		}
		return len(list) == 1
	})
	return id
}

// A text message is sent, arrives, and its recipient says STOP.
func TestTextMessagesFromAnnouncementToStop(t *testing.T) {
	const public = "https://bells.example.org/r"
	twilio := newProvider(t, http.StatusCreated)
	p := serving(t, filepath.Join(t.TempDir(), "data"), "BELLTOWER_TWILIO_ACCOUNT=AC00000000000000000000000000000001",
		"BELLTOWER_TWILIO_TOKEN_FILE="+written(t, "token", hidden), "BELLTOWER_TWILIO_FROM=+15005550006", "BELLTOWER_TWILIO_URL="+twilio.URL,
		"BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8", "BELLTOWER_PUBLIC_URL="+public)
	says := func(query string, form url.Values) int {
		signed := public + "/v1/receipts/twilio" + query
		for _, name := range slices.Sorted(maps.Keys(form)) {
			signed += name + form.Get(name)
		}
		mac := hmac.New(sha1.New, []byte(hidden))
		mac.Write([]byte(signed))
		return tells(t, p, "/v1/receipts/twilio"+query, form.Encode(), map[string]string{
			"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		})
	}
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	who := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, object{"channels": []string{"sms"}, "phone": "+15005550009"})).text("id")
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please"})
	p.becomes(t, who, "SENT")

	sent, err := url.ParseQuery(twilio.all()[0])
	require.NoError(t, err)
	callback, err := url.Parse(sent.Get("StatusCallback"))
	require.NoError(t, err)
	require.Equal(t, public+"/v1/receipts/twilio", "https://"+callback.Host+callback.Path)
	query := "?" + callback.RawQuery
	form := url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "To": {"+15005550009"}}
	require.Equal(t, http.StatusForbidden, tells(t, p, "/v1/receipts/twilio"+query, form.Encode(), map[string]string{"X-Twilio-Signature": "AAAA"}))
	require.Equal(t, http.StatusNoContent, says(query, form))
	id := p.becomes(t, who, "DELIVERED")
	form.Set("MessageStatus", "sent")
	require.Equal(t, http.StatusNoContent, says(query, form))
	require.Equal(t, "DELIVERED", p.does(t, 200, "GET", "/v1/notifications/"+id, nil).text("status"))

	require.Equal(t, http.StatusNoContent, says("", url.Values{"MessageSid": {"SM9"}, "SmsStatus": {"received"}, "From": {"+15005550009"}, "Body": {"Stop"}}))
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "And warm socks"})
	id = p.becomes(t, who, "FAILED")
	require.Equal(t, "nothing is sent to this address: stop", p.does(t, 200, "GET", "/v1/notifications/"+id, nil).text("last_error"))
	require.Len(t, twilio.all(), 1)

	require.Equal(t, http.StatusNoContent, says("", url.Values{"MessageSid": {"SM10"}, "SmsStatus": {"received"}, "From": {"+15005550009"}, "Body": {"START"}}))
	p.does(t, 200, "POST", "/v1/notifications/"+id+"/retry", nil)
	until(t, "it is sent", func() bool { return len(twilio.all()) == 2 })
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.err.String(), "+15005550009")
}

// While one account is refused, another one carries text messages, and what is told
// of them is verified with its own token.
func TestTextMessagesByASecondAccount(t *testing.T) {
	const public = "https://bells.example.org"
	refusing, taking := newProvider(t, http.StatusUnauthorized), newProvider(t, http.StatusCreated)
	env := []string{"BELLTOWER_TWILIO_URL=" + refusing.URL, "BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8", "BELLTOWER_PUBLIC_URL=" + public}
	for name, value := range twoTexters(t, taking.URL) {
		env = append(env, name+"="+value)
	}
	p := serving(t, filepath.Join(t.TempDir(), "data"), env...)
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	who := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, object{"channels": []string{"sms"}, "phone": "+15005550009"})).text("id")
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please"})
	id := p.becomes(t, who, "SENT")
	log := p.does(t, 200, "GET", "/v1/notifications/"+id, nil)["attempt_log"].([]any)
	require.Equal(t, "twilio", log[0].(map[string]any)["provider"])
	require.Equal(t, "twilio-us", log[1].(map[string]any)["provider"])
	require.Len(t, taking.all(), 1)

	sent, err := url.ParseQuery(taking.all()[0])
	require.NoError(t, err)
	require.Equal(t, "+15005550007", sent.Get("From"))
	callback, err := url.Parse(sent.Get("StatusCallback"))
	require.NoError(t, err)
	require.Equal(t, "/v1/receipts/twilio-us", callback.Path)
	form := url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "To": {"+15005550009"}}
	says := func(token, path string) int {
		mac := hmac.New(sha1.New, []byte(token))
		mac.Write([]byte(public + path + "MessageSidSM1MessageStatusdeliveredTo+15005550009"))
		return tells(t, p, path, form.Encode(), map[string]string{
			"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		})
	}
	require.Equal(t, http.StatusForbidden, says(hidden, callback.RequestURI()), "the other account's")
	require.Equal(t, http.StatusForbidden, says("other-"+hidden, "/v1/receipts/twilio?"+callback.RawQuery), "at the other one's address")
	require.Equal(t, http.StatusNoContent, says("other-"+hidden, callback.RequestURI()))
	p.becomes(t, who, "DELIVERED")
	p.finish(t, syscall.SIGTERM)
	require.NotContains(t, p.out.String()+p.err.String(), hidden)
}

// A mail is sent and bounces.
func TestMailsFromAnnouncementToBounce(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	sendgrid := newProvider(t, http.StatusAccepted)
	p := serving(t, filepath.Join(t.TempDir(), "data"), "BELLTOWER_SENDGRID_KEY_FILE="+written(t, "key", hidden), "BELLTOWER_SENDGRID_FROM=choir@example.org",
		"BELLTOWER_SENDGRID_URL="+sendgrid.URL, "BELLTOWER_OUTGOING_ALLOW=127.0.0.0/8", "BELLTOWER_SENDGRID_RECEIPTS_KEY="+base64.StdEncoding.EncodeToString(der))
	event := p.does(t, 201, "POST", "/v1/events", anEvent(time.Hour, nil)).text("id")
	who := p.does(t, 201, "POST", "/v1/events/"+event+"/participants", aPerson(1, nil)).text("id")
	p.does(t, 202, "POST", "/v1/events/"+event+"/announcements", object{"message": "Soft shoes, please"})
	p.becomes(t, who, "SENT")
	var mail struct {
		Personalizations []struct {
			To   []struct{ Email string }
			Args map[string]string `json:"custom_args"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(sendgrid.all()[0]), &mail))
	told := object{"event": "bounce", "type": "bounce", "status": "5.1.1", "email": mail.Personalizations[0].To[0].Email, "sg_event_id": "e1", "timestamp": time.Now().Unix()}
	for name, value := range mail.Personalizations[0].Args {
		told[name] = value
	}
	body, err := json.Marshal([]object{told})
	require.NoError(t, err)
	stamp := fmt.Sprint(time.Now().Unix())
	digest := sha256.Sum256([]byte(stamp + string(body)))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	require.NoError(t, err)
	header := map[string]string{
		"X-Twilio-Email-Event-Webhook-Timestamp": stamp, "X-Twilio-Email-Event-Webhook-Signature": base64.StdEncoding.EncodeToString(signature),
	}
	for range 2 {
		require.Equal(t, http.StatusNoContent, tells(t, p, "/v1/receipts/sendgrid", string(body), header))
	}
	require.Equal(t, http.StatusForbidden, tells(t, p, "/v1/receipts/sendgrid", string(body)+" ", header))
	require.Equal(t, http.StatusNotFound, tells(t, p, "/v1/receipts/console", string(body), header))
	id := p.becomes(t, who, "FAILED")
	require.Equal(t, "sendgrid: it bounced (5.1.1)", p.does(t, 200, "GET", "/v1/notifications/"+id, nil).text("last_error"))
	p.finish(t, syscall.SIGTERM)
}
