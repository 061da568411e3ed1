package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScheduleAnEvent(t *testing.T) {
	a := newAPI(t)
	r := a.post("/v1/events", with(newEvent, object{
		"start_time": "2031-05-06T20:00:00.1234567+02:00", "time_zone": "Europe/Vienna",
		"location": "Town hall", "capacity": 80, "tags": []string{"music", "spring", "music"}, "creator_id": "carla",
	}))
	e := r.is(http.StatusCreated)
	require.Equal(t, "/v1/events/"+e["id"].(string), r.header.Get("Location"))
	require.Equal(t, `"0"`, r.header.Get("ETag"))
	require.Equal(t, object{
		"id": e["id"], "title": "Spring concert", "description": "Chamber music",
		"start_time": "2031-05-06T18:00:00.123456Z", "end_time": "2031-05-06T20:00:00Z", "time_zone": "Europe/Vienna",
		"location": "Town hall", "creator_id": "carla", "capacity": 80.0, "tags": []any{"music", "spring"},
		"status": "scheduled", "participant_count": 0.0, "revision": 0.0,
		"created_at": "2031-04-01T09:00:00Z", "updated_at": "2031-04-01T09:00:00Z",
	}, e)

	e = a.post("/v1/events", with(newEvent, object{
		"creator_id": nil, "time_zone": nil, "location": nil, "capacity": nil, "tags": nil,
	})).is(http.StatusCreated)
	require.Equal(t, "admin", e["creator_id"])
	require.Equal(t, "UTC", e["time_zone"])
	require.Nil(t, e["location"])
	require.Nil(t, e["capacity"])
	require.Equal(t, []any{}, e["tags"])
}

func TestEventsThatAreRefused(t *testing.T) {
	a := newAPI(t)
	for name, tt := range map[string]struct {
		with   object
		faults []string
	}{
		"nothing": {object{"title": absent, "description": absent, "start_time": absent, "end_time": absent},
			[]string{"title required", "description required", "start_time required", "end_time required"}},
		"nulls": {object{"title": nil, "description": nil, "start_time": nil, "end_time": nil},
			[]string{"title required", "description required", "start_time required", "end_time required"}},
		"blanks":           {object{"title": " \t", "description": "", "creator_id": " "}, []string{"title required", "description required", "creator_id required"}},
		"an end before":    {object{"end_time": "2031-05-06T17:59:59.999999Z"}, []string{"end_time before_start"}},
		"an end at once":   {object{"end_time": "2031-05-06T18:00:00Z"}, []string{"end_time before_start"}},
		"a start now":      {object{"start_time": "2031-04-01T09:00:00Z"}, []string{"start_time in_past"}},
		"an unknown zone":  {object{"time_zone": "Mars/Olympus"}, []string{"time_zone unknown_time_zone"}},
		"an empty zone":    {object{"time_zone": ""}, []string{"time_zone unknown_time_zone"}},
		"no seats":         {object{"capacity": 0}, []string{"capacity out_of_range"}},
		"fewer than none":  {object{"capacity": -1}, []string{"capacity out_of_range"}},
		"too many seats":   {object{"capacity": 1e30}, []string{"capacity out_of_range"}},
		"no times":         {object{"start_time": "tomorrow", "end_time": "2031-05-06"}, []string{"start_time invalid_time", "end_time invalid_time"}},
		"a time by halves": {object{"start_time": "2031-05-06T18:00Z"}, []string{"start_time invalid_time"}},
		"no such day":      {object{"start_time": "2031-02-30T18:00:00Z"}, []string{"start_time invalid_time"}},
		"line breaks":      {object{"title": "a\r\nBcc: b", "location": "x\ny"}, []string{"title invalid_characters", "location invalid_characters"}},
		"long ago":         {object{"start_time": "0001-01-01T00:00:00Z"}, []string{"start_time out_of_range"}},
		"everything at once": {object{"title": "", "start_time": "x", "end_time": nil, "time_zone": "X", "capacity": -5, "creator_id": ""},
			[]string{"title required", "creator_id required", "start_time invalid_time", "end_time required", "time_zone unknown_time_zone", "capacity out_of_range"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "POST", path: "/v1/events", body: with(newEvent, tt.with), wrong: true})
			r.refused(http.StatusUnprocessableEntity, "invalid")
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusUnprocessableEntity))
		})
	}
	require.Zero(t, a.facts())
}

