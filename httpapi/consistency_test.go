package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
)

func TestReadYourWrites(t *testing.T) {
	a := newAPI(t)
	a.loose = true
	event := a.event(nil)
	for i := range 200 {
		r := a.patch("/v1/events/"+event, object{"title": string(rune('a'+i%26)) + "!"})
		read := a.do(request{method: "GET", path: "/v1/events/" + event, header: map[string]string{"Consistency-Token": r.header.Get("Consistency-Token")}})
		require.Equal(t, string(r.body), string(read.body))
		again := a.get("/v1/events/" + event) // which may be kept, and isn't older
		require.Equal(t, string(r.body), string(again.body))
		list := a.do(request{method: "GET", path: "/v1/events", header: map[string]string{"Consistency-Token": r.header.Get("Consistency-Token")}})
		require.JSONEq(t, `{"items": [`+string(r.body)+`]}`, string(list.body))
		require.Equal(t, string(list.body), string(a.get("/v1/events").body))
	}
}

func TestEveryWriteHasAToken(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	participant := a.join(event, "ann")
	reminder := a.post("/v1/events/"+event+"/reminders", object{}).is(http.StatusCreated)["id"].(string)
	for _, r := range []*reply{
		a.patch("/v1/events/"+event, object{}),
		a.patch("/v1/participants/"+participant, object{}),
		a.post("/v1/events/"+event+"/announcements", object{"message": "m"}),
		a.delete("/v1/events/" + event + "/reminders/" + reminder),
		a.post("/v1/processor/stop", nil), a.post("/v1/processor/stop", nil), a.post("/v1/processor/start", nil),
		a.post("/v1/notifications/send-due", nil), a.delete("/v1/notifications"),
		a.post("/v1/events/"+event+"/cancel", nil), a.post("/v1/events/"+event+"/cancel", nil),
		a.delete("/v1/participants/" + participant), a.delete("/v1/events/" + event),
	} {
		require.Less(t, r.status, 300, "%s", r.body)
		p, err := httpapi.DecodeToken(r.header.Get("Consistency-Token"))
		require.NoError(t, err)
		require.NotEqual(t, eventstore.Start, p)
	}
	require.Empty(t, a.get("/v1/events").header.Get("Consistency-Token"))
}

func TestTokensThatCantBeRead(t *testing.T) {
	a := newAPI(t)
	encode := base64.RawURLEncoding.EncodeToString
	for _, token := range []string{"x", "!", encode([]byte("5")), encode([]byte("2:5")), encode([]byte("1:")), encode([]byte("1:-5")), encode([]byte("1:5/5")), encode([]byte("1:5")) + "=", " "} {
		for _, r := range []request{{method: "GET", path: "/v1/events"}, {method: "POST", path: "/v1/events", body: newEvent}, {method: "GET", path: "/v1/stats"}} {
			r.header = map[string]string{"Consistency-Token": token}
			a.do(r).refused(http.StatusBadRequest, "bad_consistency_token")
		}
	}
	require.Zero(t, a.facts())
}

func TestAWriteWaitsForWhatItNames(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	known := a.join(event, "ann")
	a.get("/v1/participants/" + known).is(http.StatusOK)
	a.stopFollowing()
	a.loose = true
	id := a.join(event, "bob")
	a.peek("/v1/participants/"+id).refused(http.StatusNotFound, "participant_not_found")
	answers := make(chan *reply)
	for _, r := range []request{
		{method: "PATCH", path: "/v1/participants/" + id, body: object{"name": "Bobby"}},
		{method: "POST", path: "/v1/participants/" + id + "/rsvp", body: object{"response": "accepted"}},
	} {
		go func() {
			answer, err := a.try(r)
			if err != nil {
				t.Errorf("%s: %v", r.path, err)
			}
			answers <- answer
		}()
	}
	a.follow()
	for range 2 {
		(<-answers).is(http.StatusOK)
	}
	// Without what it names in the way, a write doesn't wait for the read models.
	a.stopFollowing()
	a.patch("/v1/participants/"+known, object{"name": "Anna"}).is(http.StatusOK)
	a.patch("/v1/events/"+event, object{"title": "x"}).is(http.StatusOK)
	a.follow()
}

// peek reads what the read models show now.
func (a *api) peek(path string) *reply {
	a.t.Helper()
	return a.do(request{method: "GET", path: path})
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for five seconds")
	}
	a := newAPI(t)
	a.loose = true
	a.stopFollowing()
	created := a.post("/v1/events", newEvent)
	token := map[string]string{"Consistency-Token": created.header.Get("Consistency-Token")}
	for _, r := range a.together(5, func(i int) request {
		return []request{
			{method: "GET", path: "/v1/events", header: token},
			{method: "HEAD", path: "/v1/stats", header: token},
			{method: "PATCH", path: "/v1/participants/" + unknownID(), body: object{}},
			{method: "DELETE", path: "/v1/participants/" + unknownID()},
			{method: "DELETE", path: "/v1/notifications"},
		}[i]
	}) {
		require.Equal(t, http.StatusServiceUnavailable, r.status, "%s", r.body)
		require.Equal(t, "1", r.header.Get("Retry-After"))
	}
	a.follow()
	a.do(request{method: "GET", path: "/v1/events", header: token}).is(http.StatusOK)
}

func TestTheStoreIsAway(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	a.store.Fail = func(int) error { return eventstore.ErrUnavailable }
	for _, r := range []*reply{
		a.post("/v1/events", newEvent), a.patch("/v1/events/"+event, object{"title": "x"}), a.delete("/v1/events/" + event),
		a.post("/v1/events/"+event+"/participants", person("ann")),
	} {
		r.refused(http.StatusServiceUnavailable, "unavailable")
		require.Equal(t, "1", r.header.Get("Retry-After"))
	}
	a.get("/v1/events/" + event).is(http.StatusOK)
	a.store.Fail = nil
	a.patch("/v1/events/"+event, object{"title": "x"}).is(http.StatusOK)
}

func TestWhatGoesWrongInTheProcessor(t *testing.T) {
	a := newAPI(t)
	a.processor.fail(eventstore.ErrUnknownOutcome)
	a.post("/v1/processor/start", nil).refused(http.StatusServiceUnavailable, "outcome_unknown")
	a.processor.fail(&aggregates.Invalid{Faults: []aggregates.Fault{{Field: "f", Code: "c", Message: "m"}}})
	a.post("/v1/processor/start", nil).refused(http.StatusUnprocessableEntity, "invalid")
	a.processor.fail(http.ErrHandlerTimeout)
	for _, path := range []string{"/v1/processor", "/v1/stats"} {
		r := a.get(path)
		r.refused(http.StatusInternalServerError, "internal")
		require.NotContains(t, string(r.body), "timeout")
	}
	a.post("/v1/notifications/send-due", nil).refused(http.StatusInternalServerError, "internal")
	a.processor.fail(nil)
}
