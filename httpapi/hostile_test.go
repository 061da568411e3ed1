package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
)

// values are what a field may be made to hold.
var values = rapid.OneOf(
	rapid.Just(any(nil)), rapid.Just(any(true)), rapid.Just(any([]any{})), rapid.Just(any(object{})),
	rapid.Just(any([]any{"email", nil})), rapid.Just(any(json.Number("1e400"))), rapid.Just(any(json.Number("-0.0"))),
	rapid.Map(rapid.Int64(), func(n int64) any { return n }),
	rapid.Map(rapid.Float64(), func(f float64) any { return json.Number(fmt.Sprintf("%e", f)) }),
	rapid.Map(rapid.String(), func(s string) any { return s }),
	rapid.Map(rapid.StringMatching(`[ -~]{0,40}`), func(s string) any { return s }),
	rapid.Map(rapid.SliceOfN(rapid.StringMatching(`[a-z]{0,5}`), 0, 5), func(s []string) any { return s }),
	rapid.SampledFrom([]any{
		"2031-05-06T18:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59",
		"2031-05-06T18:00:00.123456789+02:00", "2031-12-31T23:59:60Z", "Europe/Vienna", "Local", "../../etc/passwd", "a@b.org", `"a b"@c.org`, "+1234567890",
		"accepted", "declined", "{{ event.title }}", "{% if %}", "{{ now | date: '%s' }}", "{% for i in (1..100000000) %}{% endfor %}", "\x00", "\u202e", "a\r\nb: c",
		"\U0001F600", strings.Repeat("é", 2000), 0, 1, -1, 80, 525600, object{"status": []any{"confirmed"}},
	}),
)

// paths with the fields of their bodies.
func (a *api) hostilePaths() map[string][]string {
	event := a.event(nil)
	participant := a.join(event, "ann")
	notification := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start})
	own := []string{"title", "description", "start_time", "end_time", "creator_id", "time_zone", "location", "capacity", "tags", "notify"}
	contact := []string{"user_id", "name", "email", "phone", "channels", "time_zone", "locale", "push_token"}
	return map[string][]string{
		"POST /v1/events":                                   own,
		"PATCH /v1/events/" + event:                         own,
		"POST /v1/events/" + event + "/cancel":              {"reason", "notify"},
		"POST /v1/events/" + event + "/participants":        contact,
		"PATCH /v1/participants/" + participant:             contact,
		"POST /v1/participants/" + participant + "/rsvp":    {"response"},
		"POST /v1/events/" + event + "/reminders":           {"minutes_before", "channels", "message"},
		"POST /v1/events/" + event + "/announcements":       {"message", "send_at", "channels", "audience"},
		"POST /v1/processor/start":                          {"check_interval_seconds"},
		"POST /v1/notifications/" + notification + "/retry": {},
	}
}

// hostile does a request and wants any answer but one that something is wrong here.
func (a *api) hostile(t *rapid.T, r request) {
	r.wrong = true
	answer, err := a.patiently(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.status >= 500 {
		t.Fatalf("%s %s %v: %d %s", r.method, r.path, r.body, answer.status, answer.body)
	}
}

func TestBodiesMadeUp(t *testing.T) {
	a := newAPI(t)
	a.loose = false
	paths := a.hostilePaths()
	good := map[string]any{}
	for name, value := range with(newEvent, person("ann")) {
		good[name] = value
	}
	good["response"], good["message"], good["minutes_before"] = "accepted", "m", 5
	rapid.Check(t, func(t *rapid.T) {
		where := rapid.SampledFrom(sorted(paths)).Draw(t, "where")
		body := object{}
		for _, name := range paths[where] {
			switch rapid.IntRange(0, 3).Draw(t, "how "+name) {
			case 0:
				body[name] = values.Draw(t, name)
			case 1, 2:
				if value, ok := good[name]; ok {
					body[name] = value
				}
			}
		}
		method, path, _ := strings.Cut(where, " ")
		a.hostile(t, request{method: method, path: path, body: body})
	})
}

func TestBytesMadeUp(t *testing.T) {
	a := newAPI(t)
	paths := a.hostilePaths()
	rapid.Check(t, func(t *rapid.T) {
		where := rapid.SampledFrom(sorted(paths)).Draw(t, "where")
		text, err := json.Marshal(with(newEvent, object{"tags": []any{"a", 1.5, nil, object{"b": true}}, "name": "ä\u2028"}))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			j := min(len(text), i+rapid.IntRange(0, 20).Draw(t, "long"))
			insert := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 4), rapid.SampledFrom([][]byte{
				[]byte(`"`), []byte(`{`), []byte(`[[[[`), []byte(`,`), []byte(`\ud800`), []byte("\xed\xa0\x80"), []byte(`1e9999`), []byte("null"), []byte(`"title":1,`),
			})).Draw(t, "insert")
			text = append(append(append([]byte{}, text[:i]...), insert...), text[j:]...)
			if len(text) == 0 {
				break
			}
		}
		method, path, _ := strings.Cut(where, " ")
		a.hostile(t, request{method: method, path: path, body: text})
	})
}

