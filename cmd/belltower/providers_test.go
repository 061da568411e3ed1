package main

import (
	"bytes"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/terminal"
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
	what.err = testChannel(t.Context(), s, channel, to, &terminal.Lines{Out: &out})
	what.said = out.String()
	require.NotContains(t, what.said, hidden)
	if what.err != nil {
		require.NotContains(t, what.err.Error(), hidden)
	}
	e := &examination{settings: s, now: time.Now, env: all}
	e.providers(t.Context())
	for i, r := range register(&out, s) {
		if r.Name == channel || r.Name+"/"+r.Provider == channel {
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
		"a key of events":  {map[string]string{"BELLTOWER_SENDGRID_RECEIPTS_KEY": "AAAA"}, "--sendgrid-receipts-key (BELLTOWER_SENDGRID_RECEIPTS_KEY): it is no public key"},
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

// twoTexters are settings by which two accounts of Twilio's carry text messages.
func twoTexters(t *testing.T, url string) map[string]string {
	t.Helper()
	other := "account: AC00000000000000000000000000000002\ntoken: other-" + hidden + "\nfrom: \"+15005550007\"\n"
	if url != "" {
		other += "url: " + url + "\n"
	}
	return map[string]string{
		"BELLTOWER_TWILIO_ACCOUNT": "AC00000000000000000000000000000001", "BELLTOWER_TWILIO_TOKEN_FILE": written(t, "token", hidden), "BELLTOWER_TWILIO_FROM": "+15005550006",
		"BELLTOWER_TWILIO_ALSO": "us=" + written(t, "us.yaml", other), "BELLTOWER_SMS_PROVIDERS": "twilio, twilio-us",
	}
}

func TestSeveralProvidersOfTextMessages(t *testing.T) {
	right := twoTexters(t, "")
	also := func(text string) map[string]string {
		return map[string]string{"BELLTOWER_TWILIO_ALSO": "us=" + written(t, "other.yaml", text)}
	}
	full := "account: AC00000000000000000000000000000002\ntoken: " + hidden + "\nfrom: Choir\n"
	refuses(t, right, map[string]refusal{
		"no order":       {map[string]string{"BELLTOWER_SMS_PROVIDERS": ""}, "sms is carried by twilio already: choose one, or name both in --sms-providers, such as twilio,twilio-us"},
		"half":           {map[string]string{"BELLTOWER_SMS_PROVIDERS": "twilio"}, "--sms-providers (BELLTOWER_SMS_PROVIDERS): twilio-us is set up and not named"},
		"twice":          {map[string]string{"BELLTOWER_SMS_PROVIDERS": "twilio,twilio-us,twilio"}, `"twilio" comes twice`},
		"a stranger":     {map[string]string{"BELLTOWER_SMS_PROVIDERS": "twilio,twilio-eu"}, `"twilio-eu" carries no text messages`},
		"no pair":        {map[string]string{"BELLTOWER_TWILIO_ALSO": "us"}, `--twilio-also (BELLTOWER_TWILIO_ALSO): "us" is not NAME=FILE`},
		"no name":        {map[string]string{"BELLTOWER_TWILIO_ALSO": "U S=x"}, `"U S" is no name`},
		"a name twice":   {map[string]string{"BELLTOWER_TWILIO_ALSO": right["BELLTOWER_TWILIO_ALSO"] + "," + right["BELLTOWER_TWILIO_ALSO"]}, `"us" comes twice`},
		"no file":        {map[string]string{"BELLTOWER_TWILIO_ALSO": "us=" + t.TempDir() + "/x"}, "no such file"},
		"an empty file":  {also(""), "it is empty"},
		"no YAML":        {also(hidden), "it is not YAML with account"},
		"unknown":        {also(full + "sender: x\n"), "it is not YAML with account"},
		"no token":       {also("account: AC00000000000000000000000000000002\nfrom: Choir\n"), ".yaml: twilio: there is no token"},
		"a strange one":  {also(full + "token: \"a\\tb\"\n"), "it is not YAML"},
		"with a control": {also("account: AC00000000000000000000000000000002\ntoken: \"" + hidden + "\\u0007\"\nfrom: Choir\n"), "characters in it that no secret has"},
		"no sender":      {also("account: AC00000000000000000000000000000002\ntoken: x\n"), "the sender is no number"},
		"segments":       {also(full + "max-segments: 0\n"), "max-segments: 0 is not a number from 1 on"},
		"unencrypted":    {also(full + "url: http://api.twilio.com\n"), "url: it is not https"},
	})
	for order, want := range map[string][]string{"twilio,twilio-us": {"twilio", "twilio-us"}, "twilio-us,twilio": {"twilio-us", "twilio"}} {
		right["BELLTOWER_SMS_PROVIDERS"] = order
		right["BELLTOWER_PROVIDER_PER_SECOND"] = "twilio-us=10"
		var carried []string
		for _, r := range registrations(t, right) {
			if r.Name == "sms" {
				carried = append(carried, r.Provider)
				require.True(t, r.HoldUnknown)
				require.InDelta(t, map[string]float64{"twilio-us": 10}[r.Provider], r.ProviderPerSecond, 0)
			}
		}
		require.Equal(t, want, carried)
	}
	alone := map[string]string{"BELLTOWER_TWILIO_ALSO": right["BELLTOWER_TWILIO_ALSO"]}
	all := registrations(t, alone)
	require.Equal(t, "twilio-us", all[1].Provider)

	alone["BELLTOWER_TWILIO_URL"] = "URL"
	tried := try(t, alone, "sms/twilio-us", "+15005550009", func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "AC00000000000000000000000000000002" || password != "other-"+hidden {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(map[string]int{http.MethodGet: 200, http.MethodPost: 201}[r.Method])
		w.Write([]byte(`{"sid":"SM1","status":"active"}`))
	})
	require.NoError(t, tried.err)
	require.Contains(t, tried.said, "sms, by twilio-us through 127.0.0.1:")
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
