package push_test

import (
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

var p256 = elliptic.P256()

const (
	pushPath = "/push/s3cr3t-endpoint"
	contact  = "mailto:bells@example.org"
)

// key makes what gives a new key.
func key(t *testing.T) func() (*push.VAPIDKey, error) {
	t.Helper()
	made, err := push.MakeVAPIDKey()
	require.NoError(t, err)
	return func() (*push.VAPIDKey, error) { return made, nil }
}

// pushService stands for a browser vendor's.
type pushService struct {
	*server
	key     func() (*push.VAPIDKey, error)
	browser browser
	to      string // the browser's subscription
}

func servePushes(t *testing.T) *pushService {
	t.Helper()
	p := &pushService{server: serve(t, answer(http.StatusCreated, "")), key: key(t), browser: newBrowser(t)}
	p.to = p.browser.subscription(t, p.url+pushPath)
	return p
}

// webPush makes a channel.
func webPush(t *testing.T, o push.WebPushOptions) *push.WebPush {
	t.Helper()
	c, err := push.NewWebPush(o)
	require.NoError(t, err)
	return c
}

func (p *pushService) channel(t *testing.T, change ...func(*push.WebPushOptions)) *push.WebPush {
	o := push.WebPushOptions{Key: p.key, Contact: contact, Services: []string{"127.0.0.1"}, Client: p.client, Now: clock}
	for _, c := range change {
		c(&o)
	}
	return webPush(t, o)
}

// payload is what our page's service worker reads.
type payload struct {
	NotificationID string `json:"notification_id"`
	EventID        string `json:"event_id"`
	StartTime      string `json:"start_time"`
	OptOutURL      string `json:"opt_out_url"`
	Title, Body    string
}

// shown gives what a browser is sent by a call, as it reads it. Whatever a push
// service has to refuse fails the test.
func (b browser) shown(t require.TestingT, c call, key func() (*push.VAPIDKey, error), at time.Time) payload {
	require.Equal(t, http.MethodPost, c.request.Method)
	require.Equal(t, pushPath, c.request.URL.Path)
	require.LessOrEqual(t, len(c.body), 4096)
	header := c.request.Header
	require.Equal(t, "aes128gcm", header.Get("Content-Encoding"))
	require.Regexp(t, `^[A-Za-z0-9_-]{32}$`, header.Get("Topic"))
	require.Equal(t, "normal", header.Get("Urgency"))
	ttl, err := strconv.Atoi(header.Get("TTL"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, ttl, 0)
	proven, public, err := verify(header.Get("Authorization"))
	require.NoError(t, err)
	ours, err := key()
	require.NoError(t, err)
	require.Equal(t, ours.Public(), public)
	require.Equal(t, contact, proven.Sub)
	require.Equal(t, "http://"+c.request.Host, proven.Aud)
	require.Greater(t, proven.Exp, at.Unix())
	require.LessOrEqual(t, proven.Exp, at.Add(24*time.Hour).Unix())
	text, err := b.decrypt(c.body)
	require.NoError(t, err)
	var read payload
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&read))
	return read
}

func (p *pushService) all(t require.TestingT) (all []payload) {
	for _, c := range p.server.to(pushPath) {
		all = append(all, p.browser.shown(t, c, p.key, now))
	}
	return all
}

// webPushHTTP is the channel, with one browser that subscribes to each provider.
func webPushHTTP(t *testing.T) channeltest.HTTP {
	key, browser := key(t), newBrowser(t)
	return channeltest.HTTP{
		New: func(t *testing.T, _ string, client *outgoing.Client) channels.Channel {
			return webPush(t, push.WebPushOptions{Key: key, Contact: contact, Services: []string{"127.0.0.1", "localhost"}, Client: client})
		},
		To:     func(base string) string { return browser.subscription(t, base+pushPath) },
		Accept: answer(http.StatusCreated, "{}"),
		Refuse: func(w http.ResponseWriter, reason string) { answer(http.StatusBadRequest, reason)(w, nil) },
		Read: func(t *testing.T, r *http.Request, body []byte) channeltest.Sent {
			read := browser.shown(t, call{r, string(body)}, key, time.Now())
			return channeltest.Sent{ID: read.NotificationID, Text: read.Body}
		},
		Secrets: []string{pushPath, base64url(browser.auth), base64url(browser.private.PublicKey().Bytes())},
		Lost:    channels.Unknown, Cut: channels.Accepted, Redirect: channels.Rejected, Forbidden: channels.Rejected,
	}
}

