package sms_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/sms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "AC00000000000000000000000000000001"
	token   = "s3cr3t-t0k3n"
	to      = "+15005550009"
)

func twilio(t *testing.T, base string, client *outgoing.Client, change ...func(*sms.Options)) *sms.Twilio {
	t.Helper()
	o := sms.Options{URL: base, Account: account, Token: token, From: "+15005550006", Receipts: receiptsURL, Client: client}
	for _, c := range change {
		c(&o)
	}
	c, err := sms.NewTwilio(o)
	require.NoError(t, err)
	return c
}

func onThisMachine(t *testing.T) *outgoing.Client {
	c := outgoing.New(outgoing.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(c.CloseIdle)
	return c
}

// authorized checks that it is us who call.
func authorized(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && user == account && password == token
}

func read(t *testing.T, r *http.Request, body []byte) url.Values {
	t.Helper()
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, "/2010-04-01/Accounts/"+account+"/Messages.json", r.URL.Path)
	require.True(t, authorized(r))
	require.Equal(t, "application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
	form, err := url.ParseQuery(string(body))
	require.NoError(t, err)
	for name, values := range form {
		require.Len(t, values, 1, name)
	}
	return form
}

var twilioHTTP = channeltest.HTTP{
	New: func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return twilio(t, base, client)
	},
	To: func(string) string { return to },
	Accept: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"sid":"SM00000000000000000000000000000001","status":"queued"}`)
	},
	Refuse: func(w http.ResponseWriter, reason string) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"code": 21211, "message": reason, "more_info": reason, "status": 400})
	},
	Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
		return channeltest.Sent{Text: read(t, r, body).Get("Body")}
	},
	Secrets: []string{token, account},
	Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Broken, Forbidden: channels.Broken,
}

func TestTwilioContract(t *testing.T) { channeltest.RunHTTP(t, twilioHTTP) }

func TestTwilioRequestsAreAsDescribed(t *testing.T) {
	channeltest.RunContract(t, twilioHTTP, "twilio/messages.openapi.json")
}

func TestTwilioClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "twilio") {
		row := channeltest.Answer{Status: class.Status(), Want: class.Outcome}
		switch code := class.When["code"].(type) {
		case float64:
			row.Name, row.Code = fmt.Sprint(code), fmt.Sprint(code)
			row.Body = fmt.Sprintf(`{"code":%v,"message":"m","status":%d}`, code, row.Status)
		case string: // any other
			row.Name, row.Body = code, `{"code":29999}`
		}
		if row.Status == 0 { // no answer
			require.Equal(t, row.Want, twilioHTTP.Lost)
			continue
		}
		rows = append(rows, row)
	}
	channeltest.RunAnswers(t, twilioHTTP, rows)
}

func TestTwilioAnswers(t *testing.T) {
	rows := []channeltest.Answer{
		{Status: 201, Body: `{"sid":"SM1"}`, Want: channels.Accepted},
		{Status: 201, Body: `<html>`, Want: channels.Accepted, Name: "no JSON"},
		{Status: 200, Body: `{"sid":"SM1"}`, Want: channels.Unknown},
		{Status: 429, Body: `{"code":20429}`, Want: channels.Later, Code: "20429"},
		{Status: 401, Body: `{"code":20003}`, Want: channels.Broken, Code: "20003"},
		{Status: 403, Want: channels.Broken, Code: "http_403"},
		{Status: 404, Want: channels.Broken},
		{Status: 408, Want: channels.Unknown},
		{Status: 413, Want: channels.Rejected},
		{Status: 400, Body: `{"code":"21610"}`, Want: channels.Rejected, Name: "a code that is none"},
		{Status: 400, Body: `<html>`, Want: channels.Rejected, Code: "http_400"},
		{Status: 500, Body: `{"code":20500}`, Want: channels.Unknown, Code: "20500"},
		{Status: 502, Body: `<html>`, Want: channels.Unknown},
		{Status: 503, Want: channels.Unknown},
	}
	for code, want := range map[int]channels.Outcome{
		21211: channels.Gone, 21614: channels.Gone, 21610: channels.OptedOut, 21611: channels.Later, 21612: channels.Rejected,
		21617: channels.Rejected, 21602: channels.Rejected, 29999: channels.Rejected,
		21408: channels.Broken, 21606: channels.Broken, 21212: channels.Broken, 21608: channels.Broken, 21609: channels.Broken,
	} {
		rows = append(rows, channeltest.Answer{Name: fmt.Sprint(code), Status: 400, Body: fmt.Sprintf(`{"code":%d}`, code), Want: want, Code: fmt.Sprint(code)})
	}
	channeltest.RunAnswers(t, twilioHTTP, rows)
}

func message() channels.Message {
	return channels.Message{ID: "b1c5", Channel: "sms", Attempt: 1, To: to, Text: "Choir at six", Expires: time.Now().Add(time.Hour)}
}

func TestTwilioMessage(t *testing.T) {
	var form url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			form = read(t, r, body)
		}
		twilioHTTP.Accept(w, r)
	}))
	defer server.Close()
	result, words := twilio(t, server.URL, onThisMachine(t)).Try(t.Context(), message())
	require.Equal(t, channels.Result{Outcome: channels.Accepted, Ref: "SM00000000000000000000000000000001", Detail: "twilio: 1 × GSM-7"}, result)
	require.Contains(t, words, "201 Created\n{")
	require.Equal(t, []string{"Choir at six"}, form["Body"])
	require.Equal(t, []string{"+15005550006"}, form["From"])
	require.Empty(t, form["MessagingServiceSid"])

	// It is not kept past its end, nor longer than Twilio can.
	for left, want := range map[time.Duration]int{90 * time.Second: 90, time.Second: 1, 100 * time.Hour: 36000} {
		m := message()
		m.Expires = time.Now().Add(left)
		require.Equal(t, channels.Accepted, twilio(t, server.URL, onThisMachine(t)).Send(t.Context(), m).Outcome)
		var seconds int
		fmt.Sscan(form.Get("ValidityPeriod"), &seconds)
		require.LessOrEqual(t, seconds, want)
		require.GreaterOrEqual(t, seconds, max(1, want-60))
	}

	service := "MG00000000000000000000000000000002"
	c := twilio(t, server.URL, onThisMachine(t), func(o *sms.Options) { o.From = service })
	require.Equal(t, channels.Accepted, c.Send(t.Context(), message()).Outcome)
	require.Equal(t, service, form.Get("MessagingServiceSid"))
	require.Empty(t, form["From"])
}

func TestTwilioCheck(t *testing.T) {
	c := twilio(t, sms.TwilioURL, outgoing.New(outgoing.Options{}), func(o *sms.Options) { o.MaxSegments = 3 })
	require.NoError(t, c.Check(message()))
	for name, change := range map[string]func(*channels.Message){
		"no number":     func(m *channels.Message) { m.To = "5005550009" },
		"a channel":     func(m *channels.Message) { m.To = "whatsapp:+15005550009" },
		"too short":     func(m *channels.Message) { m.To = "+199" },
		"no text":       func(m *channels.Message) { m.Text = " \n" },
		"four segments": func(m *channels.Message) { m.Text = strings.Repeat("a", 460) },
		"four in UCS-2": func(m *channels.Message) { m.Text = strings.Repeat("ç", 202) },
	} {
		m := message()
		change(&m)
		require.Error(t, c.Check(m), name)
		require.NotContains(t, c.Check(m).Error(), m.To)
		require.Equal(t, channels.Rejected, c.Send(t.Context(), m).Outcome)
	}
	m := message()
	m.Text = strings.Repeat("a", 459)
	require.NoError(t, c.Check(m))
	unbounded := twilio(t, sms.TwilioURL, outgoing.New(outgoing.Options{}))
	m.Text = strings.Repeat("a", 1600)
	require.NoError(t, unbounded.Check(m))
	m.Text += "a"
	require.Error(t, unbounded.Check(m))
}

func TestTwilioOptions(t *testing.T) {
	for name, change := range map[string]func(*sms.Options){
		"no account":    func(o *sms.Options) { o.Account = "" },
		"a key":         func(o *sms.Options) { o.Account = "SK" + account[2:] },
		"a path":        func(o *sms.Options) { o.Account = "AC/../x" },
		"no token":      func(o *sms.Options) { o.Token = "" },
		"no sender":     func(o *sms.Options) { o.From = "" },
		"a long name":   func(o *sms.Options) { o.From = "Bell-ringers of Vienna" },
		"spelled name":  func(o *sms.Options) { o.From = "a\nb" },
		"unencrypted":   func(o *sms.Options) { o.URL = "http://api.twilio.com" },
		"less than one": func(o *sms.Options) { o.MaxSegments = -1 },
	} {
		o := sms.Options{URL: sms.TwilioURL, Account: account, Token: token, From: "Belltower", Client: outgoing.New(outgoing.Options{})}
		_, err := sms.NewTwilio(o)
		require.NoError(t, err)
		change(&o)
		_, err = sms.NewTwilio(o)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), token)
	}
}

func TestTwilioProbe(t *testing.T) {
	for answer, want := range map[string]channels.Outcome{
		`200 {"status":"active","auth_token":"` + token + `"}`: channels.Accepted,
		`200 {"status":"suspended"}`:                           channels.Broken,
		`200 <html>`:                                           channels.Broken,
		`401 {"code":20003}`:                                   channels.Broken,
		`503 `:                                                 channels.Unknown,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var code int
			fmt.Sscanf(answer, "%d", &code)
			if r.Method+r.URL.Path != "GET/2010-04-01/Accounts/"+account+".json" || !authorized(r) {
				code = http.StatusTeapot
			}
			w.WriteHeader(code)
			io.WriteString(w, answer[4:])
		}))
		defer server.Close()
		result, words := twilio(t, server.URL, onThisMachine(t)).Probe(t.Context())
		require.Equal(t, want, result.Outcome, answer)
		require.NotContains(t, words, token)
	}
}
