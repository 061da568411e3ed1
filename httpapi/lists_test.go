package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListEvents(t *testing.T) {
	a := newAPI(t)
	at := func(day int) object {
		return object{"start_time": fmt.Sprintf("2031-05-%02dT18:00:00Z", day), "end_time": fmt.Sprintf("2031-05-%02dT20:00:00Z", day)}
	}
	c := a.event(with(at(3), object{"title": "Café concert", "tags": []string{"music"}, "location": "Åre", "creator_id": "carla"}))
	b := a.event(with(at(2), object{"title": "Lecture", "description": "On the Straße of coffee", "tags": []string{"talk", "music"}}))
	d := a.event(with(at(4), object{"title": "Dinner"}))
	a.join(b, "ann")
	a.join(d, "ann")
	a.post("/v1/events/"+d+"/cancel", nil).is(http.StatusOK)
	for query, want := range map[string][]any{
		"":                             {b, c, d},
		"creator_id=carla":             {c},
		"creator_id=admin":             {b, d},
		"creator_id=nobody":            {},
		"user_id=ann":                  {b, d},
		"status=cancelled":             {d},
		"status=scheduled":             {b, c},
		"tag=music":                    {b, c},
		"tag=Music":                    {},
		"user_id=ann&status=scheduled": {b},
		"q=cafe":                       {c},
		"q=CAFE+conc":                  {c},
		"q=conc+caf%C3%A9":             {c},
		"q=are":                        {c},
		"q=strasse":                    {b},
		"q=talk":                       {},
		"q=":                           {b, c, d},
		"q=+":                          {b, c, d},
		"q=" + manyWords(32):           {},
		"from=2031-05-03T20:00:00Z":    {d},
		"from=2031-05-03T19:59:59Z":    {c, d},
		"to=2031-05-03T18:00:00Z":      {b},
		"to=2031-05-03T18:00:01Z":      {b, c},
		"from=2031-05-03T00:00:00%2B02:00&to=2031-05-04T00:00:00%2B02:00": {c},
		"from=2031-05-03T00:00:00+02:00&to=2031-05-04T00:00:00+02:00":     {c},
	} {
		r := a.do(request{method: "GET", path: "/v1/events?" + query, header: map[string]string{"Consistency-Token": a.latest()}, wrong: true})
		require.Equal(t, want, field(r.is(http.StatusOK)["items"].([]any), "id"), query)
	}
}

// manyWords are n words, of which each has to match.
func manyWords(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf("w%02d", i)
	}
	return strings.Join(words, "+")
}

