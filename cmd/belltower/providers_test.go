package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/push"
)

// hidden must not be shown by anything that these tests call.
const hidden = "Tr0ub4dor"

// configured reads settings from variables, as serve does.
func configured(env map[string]string) (settings, error) {
	var s settings
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.register(flags)
	err := s.resolve(flags, env)
	return s, err
}

// refusal is what the settings of a provider are refused with.
type refusal struct {
	change map[string]string // of settings that are right
	says   string
}

// refuses checks that right settings are taken, and each change of them isn't.
func refuses(t *testing.T, right map[string]string, rows map[string]refusal) {
	t.Helper()
	_, err := configured(right)
	require.NoError(t, err)
	for name, row := range rows {
		env := maps.Clone(right)
		maps.Copy(env, row.change)
		_, err := configured(env)
		require.ErrorContains(t, err, row.says, name)
		require.NotContains(t, err.Error(), hidden, name)
	}
}

// tries sends a test message, and lets the doctor look, with a provider that
// answers as told.
type tries struct {
	said    string // by channel test
	err     error
	finding finding // the doctor's
}

func try(t *testing.T, env map[string]string, channel, to string, answer http.HandlerFunc) tries {
	t.Helper()
	server := httptest.NewServer(answer)
	defer server.Close()
	all := map[string]string{"BELLTOWER_OUTGOING_ALLOW": "127.0.0.0/8"}
	for name, value := range env {
		if value == "URL" {
			value = server.URL
		}
		all[name] = value
	}
	s, err := configured(all)
	require.NoError(t, err)
	defer s.providers.client.CloseIdle()
	var (
		out  bytes.Buffer
		what tries
	)
	what.err = testChannel(t.Context(), s, channel, to, &lines{out: &out})
	what.said = out.String()
	require.NotContains(t, what.said, hidden)
	if what.err != nil {
		require.NotContains(t, what.err.Error(), hidden)
	}
	e := &examination{settings: s, now: time.Now, env: all}
	e.providers(t.Context())
	for i, r := range register(&out, s) {
		if r.Name == channel {
			what.finding = e.findings[i]
		}
	}
	require.NotContains(t, what.finding.Found, hidden)
	return what
}

func TestOutgoingAllow(t *testing.T) {
	refuses(t, map[string]string{"BELLTOWER_OUTGOING_ALLOW": "127.0.0.0/8, ::1/128,"}, map[string]refusal{
		"an address": {map[string]string{"BELLTOWER_OUTGOING_ALLOW": "127.0.0.1"}, `--outgoing-allow (BELLTOWER_OUTGOING_ALLOW): "127.0.0.1" is not a network`},
		"a name":     {map[string]string{"BELLTOWER_OUTGOING_ALLOW": "localhost"}, "is not a network"},
	})
}

