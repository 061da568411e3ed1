package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
)

func (a *api) conditional(method, path, name, tags string, body any) *reply {
	a.t.Helper()
	return a.do(request{method: method, path: path, body: body, header: map[string]string{name: tags, "Consistency-Token": a.latest()}})
}

func TestIfNoneMatch(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	participant := a.join(event, "ann")
	reminder := a.post("/v1/events/"+event+"/reminders", object{}).is(http.StatusCreated)["id"].(string)
	for _, path := range []string{"/v1/events/" + event, "/v1/participants/" + participant, "/v1/events/" + event + "/reminders/" + reminder} {
		tag := a.get(path).header.Get("ETag")
		require.Regexp(t, `^"\d+"$`, tag)
		for _, tags := range []string{tag, "W/" + tag, `"x", ` + tag, `"9999" , W/"7",` + tag + `, `, "*"} {
			r := a.conditional("GET", path, "If-None-Match", tags, nil)
			require.Equal(t, http.StatusNotModified, r.status, tags)
			require.Equal(t, tag, r.header.Get("ETag"))
			require.Empty(t, r.body)
			require.Equal(t, http.StatusNotModified, a.conditional("HEAD", path, "If-None-Match", tags, nil).status)
		}
		for _, tags := range []string{`"9999"`, `W/"9999"`, `"0` + tag[1:], tag[1:2], "x", `"`, `"x"` + tag} {
			require.Equal(t, http.StatusOK, a.conditional("GET", path, "If-None-Match", tags, nil).status, tags)
		}
	}
	// A registration changes what the event shows.
	tag := a.get("/v1/events/" + event).header.Get("ETag")
	a.join(event, "bob")
	require.Equal(t, http.StatusOK, a.conditional("GET", "/v1/events/"+event, "If-None-Match", tag, nil).status)
	// A reminder and an answer to the invitation don't.
	tag = a.get("/v1/events/" + event).header.Get("ETag")
	a.post("/v1/events/"+event+"/reminders", object{"minutes_before": 1}).is(http.StatusCreated)
	a.post("/v1/participants/"+participant+"/rsvp", object{"response": "declined"}).is(http.StatusOK)
	require.Equal(t, http.StatusNotModified, a.conditional("GET", "/v1/events/"+event, "If-None-Match", tag, nil).status)
	// Lists have no tag, and problems neither.
	for _, path := range []string{"/v1/events", "/v1/events/" + event + "/participants", "/v1/stats", "/v1/processor", "/v1/events/" + unknownID()} {
		require.Empty(t, a.get(path).header.Get("ETag"), path)
	}
	require.Equal(t, http.StatusOK, a.conditional("GET", "/v1/events", "If-None-Match", "*", nil).status)
}