func TestBothSidesOfTheBoundaries(t *testing.T) {
	a := newAPI(t)
	a.event(object{"start_time": "2031-04-01T09:00:00.000001Z"})
	a.event(object{"end_time": "2031-05-06T18:00:00.000001Z"})
	a.event(object{"capacity": 1})
	small := with(newEvent, object{"start_time": "2031-05-06t18:00:00z"})
	a.do(request{method: "POST", path: "/v1/events", body: small, wrong: true}).is(http.StatusCreated)
}

func TestChangeAnEvent(t *testing.T) {
	a := newAPI(t)
	id := a.event(object{"location": "Town hall", "capacity": 10, "tags": []string{"a"}, "time_zone": "Europe/Vienna"})
	a.clock.advance(time.Minute)
	r := a.patch("/v1/events/"+id, object{"title": "Autumn concert", "location": nil, "capacity": nil, "tags": nil, "time_zone": nil})
	e := r.is(http.StatusOK)
	require.Equal(t, "Autumn concert", e["title"])
	require.Equal(t, "Chamber music", e["description"])
	require.Nil(t, e["location"])
	require.Nil(t, e["capacity"])
	require.Equal(t, []any{}, e["tags"])
	require.Equal(t, "UTC", e["time_zone"])
	require.Equal(t, "2031-04-01T09:00:00Z", e["created_at"])
	require.Equal(t, "2031-04-01T09:01:00Z", e["updated_at"])
	a.patch("/v1/events/"+id, object{"start_time": "2031-06-06T18:00:00Z", "end_time": "2031-06-06T20:00:00Z"}).is(http.StatusOK)

	facts := a.facts()
	for _, same := range []object{{}, {"title": "Autumn concert"}, {"location": nil}, {"start_time": "2031-06-06T20:00:00+02:00"}, {"notify": "Nothing changed"}} {
		again := a.patch("/v1/events/"+id, same)
		again.is(http.StatusOK)
	}
	require.Equal(t, facts, a.facts(), "what already is appends nothing")

	for name, tt := range map[string]struct {
		patch  object
		faults []string
	}{
		"required ones can't be cleared": {object{"title": nil, "description": nil, "creator_id": nil, "start_time": nil, "end_time": nil},
			[]string{"title required", "description required", "creator_id required", "start_time required", "end_time required"}},
		"a start in the past": {object{"start_time": "2031-04-01T09:01:00Z"}, []string{"start_time in_past"}},
		"an end before":       {object{"end_time": "2031-06-06T18:00:00Z"}, []string{"end_time before_start"}},
		"a start behind":      {object{"start_time": "2031-06-06T20:00:00Z"}, []string{"end_time before_start"}},
		"not a time":          {object{"start_time": "soon"}, []string{"start_time invalid_time"}},
		"not a template":      {object{"title": "x", "notify": "{{ event.title"}, []string{"notify invalid_template"}},
		"a blank template":    {object{"title": "x", "notify": " "}, []string{"notify required"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "PATCH", path: "/v1/events/" + id, body: tt.patch, wrong: true})
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusUnprocessableEntity))
		})
	}
	a.patch("/v1/events/"+unknownID(), object{}).refused(http.StatusNotFound, "event_not_found")
	a.do(request{method: "PATCH", path: "/v1/events/x", body: object{}, wrong: true}).refused(http.StatusNotFound, "event_not_found")
}

func TestAnIDInCapitalsIsTheSame(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	require.Equal(t, id, a.get("/v1/events/" + strings.ToUpper(id)).is(http.StatusOK)["id"])
	a.patch("/v1/events/"+strings.ToUpper(id), object{"title": "x"}).is(http.StatusOK)
}

func TestNotify(t *testing.T) {
	a := newAPI(t)
	id := a.event(object{"capacity": 1})
	a.join(id, "ann")
	a.join(id, "bob")
	a.patch("/v1/events/"+id, object{"title": "Moved", "notify": "{{ event.title }}"}).is(http.StatusOK)
	a.post("/v1/events/"+id+"/cancel", object{"reason": "Flood", "notify": "No {{ event.title }}"}).is(http.StatusOK)
	items := a.items("/v1/events/" + id + "/history")
	require.Equal(t, []any{
		"EventScheduled", "ParticipantRegistered", "ParticipantRegistered", "EventDetailsChanged", "AnnouncementMade",
		"EventCancelled", "AnnouncementMade",
	}, field(items, "type"))
	require.Equal(t, object{"status": []any{"confirmed"}}, items[6].(object)["data"].(object)["audience"])
}

