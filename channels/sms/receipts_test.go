package sms_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/sms"
)

const receiptsURL = "https://bells.example.org/v1/receipts/twilio"

func receiving(t *testing.T, at, secret string) *sms.Twilio {
	return twilio(t, "https://api.example.org", onThisMachine(t), func(o *sms.Options) { o.Receipts, o.Token = at, secret })
}

// sign signs as Twilio's description says, from the parameters as they are.
func sign(secret, address string, params url.Values) string {
	var names []string
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	text := address
	for _, name := range names {
		text += name + params.Get(name)
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func receive(c *sms.Twilio, path, signature, body string) ([]channels.Receipt, error) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("X-Twilio-Signature", signature)
	return c.Receive(r, []byte(body))
}

func TestTwilioSignaturesOfTheVectors(t *testing.T) {
	var vectors struct {
		Token string `json:"auth_token"`
		Form  []struct {
			URL, Signature, Expect string
			Params                 map[string]string
		}
		JSON []struct{ URL, Body, Signature, Expect string }
	}
	require.NoError(t, json.Unmarshal(channeltest.Shared(t, "twilio/signature_vectors.json"), &vectors))
	check := func(address, body, signature, expect string) {
		base, query, _ := strings.Cut(address, "?")
		c := receiving(t, base, vectors.Token)
		_, err := receive(c, "/any?"+query, signature, body)
		if strings.HasPrefix(expect, "reject") {
			require.ErrorIs(t, err, channels.ErrForged, address)
			return
		}
		require.NotErrorIs(t, err, channels.ErrForged, address)
		require.ErrorIs(t, err, channels.ErrUnreadable, "none of them is about a message")
		for _, wrong := range []string{"", "!", signature[:8], base64.StdEncoding.EncodeToString([]byte("twenty bytes of text"))} {
			_, err = receive(c, "/any?"+query, wrong, body)
			require.ErrorIs(t, err, channels.ErrForged)
		}
		_, err = receive(c, "/any?"+query, signature, body+"&x=1")
		require.ErrorIs(t, err, channels.ErrForged)
		_, err = receive(c, "/any?"+query+"&x=1", signature, body)
		require.ErrorIs(t, err, channels.ErrForged)
	}
	require.NotEmpty(t, vectors.Form)
	for _, v := range vectors.Form {
		form := url.Values{}
		for name, value := range v.Params {
			form.Set(name, value)
		}
		check(v.URL, form.Encode(), v.Signature, v.Expect)
	}
	require.NotEmpty(t, vectors.JSON)
	for _, v := range vectors.JSON {
		check(v.URL, v.Body, v.Signature, v.Expect)
	}
}

func TestSignaturesOverThePublicURL(t *testing.T) {
	params := url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"delivered"}, "New": {"ç & +"}, "Empty": {""}}
	for base, spellings := range map[string][]string{
		receiptsURL: {receiptsURL, "https://bells.example.org:443/v1/receipts/twilio"},
		"https://bells.example.org:8443/r/v1/receipts/twilio": {"https://bells.example.org:8443/r/v1/receipts/twilio", "https://bells.example.org/r/v1/receipts/twilio"},
		"http://[2001:db8::1]/v1/receipts/twilio":             {"http://[2001:db8::1]/v1/receipts/twilio", "http://[2001:db8::1]:80/v1/receipts/twilio"},
	} {
		for _, spelt := range spellings {
			// Behind a proxy, the request's own host and scheme say nothing.
			_, err := receive(receiving(t, base, token), "http://10.0.0.1/v1/receipts/twilio?notification=n", sign(token, spelt+"?notification=n", params), params.Encode())
			require.NoError(t, err, spelt)
		}
	}
	_, err := receive(receiving(t, receiptsURL, token), "/?notification=n", sign("another", receiptsURL+"?notification=n", params), params.Encode())
	require.ErrorIs(t, err, channels.ErrForged)
	_, err = receive(receiving(t, "", token), "/", sign(token, "", params), params.Encode())
	require.ErrorIs(t, err, channels.ErrForged, "without a public URL nothing can be verified")
	for _, body := range []string{"MessageStatus=delivered", ""} {
		form, err := url.ParseQuery(body)
		require.NoError(t, err)
		_, err = receive(receiving(t, receiptsURL, token), "/", sign(token, receiptsURL, form), body)
		require.ErrorIs(t, err, channels.ErrUnreadable)
	}
}

func told(t *testing.T, query string, params url.Values) []channels.Receipt {
	t.Helper()
	got, err := receive(receiving(t, receiptsURL, token), "/v1/receipts/twilio"+query, sign(token, receiptsURL+query, params), params.Encode())
	require.NoError(t, err)
	return got
}

// statusOf is what Twilio tells of a message, with a code where it failed.
func statusOf(t *testing.T, status, code string) []channels.Receipt {
	t.Helper()
	form := url.Values{"MessageSid": {"SM1"}, "MessageStatus": {status}, "To": {to}}
	if code != "" {
		form.Set("ErrorCode", code)
	}
	return told(t, "?attempt=2&notification=n-1", form)
}

