package httpapi_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
)

func (a *api) keyed(path, key string, body any) *reply {
	a.t.Helper()
	return a.do(request{method: "POST", path: path, body: body, header: map[string]string{"Idempotency-Key": key}})
}

// replayed checks that again is the answer first was, with nothing appended.
func replayed(t testing.TB, first, again *reply) {
	t.Helper()
	require.Empty(t, first.header.Get("Idempotent-Replayed"))
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"), "%s", again.body)
	require.Equal(t, first.status, again.status)
	require.Equal(t, string(first.body), string(again.body))
	for _, name := range []string{"Location", "ETag", "Content-Type"} {
		require.Equal(t, first.header.Get(name), again.header.Get(name), name)
	}
	require.NotEmpty(t, again.header.Get("Consistency-Token"))
}

// keyedRequests are those that take a key, with two bodies each.
func (a *api) keyedRequests(event, participant, failed, pending string) map[string][2]any {
	return map[string][2]any{
		"/v1/events":                                   {newEvent, with(newEvent, object{"title": "Other"})},
		"/v1/events/" + event + "/participants":        {person("cid"), person("dan")},
		"/v1/events/" + event + "/reminders":           {object{"minutes_before": 10}, object{"minutes_before": 20}},
		"/v1/events/" + event + "/announcements":       {object{"message": "m"}, object{"message": "n"}},
		"/v1/participants/" + participant + "/rsvp":    {object{"response": "accepted"}, object{"response": "declined"}},
		"/v1/notifications/" + failed + "/retry":       {object{}, nil},
		"/v1/notifications/" + pending + "/cancel":     {nil, nil},
		"/v1/events/" + a.event(nil) + "/cancel":       {object{"reason": "r"}, object{"reason": "s"}},
		"/v1/events/" + a.cancelledEvent() + "/cancel": {object{"reason": "again"}, nil},
	}
}

func (a *api) cancelledEvent() string {
	id := a.event(nil)
	a.post("/v1/events/"+id+"/cancel", nil).is(http.StatusOK)
	return id
}

func (a *api) failedAndPending(event string) (failed, pending string) {
	failed = a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now(), Expires: a.clock.now().Add(24 * time.Hour)})
	a.gaveUp(failed, event, 0, events.FailedMissed, "")
	return failed, a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now().Add(time.Hour)})
}

func TestEveryKeyedRequestIsAnsweredAgain(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	participant := a.join(event, "ann")
	failed, pending := a.failedAndPending(event)
	requests := a.keyedRequests(event, participant, failed, pending)
	first := map[string]*reply{}
	for path, bodies := range requests {
		first[path] = a.keyed(path, "k", bodies[0])
		require.Less(t, first[path].status, 300, "%s: %s", path, first[path].body)
	}
	check := func() {
		t.Helper()
		facts := a.facts()
		for path, bodies := range requests {
			replayed(t, first[path], a.keyed(path, "k", bodies[0]))
			replayed(t, first[path], a.keyed(path, `"k"`, bodies[0]))
			if bodies[1] != nil {
				a.keyed(path, "k", bodies[1]).refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
			}
			unknown := request{method: "POST", path: path, body: object{"unknown": 1}, header: map[string]string{"Idempotency-Key": "k"}, wrong: true}
			a.do(unknown).refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
		}
		require.Equal(t, facts, a.facts())
	}
	check()
	// Things go on,
	a.patch("/v1/events/"+event, object{"title": "Changed", "capacity": 100}).is(http.StatusOK)
	a.post("/v1/participants/"+participant+"/rsvp", object{"response": "declined"}).is(http.StatusOK)
	check()
	a.restart()
	check()
	// time passes,
	a.clock.advance(100 * 24 * time.Hour)
	check()
	// what was asked for goes,
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+participant).status)
	check()
	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+event).status)
	for path, r := range first {
		if strings.HasPrefix(path, "/v1/events/") && !strings.Contains(path, event) || path == "/v1/events" {
			var of struct{ ID string }
			require.NoError(t, jsonInto(r.body, &of))
			require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+of.ID).status)
		}
	}
	check()
	a.delete("/v1/notifications?older_than_days=0").is(http.StatusOK)
	check()
	// and the process with it.
	a.restart()
	check()
	// A request without a key, or with another, is a new one.
	a.post("/v1/events/"+event+"/participants", person("cid")).refused(http.StatusNotFound, "event_not_found")
	a.keyed("/v1/events/"+event+"/participants", "k2", person("cid")).refused(http.StatusNotFound, "event_not_found")
	a.keyed("/v1/participants/"+participant+"/rsvp", "k2", object{"response": "accepted"}).refused(http.StatusNotFound, "participant_not_found")
	a.keyed("/v1/notifications/"+failed+"/retry", "k2", nil).refused(http.StatusNotFound, "notification_not_found")
}

