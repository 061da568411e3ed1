package sms_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/sms"
)

type listed struct {
	SID       string  `json:"sid"`
	To        string  `json:"to"`
	Body      string  `json:"body"`
	Direction string  `json:"direction"`
	Created   string  `json:"date_created"`
	Sent      *string `json:"date_sent"` // none while it waits
}

// pages lists messages, the newest first, two a page.
func pages(t *testing.T, all []listed) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/2010-04-01/Accounts/"+account+"/Messages.json" || !authorized(r) || r.URL.Query().Get("To") != to {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		from := 0
		fmt.Sscan(r.URL.Query().Get("Page"), &from)
		answer := map[string]any{"messages": all[from:min(from+2, len(all))], "next_page_uri": nil}
		if from+2 < len(all) {
			// Elsewhere is nobody that we ask.
			answer["next_page_uri"] = fmt.Sprintf("https://elsewhere.example.org/x?To=%%2B15005550009&PageSize=2&Page=%d&PageToken=x", from+2)
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server
}

// An unknown outcome is settled by what Twilio says that it took.
func TestFind(t *testing.T) {
	began := time.Date(2031, 5, 6, 16, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return began.Add(d).Format(time.RFC1123Z) }
	m := message()
	m.Expires = began.Add(time.Hour)
	other := listed{"SM8", to, "Something else", "outbound-api", at(time.Second), nil}
	ours := listed{"SM9", to, m.Text, "outbound-api", at(time.Second), nil}
	old := ours
	old.Created = at(-time.Hour)
	trial := ours
	trial.Body = "Sent from your Twilio trial account - " + m.Text
	theirs, redacted, elsewhere, dateless := ours, ours, ours, ours
	theirs.Direction, redacted.Body, elsewhere.To, dateless.Created = "inbound", "", "+15005550001", "yesterday"
	for name, row := range map[string]struct {
		list  []listed
		after time.Duration
		want  channels.Outcome
	}{
		"it is there":               {[]listed{other, ours}, time.Second, channels.Accepted},
		"on a further page":         {[]listed{other, other, other, ours, old}, time.Hour, channels.Accepted},
		"of a trial account":        {[]listed{trial}, time.Hour, channels.Accepted},
		"a clock behind ours":       {[]listed{func() listed { l := ours; l.Created = at(-30 * time.Second); return l }()}, time.Hour, channels.Accepted},
		"it isn't yet":              {[]listed{other}, time.Second, channels.Unknown},
		"it isn't":                  {[]listed{other, other, other}, time.Hour, channels.Later},
		"nothing is":                {[]listed{}, time.Hour, channels.Later},
		"only an older one":         {[]listed{other, old, ours}, time.Hour, channels.Later},
		"only an answer":            {[]listed{theirs}, time.Hour, channels.Later},
		"only to somebody else":     {[]listed{elsewhere}, time.Hour, channels.Later},
		"texts are hidden":          {[]listed{redacted}, time.Hour, channels.Unknown},
		"a date that can't be read": {[]listed{dateless}, time.Hour, channels.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			c := twilio(t, pages(t, row.list).URL, onThisMachine(t), func(o *sms.Options) { o.Now = func() time.Time { return began.Add(row.after) } })
			var finder channels.Finder = c
			result := finder.Find(t.Context(), m, began)
			require.Equal(t, row.want, result.Outcome, result.Detail)
			require.NotContains(t, result.Detail, to)
			require.NotEmpty(t, result.Detail)
			if row.want == channels.Accepted {
				require.Equal(t, "SM9", result.Ref)
			}
			if name == "it isn't yet" {
				require.True(t, result.NotBefore.After(began))
			}
		})
	}
}

// What can't be asked stays unknown.
func TestFindCanNotAsk(t *testing.T) {
	for _, answer := range []string{"401 {}", "429 {}", "500 {}", "200 <html>", "200 {}", `200 {"messages":[{"body":`, "302 {}"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var code int
			fmt.Sscanf(answer, "%d", &code)
			w.WriteHeader(code)
			fmt.Fprint(w, answer[4:])
		}))
		defer server.Close()
		result := twilio(t, server.URL, onThisMachine(t)).Find(t.Context(), message(), time.Now().Add(-time.Hour))
		require.Equal(t, channels.Unknown, result.Outcome, answer)
		require.NotEmpty(t, result.Detail)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	require.Equal(t, channels.Unknown, twilio(t, closed.URL, onThisMachine(t)).Find(t.Context(), message(), time.Now().Add(-time.Hour)).Outcome)
}

// A list without an end is not read for ever.
func TestFindEnds(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, `{"messages":[],"next_page_uri":"?Page=1"}`)
	}))
	defer server.Close()
	require.Equal(t, channels.Unknown, twilio(t, server.URL, onThisMachine(t)).Find(t.Context(), message(), time.Now().Add(-time.Hour)).Outcome)
	require.LessOrEqual(t, asked, 50)
}

// What is asked for is as Twilio describes its list, on its further pages too.
func TestFindRequestsAreAsDescribed(t *testing.T) {
	described := channeltest.Described(t, "twilio/messages.openapi.json")
	asked := make(chan *http.Request, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked <- r; len(asked) == 1 {
			fmt.Fprint(w, `{"messages":[],"next_page_uri":"/2010-04-01/Accounts/x/Messages.json?To=%2B15005550009&PageSize=20&Page=1&PageToken=PASM1"}`)
			return
		}
		fmt.Fprint(w, `{"messages":[],"next_page_uri":null}`)
	}))
	defer server.Close()
	require.Equal(t, channels.Later, twilio(t, server.URL, onThisMachine(t)).Find(t.Context(), message(), time.Now().Add(-time.Hour)).Outcome)
	require.Len(t, asked, 2)
	described(<-asked, nil)
	described(<-asked, nil)
}