func TestQueriesThatAreRefused(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	for _, bad := range []string{
		"limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=1.0", "limit=+1", "limit=1&limit=1", "limit=99999999999999999999",
		"status=Scheduled", "status=", "creator_id=", "tag=", "user_id=", "from=yesterday", "to=2031-05-06", "from=5", "colour=red", "Status=scheduled",
		"q=a&q=b", "q=" + manyWords(33), "q=%ff", "tag=%00", "%zz", "a;b", "cursor=a&cursor=b",
	} {
		a.do(request{method: "GET", path: "/v1/events?" + bad, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	}
	r := a.do(request{method: "GET", path: "/v1/events?limit=x&status=y&from=z&colour=red", wrong: true})
	require.Equal(t, []string{"status bad_value", "from bad_value", "limit bad_value", "colour unknown_parameter"}, r.faults(http.StatusBadRequest))
	for _, path := range []string{
		"/v1/events/" + event + "?asof=1", "/v1/events/" + event + "/history?from=1", "/v1/events/" + event + "/participants?status=declined",
		"/v1/participants/" + unknownID() + "?x=1", "/v1/stats?x=1", "/v1/processor?x", "/v1/stream?event=x", "/v1/stream?event_id=x", "/v1/stream?type=x", "/v1/stream?type=",
	} {
		a.do(request{method: "GET", path: path, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	}
	a.do(request{method: "POST", path: "/v1/events?x=1", body: newEvent, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	a.do(request{method: "DELETE", path: "/v1/events/" + event + "?x=1", wrong: true}).refused(http.StatusBadRequest, "bad_query")
	a.get("/v1/events/" + event).is(http.StatusOK)
	a.do(request{method: "GET", path: "/healthz?x=1", wrong: true}).is(http.StatusOK)
}

// pages reads a list to its end.
func (a *api) pages(path string, limit int) (items []any) {
	a.t.Helper()
	query := fmt.Sprintf("limit=%d", limit)
	for {
		page := a.get(path + "?" + query).is(http.StatusOK)
		got := page["items"].([]any)
		require.LessOrEqual(a.t, len(got), limit)
		items = append(items, got...)
		next, more := page["next_cursor"].(string)
		if !more {
			require.NotContains(a.t, page, "next_cursor")
			return items
		}
		require.Len(a.t, got, limit)
		query = fmt.Sprintf("limit=%d&cursor=%s", limit, url.QueryEscape(next))
	}
}

func TestPages(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(object{"capacity": 3})
	var ids []any
	for i := range 12 {
		ids = append(ids, a.join(event, fmt.Sprintf("p%02d", i)))
	}
	for range 10 {
		a.event(nil) // all of them at the same time
	}
	for _, limit := range []int{1, 3, 4, 11, 12, 200} {
		require.Equal(t, ids, field(a.pages("/v1/events/"+event+"/participants", limit), "id"), limit)
		all := field(a.pages("/v1/events", limit), "id")
		require.Len(t, all, 11)
		require.Equal(t, field(a.items("/v1/events"), "id"), all)
	}
	require.Len(t, a.items("/v1/events?limit=200"), 11)
	require.Len(t, a.items("/v1/events?limit=1"), 1)

	// What comes and goes meanwhile leaves the others where they are.
	first := a.get("/v1/events/" + event + "/participants?limit=6").is(http.StatusOK)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ids[5].(string)).status)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ids[7].(string)).status)
	second := a.get("/v1/events/" + event + "/participants?limit=6&cursor=" + first["next_cursor"].(string)).is(http.StatusOK)
	require.Equal(t, []any{ids[6], ids[8], ids[9], ids[10], ids[11]}, field(second["items"].([]any), "id"))

	cursor := first["next_cursor"].(string)
	for _, path := range []string{
		"/v1/events/" + event + "/participants?status=confirmed&cursor=" + cursor, "/v1/events?cursor=" + cursor,
		"/v1/events/" + a.event(nil) + "/participants?cursor=" + cursor, "/v1/notifications?cursor=" + cursor,
		"/v1/events/" + event + "/participants?cursor=x", "/v1/events/" + event + "/reminders?cursor=" + cursor, "/v1/events?cursor=%00%ff",
	} {
		r := a.do(request{method: "GET", path: path, wrong: true, header: map[string]string{"Consistency-Token": a.latest()}})
		require.Contains(t, []any{"bad_cursor", "bad_query"}, r.is(http.StatusBadRequest)["code"], path)
	}
	// With another limit it is the same list.
	a.get("/v1/events/" + event + "/participants?limit=1&cursor=" + cursor).is(http.StatusOK)
}

func TestListsThatAreLong(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(nil)
	for _, r := range a.together(60, func(i int) request {
		return request{method: "POST", path: "/v1/events/" + event + "/participants", body: person(fmt.Sprintf("p%02d", i))}
	}) {
		r.is(http.StatusCreated)
	}
	require.Len(t, a.items("/v1/events/"+event+"/participants"), 50, "by default")
	require.Len(t, a.items("/v1/events/"+event+"/participants?limit=200"), 60)
	require.Equal(t, []any{"p07"}, field(a.items("/v1/events/"+event+"/participants?q=P07"), "user_id"))
	require.Len(t, a.items("/v1/events/"+event+"/participants?q=p0"), 10)
	require.Len(t, a.items("/v1/events/"+event+"/participants?q=example.org+p1"), 10)
}