func TestCancelAnEvent(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	participant := a.join(id, "ann")
	reminder := a.post("/v1/events/"+id+"/reminders", object{}).is(http.StatusCreated)["id"].(string)
	e := a.post("/v1/events/"+id+"/cancel", object{"reason": "Flood"}).is(http.StatusOK)
	require.Equal(t, "cancelled", e["status"])
	facts := a.facts()
	a.post("/v1/events/"+id+"/cancel", nil).is(http.StatusOK)
	a.post("/v1/events/"+id+"/cancel", object{"notify": "again"}).is(http.StatusOK)
	require.Equal(t, facts, a.facts())

	// All else is refused.
	a.patch("/v1/events/"+id, object{"title": "x"}).refused(http.StatusConflict, "event_cancelled")
	a.post("/v1/events/"+id+"/participants", person("bob")).refused(http.StatusConflict, "event_cancelled")
	a.post("/v1/events/"+id+"/reminders", object{"minutes_before": 5}).refused(http.StatusConflict, "event_cancelled")
	a.delete("/v1/events/"+id+"/reminders/"+reminder).refused(http.StatusConflict, "event_cancelled")

	// These go.
	a.get("/v1/events/" + id).is(http.StatusOK)
	a.get("/v1/events/" + id + "/history").is(http.StatusOK)
	a.patch("/v1/participants/"+participant, object{"name": "Anna"}).is(http.StatusOK)
	a.post("/v1/participants/"+participant+"/rsvp", object{"response": "declined"}).is(http.StatusOK)
	a.post("/v1/events/"+id+"/announcements", object{"message": "Sorry"}).is(http.StatusAccepted)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+participant).status)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+id).status)
	a.post("/v1/events/"+unknownID()+"/cancel", nil).refused(http.StatusNotFound, "event_not_found")
}

func TestDeleteAnEvent(t *testing.T) {
	a := newAPI(t)
	id, other := a.event(nil), a.event(nil)
	participant := a.join(id, "ann")
	reminder := a.post("/v1/events/"+id+"/reminders", object{}).is(http.StatusCreated)["id"].(string)
	r := a.delete("/v1/events/" + id)
	require.Equal(t, http.StatusNoContent, r.status)
	require.Empty(t, r.header.Get("ETag"))
	for _, path := range []string{
		"/v1/events/" + id, "/v1/events/" + id + "?as_of=0", "/v1/events/" + id + "?as_of=2031-04-01T09:00:00Z", "/v1/events/" + id + "/history",
		"/v1/events/" + id + "/participants", "/v1/events/" + id + "/reminders", "/v1/events/" + id + "/notifications",
	} {
		a.get(path).refused(http.StatusNotFound, "event_not_found")
	}
	a.get("/v1/participants/"+participant).refused(http.StatusNotFound, "participant_not_found")
	a.patch("/v1/participants/"+participant, object{}).refused(http.StatusNotFound, "participant_not_found")
	a.delete("/v1/participants/"+participant).refused(http.StatusNotFound, "participant_not_found")
	a.post("/v1/participants/"+participant+"/rsvp", object{"response": "accepted"}).refused(http.StatusNotFound, "participant_not_found")
	a.get("/v1/events/"+id+"/reminders/"+reminder).refused(http.StatusNotFound, "event_not_found")
	a.delete("/v1/events/"+id).refused(http.StatusNotFound, "event_not_found")
	a.patch("/v1/events/"+id, object{}).refused(http.StatusNotFound, "event_not_found")
	a.post("/v1/events/"+id+"/cancel", nil).refused(http.StatusNotFound, "event_not_found")
	a.post("/v1/events/"+id+"/participants", person("bob")).refused(http.StatusNotFound, "event_not_found")
	a.post("/v1/events/"+id+"/reminders", object{}).refused(http.StatusNotFound, "event_not_found")
	a.post("/v1/events/"+id+"/announcements", object{"message": "m"}).refused(http.StatusNotFound, "event_not_found")
	require.Equal(t, []any{other}, field(a.items("/v1/events"), "id"))
}