func TestSendGridSettings(t *testing.T) {
	key := written(t, "key", hidden+"\n")
	right := map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": key, "BELLTOWER_SENDGRID_FROM": "Choir <choir@example.org>"}
	refuses(t, right, map[string]refusal{
		"no sender":        {map[string]string{"BELLTOWER_SENDGRID_FROM": ""}, "--sendgrid-from (BELLTOWER_SENDGRID_FROM)"},
		"a sender's names": {map[string]string{"BELLTOWER_SENDGRID_FROM": "a@x.org, b@x.org"}, "--sendgrid-from"},
		"a sender's host":  {map[string]string{"BELLTOWER_SENDGRID_FROM": "a@-.org"}, "the sender's address"},
		"no file":          {map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": key + "x"}, "--sendgrid-key-file (BELLTOWER_SENDGRID_KEY_FILE)"},
		"an empty file":    {map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": written(t, "key", "\n")}, "is empty"},
		"two keys":         {map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": written(t, "key", hidden+"\n"+hidden+"\n")}, "more than one line"},
		"another file":     {map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": written(t, "key", hidden+"\x00\x01")}, "characters in it that no secret has"},
		"no key":           {map[string]string{"BELLTOWER_SENDGRID_KEY_FILE": ""}, "--sendgrid-from (BELLTOWER_SENDGRID_FROM): it is for what isn't set: --sendgrid-key-file"},
		"unencrypted":      {map[string]string{"BELLTOWER_SENDGRID_URL": "http://api.sendgrid.com"}, "--sendgrid-url (BELLTOWER_SENDGRID_URL): it is not https"},
		"inside":           {map[string]string{"BELLTOWER_SENDGRID_URL": "https://10.0.0.1"}, "its address is none that may be called"},
		"a server as well": {map[string]string{"BELLTOWER_SMTP": "smtp://mail.example.org", "BELLTOWER_SMTP_FROM": "a@x.org"}, "email is carried by smtp already"},
	})
	right["BELLTOWER_SENDGRID_URL"] = "URL"
	tried := try(t, right, "email", "ann@example.org", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"errors":[{"message":"The from address does not match"}]}`))
	})
	require.ErrorContains(t, tried.err, "sendgrid: answered 403")
	require.Contains(t, tried.said, "email, by sendgrid through 127.0.0.1:")
	require.Contains(t, tried.said, "The from address does not match", "the provider's own words")
	require.Equal(t, failing, tried.finding.State)
	tried = try(t, right, "email", "ann@example.org", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Message-Id", "14c5d75ce93")
		w.WriteHeader(map[string]int{http.MethodGet: 200, http.MethodPost: 202}[r.Method])
		if r.Method == http.MethodGet {
			w.Write([]byte(`{"scopes":["mail.send"]}`))
		}
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "id        14c5d75ce93")
	require.Equal(t, finding{"provider", good, tried.finding.Found, ""}, tried.finding)
}

func TestTwilioSettings(t *testing.T) {
	token := written(t, "token", hidden+"\n")
	right := map[string]string{
		"BELLTOWER_TWILIO_ACCOUNT": "AC00000000000000000000000000000001", "BELLTOWER_TWILIO_TOKEN_FILE": token, "BELLTOWER_TWILIO_FROM": "+15005550006",
	}
	refuses(t, right, map[string]refusal{
		"a wrong account": {map[string]string{"BELLTOWER_TWILIO_ACCOUNT": "SK1"}, "--twilio-account (BELLTOWER_TWILIO_ACCOUNT): twilio: the account is no SID"},
		"no sender":       {map[string]string{"BELLTOWER_TWILIO_FROM": ""}, "the sender is no number"},
		"no token":        {map[string]string{"BELLTOWER_TWILIO_TOKEN_FILE": ""}, "--twilio-token-file (BELLTOWER_TWILIO_TOKEN_FILE)"},
		"no file":         {map[string]string{"BELLTOWER_TWILIO_TOKEN_FILE": token + "x"}, "--twilio-token-file"},
		"no account":      {map[string]string{"BELLTOWER_TWILIO_ACCOUNT": ""}, "it is for what isn't set: --twilio-account"},
		"segments":        {map[string]string{"BELLTOWER_TWILIO_MAX_SEGMENTS": "0"}, "--twilio-max-segments (BELLTOWER_TWILIO_MAX_SEGMENTS)"},
		"unencrypted":     {map[string]string{"BELLTOWER_TWILIO_URL": "http://api.twilio.com"}, "--twilio-url (BELLTOWER_TWILIO_URL): it is not https"},
	})
	right["BELLTOWER_TWILIO_URL"] = "URL"
	tried := try(t, right, "sms", "+15005550009", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		w.Write([]byte(`{"code":20003,"message":"Authenticate"}`))
	})
	require.ErrorContains(t, tried.err, "twilio: answered 401 (20003)")
	require.Contains(t, tried.said, "sms, by twilio through 127.0.0.1:")
	require.Contains(t, tried.said, `"message":"Authenticate"`)
	require.Equal(t, failing, tried.finding.State)
	tried = try(t, right, "sms", "+15005550009", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(map[string]int{http.MethodGet: 200, http.MethodPost: 201}[r.Method])
		w.Write([]byte(`{"sid":"SM1","status":"active"}`))
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "id        SM1")
	require.Contains(t, tried.said, "detail    twilio: 1 × GSM-7")
	require.Equal(t, good, tried.finding.State, tried.finding.Found)
}

func TestSlackSettings(t *testing.T) {
	webhook := written(t, "webhook", "https://hooks.slack.com/services/"+hidden+"\n")
	refuses(t, map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": webhook}, map[string]refusal{
		"no file":       {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": webhook + "x"}, "--slack-webhook-file (BELLTOWER_SLACK_WEBHOOK_FILE)"},
		"no URL":        {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": written(t, "webhook", hidden)}, "it is not a URL"},
		"unencrypted":   {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": written(t, "webhook", "http://hooks.slack.com/"+hidden)}, "it is not https"},
		"a channel":     {map[string]string{"BELLTOWER_SLACK_CHANNEL": "#bells"}, "--slack-channel (BELLTOWER_SLACK_CHANNEL): it is for what isn't set: --slack-token-file"},
		"a token, too":  {map[string]string{"BELLTOWER_SLACK_TOKEN_FILE": webhook}, "there is a webhook too"},
		"inside":        {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": written(t, "webhook", "https://192.168.0.1/"+hidden)}, "none that may be called"},
		"another file":  {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": written(t, "webhook", "\x7fELF"+hidden)}, "characters in it"},
		"not even that": {map[string]string{"BELLTOWER_SLACK_WEBHOOK_FILE": t.TempDir()}, "--slack-webhook-file"},
	})
	right := map[string]string{"BELLTOWER_SLACK_TOKEN_FILE": written(t, "token", hidden), "BELLTOWER_SLACK_CHANNEL": "#bells"}
	refuses(t, right, map[string]refusal{
		"no channel":      {map[string]string{"BELLTOWER_SLACK_CHANNEL": ""}, "--slack-channel (BELLTOWER_SLACK_CHANNEL)"},
		"a wrong channel": {map[string]string{"BELLTOWER_SLACK_CHANNEL": "bells"}, "the channel is neither"},
		"unencrypted":     {map[string]string{"BELLTOWER_SLACK_URL": "http://slack.com/api"}, "--slack-url (BELLTOWER_SLACK_URL): it is not https"},
	})
	right["BELLTOWER_SLACK_URL"] = "URL"
	tried := try(t, right, "slack", "ann@example.org", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"ok":false,"error":"invalid_auth"}`))
	})
	require.ErrorContains(t, tried.err, "slack: answered 200 (invalid_auth)")
	require.Contains(t, tried.said, "slack, by slack through 127.0.0.1:")
	require.Equal(t, failing, tried.finding.State)
	tried = try(t, right, "slack", "ann@example.org", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"ok":true,"channel":"C1","ts":"1.2"}`))
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "id        C1:1.2")
	require.Equal(t, good, tried.finding.State, tried.finding.Found)
}

func TestWebhookSettings(t *testing.T) {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("one secret of 24 bytes and more"))
	file := written(t, "secret", secret+"\n"+secret+"\n")
	right := map[string]string{"BELLTOWER_WEBHOOK_URL": "https://bells.example.org/hook?x=1", "BELLTOWER_WEBHOOK_SECRET_FILE": file}
	refuses(t, right, map[string]refusal{
		"unencrypted":    {map[string]string{"BELLTOWER_WEBHOOK_URL": "http://bells.example.org/" + hidden}, "--webhook-url (BELLTOWER_WEBHOOK_URL): it is not https"},
		"inside":         {map[string]string{"BELLTOWER_WEBHOOK_URL": "https://[::1]/" + hidden}, "none that may be called"},
		"no secret":      {map[string]string{"BELLTOWER_WEBHOOK_SECRET_FILE": ""}, "--webhook-secret-file (BELLTOWER_WEBHOOK_SECRET_FILE)"},
		"a short secret": {map[string]string{"BELLTOWER_WEBHOOK_SECRET_FILE": written(t, "s", secret+"\nwhsec_"+hidden)}, "line 2: webhook: the secret"},
		"no URL":         {map[string]string{"BELLTOWER_WEBHOOK_URL": ""}, "it is for what isn't set: --webhook-url"},
	})
	right["BELLTOWER_WEBHOOK_URL"] = "URL"
	tried := try(t, right, "webhook", "ann@example.org", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such signature", http.StatusUnauthorized)
	})
	require.ErrorContains(t, tried.err, "webhook: answered 401")
	require.Contains(t, tried.said, "webhook, by webhook through 127.0.0.1:")
	require.Contains(t, tried.said, "no such signature")
	require.Contains(t, tried.finding.Found, "can't be tried without sending")
	tried = try(t, right, "webhook", "ann@example.org", func(http.ResponseWriter, *http.Request) {})
	require.NoError(t, tried.err)
}

// serviceAccount writes a service account's file, but for changes.
func serviceAccount(t *testing.T, change map[string]string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	file := map[string]string{
		"type": "service_account", "project_id": "bells-4711", "client_email": "bells@bells-4711.iam.gserviceaccount.com", "token_uri": push.GoogleTokenURL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "private_key_id": hidden,
	}
	maps.Copy(file, change)
	encoded, err := json.Marshal(file)
	require.NoError(t, err)
	return written(t, "account.json", string(encoded))
}

func TestFCMSettings(t *testing.T) {
	right := map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, nil)}
	refuses(t, right, map[string]refusal{
		"no file":        {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": "not-there.json"}, "--fcm-account-file (BELLTOWER_FCM_ACCOUNT_FILE)"},
		"another file":   {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": written(t, "x", hidden)}, "not a service account's"},
		"elsewhere":      {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": serviceAccount(t, map[string]string{"token_uri": "https://x.example.org"})}, "points elsewhere"},
		"unencrypted":    {map[string]string{"BELLTOWER_FCM_URL": "http://fcm.googleapis.com"}, "--fcm-url (BELLTOWER_FCM_URL): it is not https"},
		"tokens as well": {map[string]string{"BELLTOWER_FCM_TOKEN_URL": "http://oauth2.googleapis.com"}, "--fcm-token-url (BELLTOWER_FCM_TOKEN_URL): it is not https"},
	})
	right["BELLTOWER_FCM_URL"], right["BELLTOWER_FCM_TOKEN_URL"] = "URL", "URL"
	tried := try(t, right, "push", "a-registration-token", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"error":"invalid_grant"}`))
	})
	require.ErrorContains(t, tried.err, "fcm: answered 400 when asked for an access token")
	require.Contains(t, tried.said, "push, by fcm through 127.0.0.1:")
	require.Contains(t, tried.said, "invalid_grant")
	require.Equal(t, failing, tried.finding.State)
	tried = try(t, right, "push", "a-registration-token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Write([]byte(`{"access_token":"` + hidden + `","expires_in":3600}`))
			return
		}
		w.Write([]byte(`{"name":"projects/bells-4711/messages/1"}`))
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "id        projects/bells-4711/messages/1")
	require.Equal(t, good, tried.finding.State, tried.finding.Found)
}