func TestIfMatch(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)               // 0
	participant := a.join(event, "ann") // 1
	path := "/v1/events/" + event
	patched := func(path, tags string, body object) *reply {
		t.Helper()
		return a.conditional("PATCH", path, "If-Match", tags, body)
	}
	// Registrations don't touch the event's own fields.
	patched(path, `"0"`, object{"title": "b"}).is(http.StatusOK) // 2
	for _, tags := range []string{`"0"`, `"1"`, `"0", "1"`, `"99"`, `W/"2"`, `"x"`, `"-2"`, `"02"`, `"99999999999999999999"`} {
		patched(path, tags, object{"title": "c"}).refused(http.StatusPreconditionFailed, "precondition_failed")
	}
	for _, tags := range []string{"2", "x", `"`, `"2" "3"`, "", `*, "2"`, `W/`, `""x`} {
		r := a.do(request{method: "PATCH", path: path, body: object{"title": "c"}, header: map[string]string{"If-Match": tags}})
		if tags == "" {
			r.is(http.StatusOK) // the harness leaves it away; 3
			continue
		}
		r.refused(http.StatusBadRequest, "bad_if_match")
	}
	patched(path, `"0", "3"`, object{"title": "d"}).is(http.StatusOK) // 4
	patched(path, "*", object{"title": "e"}).is(http.StatusOK)        // 5
	patched(path, `"5"`, object{"title": "e"}).is(http.StatusOK)      // nothing
	patched(path, `"4"`, object{"title": "e"}).refused(http.StatusPreconditionFailed, "precondition_failed")

	// A participant's own fields are not the event's.
	patched("/v1/participants/"+participant, `"1"`, object{"name": "Anna"}).is(http.StatusOK) // 6
	patched("/v1/participants/"+participant, `"1"`, object{"name": "Anne"}).refused(http.StatusPreconditionFailed, "precondition_failed")
	rsvp := "/v1/participants/" + participant + "/rsvp"
	a.conditional("POST", rsvp, "If-Match", `"5"`, object{"response": "accepted"}).refused(http.StatusPreconditionFailed, "precondition_failed")
	a.conditional("POST", rsvp, "If-Match", `"6"`, object{"response": "accepted"}).is(http.StatusOK) // 7
	a.conditional("DELETE", "/v1/participants/"+participant, "If-Match", `"6"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")
	require.Equal(t, http.StatusNoContent, a.conditional("DELETE", "/v1/participants/"+participant, "If-Match", `"7"`, nil).status) // 8

	reminder := a.post(path+"/reminders", object{}).is(http.StatusCreated)["id"].(string) // 9
	a.conditional("DELETE", path+"/reminders/"+reminder, "If-Match", `"8"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")
	require.Equal(t, http.StatusNoContent, a.conditional("DELETE", path+"/reminders/"+reminder, "If-Match", `"9"`, nil).status)

	notification := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now()})
	a.gaveUp(notification, event, 0, events.FailedMissed, "")
	retry := "/v1/notifications/" + notification + "/retry"
	a.conditional("POST", retry, "If-Match", `"0"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")
	a.conditional("POST", retry, "If-Match", `"1"`, nil).is(http.StatusOK)
	a.conditional("POST", "/v1/notifications/"+notification+"/cancel", "If-Match", `"1"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")

	a.conditional("POST", path+"/cancel", "If-Match", `"4"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")
	a.conditional("POST", path+"/cancel", "If-Match", `"5"`, nil).is(http.StatusOK)
	a.conditional("DELETE", path, "If-Match", `"5"`, nil).refused(http.StatusPreconditionFailed, "precondition_failed")
	require.Equal(t, http.StatusNoContent, a.conditional("DELETE", path, "If-Match", "*", nil).status)
	// What isn't there is not found, whatever it should match.
	a.conditional("PATCH", "/v1/events/"+unknownID(), "If-Match", `"0"`, object{}).refused(http.StatusNotFound, "event_not_found")
	a.conditional("DELETE", path, "If-Match", `"5"`, nil).refused(http.StatusNotFound, "event_not_found")
	a.conditional("POST", "/v1/notifications/"+unknownID()+"/retry", "If-Match", `"0"`, nil).refused(http.StatusNotFound, "notification_not_found")
}

func TestALostRaceSurfacesOnlyWhereItWasAskedFor(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	a.loose = true
	for _, r := range a.together(16, func(i int) request {
		return request{method: "PATCH", path: "/v1/events/" + event, body: object{"title": string(rune('a' + i))}}
	}) {
		r.is(http.StatusOK)
	}
	won := 0
	tag := a.get("/v1/events/" + event).header.Get("ETag")
	for _, r := range a.together(16, func(i int) request {
		return request{method: "PATCH", path: "/v1/events/" + event, body: object{"title": string(rune('A' + i))}, header: map[string]string{"If-Match": tag}}
	}) {
		if r.status == http.StatusOK {
			won++
			continue
		}
		r.refused(http.StatusPreconditionFailed, "precondition_failed")
	}
	require.Equal(t, 1, won)
}