func TestPathsQueriesAndHeadersMadeUp(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	visible := rapid.StringMatching(`[!-~ é\x{202e}]{0,30}`)
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + strings.Join(rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"v1", "events", "participants", "notifications", "history", "docs", "stats", "..", ".", "", "processor", id, strings.ToUpper(id), "send-due", "healthz"}),
			rapid.Map(rapid.String(), url.PathEscape),
		), 0, 5).Draw(t, "path"), "/")
		query := url.Values{}
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			name := rapid.SampledFrom([]string{"limit", "cursor", "q", "status", "from", "as_of", "x", "type"}).Draw(t, "parameter")
			query.Add(name, rapid.OneOf(rapid.String(), visible, rapid.SampledFrom([]string{"1", "200", "2031-05-06T18:00:00Z", "9999-12-31T23:59:59-23:59", "scheduled", "eyJmIjoiIn0"})).Draw(t, "value"))
		}
		header := map[string]string{"Authorization": "Bearer " + adminToken}
		for _, name := range []string{"Idempotency-Key", "If-Match", "If-None-Match", "Consistency-Token", "X-Request-Id", "Content-Type", "Last-Event-ID"} {
			if rapid.Bool().Draw(t, name) {
				header[name] = rapid.OneOf(visible, rapid.SampledFrom([]string{`"1"`, "*", `W/"1"`, "MTow", "application/json"})).Draw(t, "header")
			}
		}
		if path == "/v1/stream" {
			return // which has no end
		}
		method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}).Draw(t, "method")
		a.hostile(t, request{method: method, path: path + "?" + query.Encode(), body: "{}", header: header})
	})
}

func TestNothingIsInjected(t *testing.T) {
	a := newAPI(t)
	evil := "x\r\nSet-Cookie: a=b\r\n\r\n<script>alert(1)</script>\x1b[31m\u2028{{ event.title }}"
	r := a.do(request{method: "POST", path: "/v1/events", body: with(newEvent, object{"description": "d\nd", "title": evil, "location": evil}), wrong: true})
	require.ElementsMatch(t, []string{"title invalid_characters", "location invalid_characters"}, r.faults(http.StatusUnprocessableEntity))
	require.Empty(t, r.header.Get("Set-Cookie"))
	for _, path := range []string{"/v1/%0d%0aSet-Cookie:a=b", "/v1/events?q=%0d%0aSet-Cookie:a=b", "/v1/events/%0d%0aSet-Cookie:a=b"} {
		r := a.do(request{method: "GET", path: path, wrong: true})
		require.Empty(t, r.header.Get("Set-Cookie"))
		require.NotContains(t, string(r.body), "Set-Cookie")
	}
	// What is harmless as data stays what it is, and is a template nowhere.
	e := a.post("/v1/events", with(newEvent, object{"title": "{{ event.id }} <b>&amp;</b>"})).is(http.StatusCreated)
	require.Equal(t, "{{ event.id }} <b>&amp;</b>", e["title"])
	for _, line := range strings.Split(strings.TrimSpace(a.logs.String()), "\n") {
		require.Regexp(t, `^time=`, line, "one line for each record")
	}
}

// sorted gives the keys in an order that draws can depend on.
func sorted(m map[string][]string) []string { return slices.Sorted(maps.Keys(m)) }