func TestWebPushSettings(t *testing.T) {
	key, err := push.NewVAPIDKey()
	require.NoError(t, err)
	text, err := key.Private()
	require.NoError(t, err)
	right := map[string]string{"BELLTOWER_WEBPUSH_KEY_FILE": written(t, "key", text+"\n"), "BELLTOWER_WEBPUSH_SUBJECT": "mailto:bells@example.org"}
	refuses(t, right, map[string]refusal{
		"no file":           {map[string]string{"BELLTOWER_WEBPUSH_KEY_FILE": "not-there"}, "--webpush-key-file (BELLTOWER_WEBPUSH_KEY_FILE)"},
		"another file":      {map[string]string{"BELLTOWER_WEBPUSH_KEY_FILE": written(t, "x", hidden)}, "webpush: the key is not"},
		"no subject":        {map[string]string{"BELLTOWER_WEBPUSH_SUBJECT": ""}, "--webpush-subject (BELLTOWER_WEBPUSH_SUBJECT): webpush: the subject"},
		"a local subject":   {map[string]string{"BELLTOWER_WEBPUSH_SUBJECT": "mailto:bells@localhost"}, "nobody else can reach"},
		"no key":            {map[string]string{"BELLTOWER_WEBPUSH_KEY_FILE": ""}, "it is for what isn't set: --webpush-key-file"},
		"an account, wrong": {map[string]string{"BELLTOWER_FCM_ACCOUNT_FILE": written(t, "x", hidden)}, "not a service account's"},
	})
	browser, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	to := func(endpoint string) string {
		return fmt.Sprintf(`{"endpoint":%q,"keys":{"p256dh":%q,"auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`, endpoint, base64.RawURLEncoding.EncodeToString(browser.PublicKey().Bytes()))
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no such key", http.StatusForbidden) }))
	defer service.Close()
	tried := try(t, right, "push", to(service.URL+"/"+hidden), func(http.ResponseWriter, *http.Request) {})
	require.ErrorContains(t, tried.err, "webpush: answered 403")
	require.Contains(t, tried.said, "push, by webpush")
	require.Contains(t, tried.said, "no such key")
	require.Contains(t, tried.finding.Found, "can't be tried without sending")

	right["BELLTOWER_FCM_ACCOUNT_FILE"] = serviceAccount(t, nil)
	s, err := configured(right)
	require.NoError(t, err)
	require.Equal(t, "push, by fcm and webpush through fcm.googleapis.com", carrier(register(io.Discard, s)[2]))
}

// The key is made once, and never written over.
func TestVAPIDKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vapid")
	code, public, said := once(t, nil, "channel", "vapid-key", file)
	require.Equal(t, exitOK, code, said)
	require.Len(t, strings.TrimSpace(public), 87)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, "-rw-------", info.Mode().String())
	code, again, said := once(t, nil, "channel", "vapid-key", file)
	require.Equal(t, exitOK, code, said)
	require.Equal(t, public, again)
	_, err = configured(map[string]string{"BELLTOWER_WEBPUSH_KEY_FILE": file, "BELLTOWER_WEBPUSH_SUBJECT": "https://bells.example.org"})
	require.NoError(t, err)

	other := written(t, "other", hidden)
	code, out, said := once(t, nil, "channel", "vapid-key", other)
	require.Equal(t, exitFailure, code)
	require.Contains(t, said, other)
	require.NotContains(t, out+said, hidden)
	kept, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, hidden, string(kept))
	code, _, said = once(t, nil, "channel", "vapid-key")
	require.Equal(t, exitUsage, code)
	require.Contains(t, said, "channel vapid-key takes a file")
}