func TestAsOf(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	a.clock.advance(time.Minute)
	a.patch("/v1/events/"+id, object{"title": "Second"}).is(http.StatusOK)
	a.clock.advance(time.Minute)
	a.join(id, "ann")
	a.clock.advance(time.Minute)
	a.post("/v1/events/"+id+"/reminders", object{}).is(http.StatusCreated)

	for asOf, want := range map[string]object{
		"0":                            {"title": "Spring concert", "participant_count": 0.0, "revision": 0.0},
		"1":                            {"title": "Second", "participant_count": 0.0, "revision": 1.0},
		"2":                            {"title": "Second", "participant_count": 1.0, "revision": 2.0},
		"3":                            {"title": "Second", "participant_count": 1.0, "revision": 2.0},
		"2031-04-01T09:00:00Z":         {"title": "Spring concert", "revision": 0.0},
		"2031-04-01T09:00:59.999999Z":  {"title": "Spring concert", "revision": 0.0},
		"2031-04-01T09:01:00Z":         {"title": "Second", "revision": 1.0},
		"2031-04-01T11:01:30%2B02:00":  {"title": "Second", "revision": 1.0},
		"2031-04-01T11:01:30+02:00":    {"title": "Second", "revision": 1.0},
		"2031-04-01T09:02:00.000001Z":  {"participant_count": 1.0, "revision": 2.0},
		"2031-04-02T09:00:00Z":         {"revision": 2.0},
		"0000000000000000000000000001": {"revision": 1.0},
	} {
		r := a.get("/v1/events/" + id + "?as_of=" + asOf)
		e := r.is(http.StatusOK)
		for name, value := range want {
			require.Equal(t, value, e[name], "%s as of %s", name, asOf)
		}
		require.Equal(t, http.StatusNotModified, a.do(request{method: "GET", path: "/v1/events/" + id + "?as_of=" + asOf,
			header: map[string]string{"If-None-Match": r.header.Get("ETag")}}).status)
	}
	for _, asOf := range []string{"4", "99999999999999999999999"} {
		a.get("/v1/events/"+id+"?as_of="+asOf).refused(http.StatusBadRequest, "revision_beyond_end")
	}
	for _, asOf := range []string{"-1", "x", "1.0", "2031-04-01", "yesterday"} {
		a.get("/v1/events/"+id+"?as_of="+asOf).refused(http.StatusBadRequest, "bad_query")
	}
	a.do(request{method: "GET", path: "/v1/events/" + id + "?as_of=", wrong: true}).refused(http.StatusBadRequest, "bad_query")
	a.get("/v1/events/"+id+"?as_of=2031-04-01T08:59:59.999999Z").refused(http.StatusNotFound, "event_not_found")
	a.get("/v1/events/"+unknownID()+"?as_of=0").refused(http.StatusNotFound, "event_not_found")
	require.Equal(t, a.get("/v1/events/"+id).body, a.get("/v1/events/"+id+"?as_of=3").body)
}

func TestHistory(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	p := a.as(annToken).post("/v1/events/"+id+"/participants", person("ann")).is(http.StatusCreated)
	// A keyed request that changes nothing is remembered, but nothing happened.
	a.do(request{method: "POST", path: "/v1/participants/" + p["id"].(string) + "/rsvp", body: object{"response": "accepted"}}).is(http.StatusOK)
	a.do(request{method: "POST", path: "/v1/participants/" + p["id"].(string) + "/rsvp", body: object{"response": "accepted"}, header: map[string]string{"Idempotency-Key": "k"}}).is(http.StatusOK)
	a.clock.advance(time.Hour)
	a.patch("/v1/events/"+id, object{"title": "Second"}).is(http.StatusOK)

	items := a.items("/v1/events/" + id + "/history")
	require.Equal(t, []any{"EventScheduled", "ParticipantRegistered", "ParticipantResponded", "EventDetailsChanged"}, field(items, "type"))
	require.Equal(t, []any{0.0, 1.0, 2.0, 4.0}, field(items, "revision"))
	require.Equal(t, []any{"admin", "ann", "admin", "admin"}, field(items, "actor"))
	require.Equal(t, "2031-04-01T10:00:00Z", items[3].(object)["occurred_at"])
	require.Equal(t, object{"event_id": id, "title": "Second"}, items[3].(object)["data"])
	require.Equal(t, object{
		"event_id": id, "participant_id": p["id"], "user_id": "ann",
		"personal": object{"name": "Ann", "email": "ann@example.org"},
	}, items[1].(object)["data"], "no digest and no key")

	var paged []any
	path, pages := "/v1/events/"+id+"/history?limit=1", 0
	for next := ""; ; pages++ {
		page := a.get(path + next).is(http.StatusOK)
		paged = append(paged, page["items"].([]any)...)
		if page["next_cursor"] == nil {
			break
		}
		next = "&cursor=" + page["next_cursor"].(string)
	}
	require.Equal(t, items, paged)
	require.Equal(t, 3, pages, "no empty page at the end")

	other := a.event(nil)
	cursor := a.get(path).is(http.StatusOK)["next_cursor"].(string)
	a.get("/v1/events/"+other+"/history?cursor="+cursor).refused(http.StatusBadRequest, "bad_cursor")
	a.get("/v1/events/"+id+"/history?cursor=x").refused(http.StatusBadRequest, "bad_cursor")
	a.get("/v1/events/"+unknownID()+"/history").refused(http.StatusNotFound, "event_not_found")
}