// What failed is over, whatever its class: Twilio doesn't try again, nor do we what
// was taken once. The class says what becomes of the address.
func TestStatusCallbackClassesOfTheTable(t *testing.T) {
	for _, row := range channeltest.EventClasses(t, "twilio-status-callback") {
		if code, ok := row.When["ErrorCode"].(float64); ok {
			want := channels.Bounced
			if row.Class == "gone" {
				want = channels.AddressDied
			}
			for _, status := range []string{"undelivered", "failed"} {
				got := statusOf(t, status, fmt.Sprint(code))
				require.Len(t, got, 1)
				require.Equal(t, want, got[0].News, code)
			}
			continue
		}
		for status := range strings.SplitSeq(row.Text("MessageStatus"), ", ") {
			want, ok := map[string]channels.News{"accepted": channels.Delivered, "by ErrorCode": channels.Bounced}[row.Class]
			require.True(t, ok, row.Class)
			require.Equal(t, want, statusOf(t, status, "")[0].News, status)
		}
	}
}

func TestStatusCallbacks(t *testing.T) {
	status := func(status, code string) []channels.Receipt { return statusOf(t, status, code) }
	is := func(news channels.News, status, code, detail string) channels.Receipt {
		return channels.Receipt{ID: "SM1/" + status, MessageID: "n-1", Attempt: 2, News: news, Kind: channels.Phone, To: to, Ref: "SM1", Code: code, Detail: detail}
	}
	for _, s := range []string{"accepted", "scheduled", "queued", "sending", "sent"} {
		require.Equal(t, []channels.Receipt{is(channels.Taken, s, s, "")}, status(s, ""))
	}
	for _, s := range []string{"delivered", "read"} {
		require.Equal(t, []channels.Receipt{is(channels.Delivered, s, s, "")}, status(s, ""))
	}
	require.Equal(t, []channels.Receipt{is(channels.Bounced, "undelivered", "30003", "twilio: undelivered (30003)")}, status("undelivered", "30003"))
	require.Equal(t, []channels.Receipt{is(channels.Bounced, "canceled", "canceled", "twilio: canceled")}, status("canceled", ""))
	require.Equal(t, []channels.Receipt{is(channels.Bounced, "failed", "failed", "twilio: failed")}, status("failed", "<b>"))
	require.Equal(t, []channels.Receipt{
		is(channels.Bounced, "failed", "21610", "twilio: failed (21610)"),
		{ID: "SM1/failed/stop", News: channels.StopAsked, Kind: channels.Phone, To: to, Code: "21610"},
	}, status("failed", "21610"))
	require.Empty(t, status("teleported", ""))

	for query, attempt := range map[string]int{"": 0, "?attempt=x": 0, "?attempt=-1": 0, "?attempt=3": 3} {
		require.Equal(t, attempt, told(t, query, url.Values{"MessageSid": {"SM1"}, "MessageStatus": {"sent"}})[0].Attempt)
	}
}

func TestStopAndStart(t *testing.T) {
	from := func(more url.Values) []channels.Receipt {
		form := url.Values{"MessageSid": {"SM9"}, "SmsStatus": {"received"}, "From": {to}, "To": {"+15005550006"}}
		for name, values := range more {
			form[name] = values
		}
		return told(t, "", form)
	}
	is := func(news channels.News, word string) []channels.Receipt {
		return []channels.Receipt{{ID: "SM9", News: news, Kind: channels.Phone, To: to, Code: word}}
	}
	for _, word := range []string{"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"} {
		require.Equal(t, is(channels.StopAsked, word), from(url.Values{"Body": {" " + strings.ToLower(word) + "\n"}}))
	}
	for _, word := range []string{"START", "YES", "UNSTOP"} {
		require.Equal(t, is(channels.StartAsked, word), from(url.Values{"Body": {word}}))
	}
	for _, text := range []string{"", "HELP", "INFO", "stop texting me", "STOP.", "yes please", "ｓｔｏｐ"} {
		require.Empty(t, from(url.Values{"Body": {text}}), text)
	}
	// Advanced Opt-Out has words of its own, and reads them itself.
	require.Equal(t, is(channels.StopAsked, "STOP"), from(url.Values{"Body": {"Arrêt"}, "OptOutType": {"STOP"}}))
	require.Empty(t, from(url.Values{"Body": {"STOP"}, "OptOutType": {"HELP"}}))
	require.Empty(t, from(url.Values{"Body": {"STOP"}, "From": {"whatsapp:" + to}}))
}

func TestTheCallbackIsToldToTwilio(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.PostFormValue("StatusCallback")
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	for at, want := range map[string]string{"": "", receiptsURL: receiptsURL + "?attempt=3&notification=n-1"} {
		c := twilio(t, server.URL, onThisMachine(t), func(o *sms.Options) { o.Receipts = at })
		m := message()
		m.ID, m.Attempt = "n-1", 3
		require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
		require.Equal(t, want, <-got)
	}
}