func TestTheKeyComesBeforeTheBody(t *testing.T) {
	a := newAPI(t)
	first := a.keyed("/v1/events", "k", newEvent)
	first.is(http.StatusCreated)
	// All are refused without the key: for the rules, for what is found by parsing, and for what can't be read.
	for _, other := range []object{{"title": ""}, {"start_time": "soon"}, {"titel": "Misspelt"}, {"capacity": "many"}} {
		a.do(request{method: "POST", path: "/v1/events", body: with(newEvent, other), header: map[string]string{"Idempotency-Key": "k"}, wrong: true}).
			refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	}
	a.clock.advance(365 * 24 * time.Hour)
	replayed(t, first, a.keyed("/v1/events", "k", newEvent))
	a.keyed("/v1/events", "other", newEvent).faults(http.StatusUnprocessableEntity)
}

func TestWhatIsTheSameRequest(t *testing.T) {
	a := newAPI(t)
	first := a.keyed("/v1/events", "k", `{"title":"t","description":"d","start_time":"2031-05-06T18:00:00Z","end_time":"2031-05-06T20:00:00Z","capacity":80,"tags":["a","b"]}`)
	first.is(http.StatusCreated)
	for _, same := range []string{
		` { "tags" : [ "a" , "b" ] , "capacity" : 80.0 , "end_time" : "2031-05-06T20:00:00Z" , "start_time":"2031-05-06T18:00:00Z" , "description" : "d" , "title" : "\u0074" } `,
		`{"title":"t","description":"d","start_time":"2031-05-06T18:00:00Z","end_time":"2031-05-06T20:00:00Z","capacity":8e1,"tags":["a","b"]}`,
	} {
		replayed(t, first, a.keyed("/v1/events", "k", same))
	}
	for _, other := range []string{
		`{"title":"t","description":"d","start_time":"2031-05-06T18:00:00Z","end_time":"2031-05-06T20:00:00Z","capacity":80,"tags":["b","a"]}`,
		`{"title":"t","description":"d","start_time":"2031-05-06T18:00:00.0Z","end_time":"2031-05-06T20:00:00Z","capacity":80,"tags":["a","b"]}`,
	} {
		a.keyed("/v1/events", "k", other).refused(http.StatusUnprocessableEntity, "idempotency_key_reused")
	}
	// Keys belong to their caller and route.
	second := a.as(annToken).keyed("/v1/events", "k", newEvent)
	require.NotEqual(t, first.is(http.StatusCreated)["id"], second.is(http.StatusCreated)["id"])
	event, other := a.event(nil), a.event(nil)
	a.keyed("/v1/events/"+event+"/participants", "k", person("ann")).is(http.StatusCreated)
	a.keyed("/v1/events/"+other+"/participants", "k", person("bob")).is(http.StatusCreated)
	a.keyed("/v1/events/"+event+"/reminders", "k", object{}).is(http.StatusCreated)
	require.Equal(t, "true", a.keyed("/v1/events/"+strings.ToUpper(event)+"/participants", "k", person("ann")).header.Get("Idempotent-Replayed"))
}

func TestRefusalsAreNotKept(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	path := "/v1/events/" + event + "/participants"
	a.do(request{method: "POST", path: path, body: with(person("ann"), object{"email": "x"}), header: map[string]string{"Idempotency-Key": "k"}, wrong: true}).
		faults(http.StatusUnprocessableEntity)
	a.do(request{method: "POST", path: path, body: with(person("ann"), object{"unknown": 1}), header: map[string]string{"Idempotency-Key": "k"}, wrong: true}).
		refused(http.StatusBadRequest, "bad_body")
	first := a.keyed(path, "k", person("ann"))
	first.is(http.StatusCreated)
	replayed(t, first, a.keyed(path, "k", person("ann")))
	a.keyed(path, "k2", person("ann")).refused(http.StatusConflict, "duplicate_participant")

	var fail sync.Once
	a.store.Fail = func(int) (err error) {
		fail.Do(func() { err = fmt.Errorf("%w: for once", eventstore.ErrUnavailable) })
		return err
	}
	a.keyed(path, "k3", person("bob")).refused(http.StatusServiceUnavailable, "unavailable")
	a.keyed(path, "k3", person("bob")).is(http.StatusCreated)
}

func TestAnUnknownOutcomeIsSettled(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	a.store.FailAfter = func(int) error { return fmt.Errorf("%w: cut off", eventstore.ErrUnknownOutcome) }
	r := a.keyed("/v1/events/"+event+"/participants", "k", person("ann"))
	a.store.FailAfter = nil
	r.is(http.StatusCreated)
	replayed(t, r, a.keyed("/v1/events/"+event+"/participants", "k", person("ann")))
}