func TestWebPushContract(t *testing.T) { channeltest.RunHTTP(t, webPushHTTP(t)) }

func TestWebPushMessage(t *testing.T) {
	p := servePushes(t)
	m := message(p.to)
	for range 2 {
		require.Equal(t, channels.Result{Outcome: channels.Accepted}, p.channel(t).Send(t.Context(), m))
	}
	shown := p.all(t)
	require.Len(t, shown, 2)
	require.Equal(t, payload{m.ID, m.Event.UID, "2031-05-06T18:00:00Z", m.OptOut, m.Subject, m.Text}, shown[0])
	header := func(i int, name string) string { return p.server.to(pushPath)[i].request.Header.Get(name) }
	require.Equal(t, "7200", header(0, "TTL"))
	require.Equal(t, header(0, "Topic"), header(1, "Topic"), "a repeat replaces what waits")
	calls := p.server.to(pushPath)
	require.NotEqual(t, calls[0].body[:16], calls[1].body[:16], "no salt is used twice")
	require.NotEqual(t, calls[0].body[16:86], calls[1].body[16:86], "no key is used twice")
	other := m
	other.ID = "another"
	require.Equal(t, channels.Accepted, p.channel(t).Send(t.Context(), other).Outcome)
	require.NotEqual(t, header(0, "Topic"), header(2, "Topic"))
	m.Expires = now.Add(60 * 24 * time.Hour)
	p.channel(t).Send(t.Context(), m)
	require.Equal(t, "2419200", header(3, "TTL"))
}