func TestManyOfTheSameRequestAtOnce(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"capacity": 1})
	for _, tt := range []struct {
		path string
		body any
	}{
		{"/v1/events", newEvent}, {"/v1/events/" + event + "/participants", person("ann")}, {"/v1/events/" + event + "/announcements", object{"message": "m"}},
	} {
		facts := a.facts()
		replies := a.together(64, func(int) request {
			return request{method: "POST", path: tt.path, body: tt.body, header: map[string]string{"Idempotency-Key": "k"}}
		})
		firsts := 0
		for _, r := range replies {
			require.Equal(t, string(replies[0].body), string(r.body))
			require.Equal(t, replies[0].status, r.status)
			require.Equal(t, replies[0].header.Get("Location"), r.header.Get("Location"))
			if r.header.Get("Idempotent-Replayed") == "" {
				firsts++
			}
		}
		require.Equal(t, 1, firsts)
		require.Equal(t, facts+1, a.facts())
	}
}

// together makes n requests at once and gives the answers.
func (a *api) together(n int, of func(int) request) []*reply {
	a.t.Helper()
	replies, errs := make([]*reply, n), make([]error, n)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			replies[i], errs[i] = a.try(of(i))
		})
	}
	close(begin)
	all.Wait()
	for _, err := range errs {
		require.NoError(a.t, err)
	}
	return replies
}

func TestKeys(t *testing.T) {
	a := newAPI(t)
	for _, good := range []string{"k", `"k"`, "a b", `"a \"b\" \\ c"`, "é漢字", strings.Repeat("x", 255), `"` + strings.Repeat("é", 255) + `"`, `a"b`, `a\b`} {
		first := a.keyed("/v1/events", good, newEvent)
		first.is(http.StatusCreated)
	}
	same := a.keyed("/v1/events", `plain`, newEvent)
	replayed(t, same, a.keyed("/v1/events", `"plain"`, newEvent))
	replayed(t, same, a.keyed("/v1/events", `  plain  `, newEvent))
	for _, bad := range []string{`""`, `"`, `"open`, `"a"b`, `"a\n"`, `"a\`, strings.Repeat("x", 256), `"` + strings.Repeat("x", 256) + `"`, "a\tb", "\xff"} {
		a.do(request{method: "POST", path: "/v1/events", body: newEvent, header: map[string]string{"Idempotency-Key": bad}, wrong: true}).
			refused(http.StatusBadRequest, "bad_idempotency_key")
	}
	_, _, err := httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {""}})
	require.Error(t, err)
	_, _, err = httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {"a", "a"}})
	require.Error(t, err)
	// Where it is ignored, it is ignored.
	for _, path := range []string{"/v1/processor/start", "/v1/processor/stop", "/v1/notifications/send-due"} {
		for range 2 {
			r := a.do(request{method: "POST", path: path, header: map[string]string{"Idempotency-Key": `"`}, wrong: true})
			r.is(http.StatusOK)
			require.Empty(t, r.header.Get("Idempotent-Replayed"))
		}
	}
}

func TestCanonicalBodies(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":[1.50,"x"],"c":{"d":null,"e":true}}`, `{"c":{"e":true,"d":null},"b":[15e-1,"\u0078"],"a":1.0}`},
		{`{"a":0}`, `{"a":-0}`, `{"a":0.000}`, `{"a":0e5}`},
		{`{"a":100}`, `{"a":1e2}`, `{"a":1E+2}`, `{"a":1000e-1}`},
		{`{"a":1e999999999}`, `{"a":10e999999998}`},
	} {
		first, err := httpapi.CanonicalBody([]byte(same[0]))
		require.NoError(t, err)
		for _, other := range same {
			canonical, err := httpapi.CanonicalBody([]byte(other))
			require.NoError(t, err)
			require.Equal(t, first, canonical)
		}
	}
	seen := map[string]string{}
	for _, body := range []string{`{}`, `{"a":1}`, `{"a":-1}`, `{"a":10}`, `{"a":0.1}`, `{"a":"1"}`, `{"a":null}`, `{"a":[1]}`, `{"a":{"b":1}}`, `{"a":1e99999999999999999999}`} {
		canonical, err := httpapi.CanonicalBody([]byte(body))
		require.NoError(t, err)
		require.NotContains(t, seen, canonical)
		seen[canonical] = body
	}
}

func TestNumbersAreComparedAsValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, math.MaxInt64).Draw(t, "n")
		zeros := rapid.IntRange(0, 10).Draw(t, "zeros")
		plain, err := httpapi.CanonicalBody(fmt.Appendf(nil, `{"n":%d}`, n))
		require.NoError(t, err)
		for _, other := range []string{
			fmt.Sprintf("%d.%s", n, strings.Repeat("0", zeros+1)), fmt.Sprintf("%d%se-%d", n, strings.Repeat("0", zeros), zeros),
		} {
			canonical, err := httpapi.CanonicalBody([]byte(`{"n":` + other + `}`))
			require.NoError(t, err)
			require.Equal(t, plain, canonical)
		}
	})
}