// A page's subscription is kept in one form, and only if it could be sent to.
func TestWebPushSubscriptions(t *testing.T) {
	p := servePushes(t)
	c := p.channel(t)
	kept, err := c.Subscription(" " + strings.Replace(p.to, `"expirationTime":null`, `"expirationTime":17,"more":{}`, 1) + "\n")
	require.NoError(t, err)
	again, err := c.Subscription(kept)
	require.NoError(t, err)
	require.Equal(t, kept, again)
	require.NotContains(t, kept, "expirationTime")
	require.Equal(t, channels.Accepted, c.Send(t.Context(), message(kept)).Outcome)
	for _, wrong := range []string{
		"", "fW9k2_Qx-T0:APA91bHun4", p.browser.subscription(t, "https://elsewhere.example.org/s3cr3t"),
		p.browser.subscription(t, "http://169.254.169.254/s3cr3t"), `{"endpoint": "` + p.url + `/s3cr3t"}`,
	} {
		_, err := c.Subscription(wrong)
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	key, err := c.PublicKey()
	require.NoError(t, err)
	ours, err := p.key()
	require.NoError(t, err)
	require.Equal(t, ours.Public(), key)
}

// Whatever text fits arrives as it is, and shows little of its length.
func TestWebPushTexts(t *testing.T) {
	p := servePushes(t)
	lengths := map[int]bool{}
	sent := 0
	rapid.Check(t, func(r *rapid.T) {
		m := message(p.to)
		m.Text = strings.Repeat("x", rapid.IntRange(0, 4200).Draw(r, "length")) + rapid.StringN(0, 20, 60).Draw(r, "text")
		result := p.channel(t).Send(t.Context(), m)
		if p.channel(t).Check(m) != nil {
			require.Equal(r, channels.Rejected, result.Outcome)
			require.Greater(r, len(m.Text), 3000)
			return
		}
		require.Equal(r, channels.Accepted, result.Outcome)
		calls := p.server.to(pushPath)
		sent++
		require.Len(r, calls, sent)
		require.Equal(r, m.Text, p.browser.shown(r, calls[sent-1], p.key, now).Body)
		lengths[len(calls[sent-1].body)] = true
	})
	require.LessOrEqual(t, len(lengths), 8)
}

func TestWebPushClassesOfTheTable(t *testing.T) {
	var rows []channeltest.Answer
	for _, class := range channeltest.Classes(t, "webpush") {
		statuses := []string{fmt.Sprint(class.Status())}
		if text := class.Text("http"); text != "" {
			statuses = strings.Split(strings.Replace(text, "5xx", "500/502/503/504/599", 1), "/")
		}
		for _, text := range statuses {
			status, err := strconv.Atoi(text)
			require.NoError(t, err)
			row := channeltest.Answer{Status: status, Want: class.Outcome, Name: class.Text("body"), Code: class.Text("body")}
			if row.Code != "" {
				row.Body = `{"reason":"` + row.Code + `"}`
			}
			rows = append(rows, row)
		}
	}
	channeltest.RunAnswers(t, webPushHTTP(t), rows)
}

func TestWebPushAnswers(t *testing.T) {
	channeltest.RunAnswers(t, webPushHTTP(t), []channeltest.Answer{
		{Status: 201, Want: channels.Accepted},
		{Status: 202, Want: channels.Accepted},
		{Status: 200, Want: channels.Accepted},
		{Status: 204, Want: channels.Unknown, Code: "http_204"},
		{Status: 307, Header: map[string]string{"Location": "https://push.example.net/s3cr3t"}, Want: channels.Rejected, Code: "http_307"},
		{Status: 400, Body: `{"reason": "BadWebPushTopic"}`, Want: channels.Rejected, Code: "BadWebPushTopic"},
		{Status: 400, Body: `{"reason": "s3cr3t-endpoint"}`, Want: channels.Rejected, Code: "http_400", Name: "a reason that is none"},
		{Status: 401, Want: channels.Broken, Code: "http_401"},
		{Status: 403, Body: `{"reason":"BadJwtToken"}`, Want: channels.Broken, Code: "BadJwtToken"},
		{Status: 403, Want: channels.Broken, Code: "http_403", Name: "another key"},
		{Status: 404, Want: channels.Gone, Code: "http_404"},
		{Status: 406, Want: channels.Later, Code: "http_406", Name: "Microsoft's limit"},
		{Status: 410, Body: `{"reason": "Unregistered"}`, Want: channels.Gone, Code: "Unregistered"},
		{Status: 413, Want: channels.Rejected, Code: "http_413"},
		{Status: 418, Want: channels.Unknown, Code: "http_418"},
		{Status: 429, Want: channels.Later, Code: "http_429"},
		{Status: 500, Body: "<html>", Want: channels.Later, Code: "http_500"},
		{Status: 502, Want: channels.Later},
		{Status: 503, Want: channels.Later},
		{Status: 504, Want: channels.Later},
	})
}

// An endpoint is whatever somebody wrote into a participant: it leads to a push
// service, or nowhere.
func TestWebPushEndpoints(t *testing.T) {
	p := servePushes(t)
	services := func(o *push.WebPushOptions) {
		o.Services = []string{"updates.push.services.mozilla.com", "*.push.apple.com", "127.0.0.1", "10.0.0.1", "localhost"}
	}
	for endpoint, right := range map[string]bool{
		p.url + pushPath: true,
		"https://updates.push.services.mozilla.com/wpush/v2/x":         true,
		"https://UPDATES.push.services.mozilla.com/wpush/v2/x":         true,
		"https://web.push.apple.com/x":                                 true,
		"https://push.apple.com/x":                                     false,
		"https://evilpush.apple.com/x":                                 false,
		"https://web.push.apple.com.example.org/x":                     false,
		"https://example.org/?https://web.push.apple.com/":             false,
		"https://web.push.apple.com@example.org/x":                     false,
		"https://web.push.apple.com:x@web.push.apple.com/x":            false,
		"http://web.push.apple.com/x":                                  true, // refused once its address is known
		"https://10.0.0.1/x":                                           false,
		"https://169.254.169.254/latest/meta-data":                     false,
		"file:///etc/passwd":                                           false,
		"//updates.push.services.mozilla.com/x":                        false,
		"https://updates.push.services.mozilla.com/wpush/v2/x#endless": false,
		"": false,
	} {
		err := p.channel(t, services).Check(message(p.browser.subscription(t, endpoint)))
		require.Equal(t, right, err == nil, "%s: %v", endpoint, err)
		if err != nil && len(endpoint) > 20 {
			require.NotContains(t, err.Error(), endpoint)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	p := servePushes(t)
	for name, change := range map[string]func(string) string{
		"not JSON":     func(s string) string { return s[:len(s)-1] },
		"a token":      func(string) string { return deviceToken },
		"no keys":      func(string) string { return `{"endpoint":"` + p.url + `"}` },
		"no auth":      func(s string) string { return strings.Replace(s, `"auth"`, `"outh"`, 1) },
		"a short auth": func(s string) string { return strings.Replace(s, base64url(p.browser.auth), "c2hvcnQ", 1) },
		"auth in base64": func(s string) string {
			return strings.Replace(s, base64url(p.browser.auth), "++//++//++//++//++//+w", 1)
		},
		"no point at all": func(s string) string { return strings.Replace(s, `"p256dh":"B`, `"p256dh":"C`, 1) },
		"not on the curve": func(s string) string {
			return strings.Replace(s, base64url(p.browser.private.PublicKey().Bytes()), "BA"+strings.Repeat("A", 85), 1)
		},
		"two": func(s string) string { return s + s },
	} {
		m := message(change(p.to))
		err := p.channel(t).Check(m)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "s3cr3t")
		require.Equal(t, channels.Rejected, p.channel(t).Send(t.Context(), m).Outcome)
	}
	require.NoError(t, p.channel(t).Check(message(" \n"+p.to+" ")))
	require.Empty(t, p.all(t))
}

// A key outlives its process, and nothing is sent without one.
func TestVAPIDKey(t *testing.T) {
	made, err := push.MakeVAPIDKey()
	require.NoError(t, err)
	text, err := made.PEM()
	require.NoError(t, err)
	read, err := push.ReadVAPIDKey(text)
	require.NoError(t, err)
	require.Equal(t, made.Public(), read.Public())
	require.Len(t, fromBase64url(t, read.Public()), 65)
	for _, wrong := range []string{"", "s3cr3t", strings.Replace(string(text), "PRIVATE", "PUBLIC", 2), string(text[:60]) + "\n-----END PRIVATE KEY-----\n"} {
		_, err := push.ReadVAPIDKey([]byte(wrong))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	p := servePushes(t)
	without := p.channel(t, func(o *push.WebPushOptions) {
		o.Key = func() (*push.VAPIDKey, error) { return nil, errors.New("the file is gone") }
	})
	result, words := without.Try(t.Context(), message(p.to))
	require.Equal(t, channels.Broken, result.Outcome)
	require.Equal(t, "no_key", result.Code)
	require.Equal(t, "the file is gone", words)
	require.Contains(t, without.Server(), "no key")
	ours, err := p.key()
	require.NoError(t, err)
	require.Contains(t, p.channel(t).Server(), ours.Public())
	require.Empty(t, p.all(t))
}

// Each token goes where it belongs.
func TestBoth(t *testing.T) {
	g, p := serveGoogle(t, answer(200, sent)), servePushes(t)
	both := push.Both{Apps: g.channel, Browsers: p.channel(t)}
	for _, to := range []string{deviceToken, p.to} {
		require.NoError(t, both.Check(message(to)))
		require.Equal(t, channels.Accepted, both.Send(t.Context(), message(to)).Outcome)
		result, words := both.Try(t.Context(), message(to))
		require.Equal(t, channels.Accepted, result.Outcome, words)
	}
	require.Len(t, g.to(sendPath), 2)
	require.Len(t, p.all(t), 2)
	for _, to := range []string{"", " ", "{}", "two words"} {
		require.Error(t, both.Check(message(to)))
		require.Equal(t, channels.Rejected, both.Send(t.Context(), message(to)).Outcome)
	}
	require.Contains(t, both.Server(), "bell-tower-1")
	require.Contains(t, both.Server(), "public key")
	result, _ := both.Probe(t.Context())
	require.Equal(t, channels.Accepted, result.Outcome)
}

func TestWebPushOptions(t *testing.T) {
	services := []string{"*.push.apple.com", "127.0.0.1", "fcm.googleapis.com"}
	for contact, right := range map[string]bool{
		"mailto:bells@example.org": true, "https://bells.example.org/contact": true,
		"": false, "bells@example.org": false, "mailto:": false, "mailto:mailto:bells@example.org": false, "mailto:bells@localhost": false,
		"mailto:bells@tower.local": false, "mailto:bells@tower.invalid": false, "https://localhost": false, "https://127.0.0.1/": false,
		"http://bells.example.org": false, "mailto:Bells <bells@example.org>": false, "mailto:a@example.org,b@example.org": false,
		"https://": false, "mailto:bells@example.org?subject=x": false,
	} {
		_, err := push.NewWebPush(push.WebPushOptions{Contact: contact, Services: services})
		require.Equal(t, right, err == nil, "%s: %v", contact, err)
	}
	for _, wrong := range [][]string{nil, {""}, {"*"}, {"*.*.example.org"}, {"https://push.example.org"}, {"push.example.org/x"}, {"a..b"}} {
		_, err := push.NewWebPush(push.WebPushOptions{Contact: contact, Services: wrong})
		require.Error(t, err, "%q", wrong)
	}
}
