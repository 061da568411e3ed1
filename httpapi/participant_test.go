package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRegister(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	r := a.post("/v1/events/"+event+"/participants", with(person("ann"), object{
		"phone": "+1 (234) 567-890", "channels": []string{"sms", "email"}, "time_zone": "Europe/Vienna", "locale": "de-AT", "push_token": "secret-token",
	}))
	p := r.is(http.StatusCreated)
	require.Equal(t, "/v1/participants/"+p["id"].(string), r.header.Get("Location"))
	require.Equal(t, object{
		"id": p["id"], "event_id": event, "user_id": "ann", "name": "Ann", "email": "ann@example.org", "phone": "+1234567890",
		"channels": []any{"sms", "email"}, "time_zone": "Europe/Vienna", "locale": "de-AT", "response": "needs_action",
		"status": "confirmed", "revision": 1.0, "created_at": "2031-04-01T09:00:00Z", "updated_at": "2031-04-01T09:00:00Z",
	}, p)
	p = a.post("/v1/events/"+event+"/participants", with(person("bob"), object{"phone": nil, "channels": nil, "time_zone": nil, "locale": nil, "push_token": nil})).is(http.StatusCreated)
	require.Nil(t, p["phone"])
	require.Equal(t, []any{}, p["channels"])
	e := a.get("/v1/events/" + event).is(http.StatusOK)
	require.EqualValues(t, 2, e["participant_count"])
	require.EqualValues(t, 2, e["revision"])
}

func TestParticipantsThatAreRefused(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	for name, tt := range map[string]struct {
		with   object
		faults []string
	}{
		"nothing":         {object{"user_id": absent, "name": absent, "email": absent}, []string{"user_id required", "name required", "email required"}},
		"nulls":           {object{"user_id": nil, "name": nil, "email": nil}, []string{"user_id required", "name required", "email required"}},
		"blanks":          {object{"user_id": " ", "name": "\t", "email": ""}, []string{"user_id required", "name required", "email required"}},
		"a display name":  {object{"email": "Ann <ann@example.org>"}, []string{"email invalid_email"}},
		"a second header": {object{"email": "ann@example.org\r\nBcc: bob@example.org"}, []string{"email invalid_email"}},
		"two addresses":   {object{"email": "ann@example.org, bob@example.org"}, []string{"email invalid_email"}},
		"no domain":       {object{"email": "ann"}, []string{"email invalid_email"}},
		"255 octets":      {object{"email": strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("e", 7) + ".org"}, []string{"email invalid_email"}},
		"no plus":         {object{"phone": "1234567890"}, []string{"phone invalid_phone"}},
		"a leading zero":  {object{"phone": "+01234567"}, []string{"phone invalid_phone"}},
		"six digits":      {object{"phone": "+123456"}, []string{"phone invalid_phone"}},
		"sixteen digits":  {object{"phone": "+1234567890123456"}, []string{"phone invalid_phone"}},
		"another channel": {object{"channels": []string{"pigeon"}}, []string{"channels unknown_channel"}},
		"another zone":    {object{"time_zone": "Mars/Olympus"}, []string{"time_zone unknown_time_zone"}},
		"all of it":       {object{"name": "", "email": "x", "phone": "x", "channels": []string{"x"}, "time_zone": "x"}, []string{"name required", "email invalid_email", "phone invalid_phone", "channels unknown_channel", "time_zone unknown_time_zone"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "POST", path: "/v1/events/" + event + "/participants", body: with(person("ann"), tt.with), wrong: true})
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusUnprocessableEntity))
		})
	}
	for _, good := range []object{
		{"phone": "+1234567"}, {"phone": "+123456789012345"}, {"phone": "+12.34-56 78(90)"},
		{"email": "grüße@exämple.org"}, {"email": "用户@例子.公司"},
	} {
		a.post("/v1/events/"+a.event(nil)+"/participants", with(person("ann"), good)).is(http.StatusCreated)
	}
	a.post("/v1/events/"+unknownID()+"/participants", person("ann")).refused(http.StatusNotFound, "event_not_found")
}

func TestDuplicates(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	ann := a.join(event, "ann")
	for _, twin := range []object{
		with(person("ann"), object{"email": "other@example.org"}),
		with(person("ann"), object{"user_id": "other"}),
		with(person("ann"), object{"user_id": "other", "email": "ANN@EXAMPLE.ORG"}),
	} {
		a.post("/v1/events/"+event+"/participants", twin).refused(http.StatusConflict, "duplicate_participant")
	}
	a.join(a.event(nil), "ann") // on another event
	bob := a.join(event, "bob")
	a.patch("/v1/participants/"+bob, object{"email": "Ann@Example.org"}).refused(http.StatusConflict, "duplicate_participant")
	a.patch("/v1/participants/"+ann, object{"email": "Ann@Example.org"}).is(http.StatusOK)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ann).status)
	a.join(event, "ann")
}

func TestRegistrationCloses(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	a.clock.advance(time.Date(2031, 5, 6, 19, 59, 59, 0, time.UTC).Sub(start))
	a.join(event, "ann")
	a.clock.advance(time.Second)
	a.post("/v1/events/"+event+"/participants", person("bob")).refused(http.StatusConflict, "event_ended")
}

func TestTheLine(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"capacity": 2})
	ids := map[string]string{}
	for _, name := range []string{"ann", "bob", "cid", "dan", "eve", "fay"} {
		ids[name] = a.join(event, name)
	}
	places := func() (out []string) {
		for _, i := range a.items("/v1/events/" + event + "/participants") {
			p := i.(object)
			out = append(out, strings.TrimSuffix(fmt.Sprint(p["user_id"], " ", p["status"], " ", p["waitlist_position"]), " <nil>"))
		}
		return out
	}
	require.Equal(t, []string{"ann confirmed", "bob confirmed", "cid waitlisted 1", "dan waitlisted 2", "eve waitlisted 3", "fay waitlisted 4"}, places())

	before := a.get("/v1/participants/" + ids["fay"])
	p := a.post("/v1/participants/"+ids["ann"]+"/rsvp", object{"response": "declined"}).is(http.StatusOK)
	require.Equal(t, "released", p["status"])
	require.Equal(t, "declined", p["response"])
	require.Equal(t, []string{"ann released", "bob confirmed", "cid confirmed", "dan waitlisted 1", "eve waitlisted 2", "fay waitlisted 3"}, places())
	after := a.get("/v1/participants/" + ids["fay"])
	require.NotEqual(t, before.header.Get("ETag"), after.header.Get("ETag"), "who moves up in the line has changed")

	p = a.post("/v1/participants/"+ids["ann"]+"/rsvp", object{"response": "accepted"}).is(http.StatusOK)
	require.Equal(t, "waitlisted", p["status"])
	require.EqualValues(t, 4, p["waitlist_position"])
	require.Equal(t, []any{"dan", "eve", "fay", "ann"}, field(a.items("/v1/events/"+event+"/participants?status=waitlisted"), "user_id"))

	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ids["eve"]).status)
	require.Equal(t, []string{"ann waitlisted 3", "bob confirmed", "cid confirmed", "dan waitlisted 1", "fay waitlisted 2"}, places())
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ids["bob"]).status)
	require.Equal(t, []string{"ann waitlisted 2", "cid confirmed", "dan confirmed", "fay waitlisted 1"}, places())

	a.patch("/v1/events/"+event, object{"capacity": 1}).refused(http.StatusConflict, "capacity_below_confirmed")
	a.patch("/v1/events/"+event, object{"capacity": 3}).is(http.StatusOK)
	require.Equal(t, []string{"ann waitlisted 1", "cid confirmed", "dan confirmed", "fay confirmed"}, places())
	a.patch("/v1/events/"+event, object{"capacity": nil}).is(http.StatusOK)
	require.Equal(t, []string{"ann confirmed", "cid confirmed", "dan confirmed", "fay confirmed"}, places())
}

func TestRSVP(t *testing.T) {
	a := newAPI(t)
	id := a.join(a.event(nil), "ann")
	path := "/v1/participants/" + id + "/rsvp"
	for _, response := range []string{"accepted", "tentative", "declined", "accepted"} {
		require.Equal(t, response, a.post(path, object{"response": response}).is(http.StatusOK)["response"])
	}
	facts := a.facts()
	a.post(path, object{"response": "accepted"}).is(http.StatusOK)
	require.Equal(t, facts, a.facts())
	for _, body := range []object{{}, {"response": nil}, {"response": ""}} {
		require.Equal(t, []string{"response required"}, a.do(request{method: "POST", path: path, body: body, wrong: true}).faults(http.StatusUnprocessableEntity))
	}
	for _, body := range []object{{"response": "needs_action"}, {"response": "maybe"}} {
		require.Equal(t, []string{"response invalid_response"}, a.do(request{method: "POST", path: path, body: body, wrong: true}).faults(http.StatusUnprocessableEntity))
	}
	a.post("/v1/participants/"+unknownID()+"/rsvp", object{"response": "accepted"}).refused(http.StatusNotFound, "participant_not_found")
	a.do(request{method: "POST", path: "/v1/participants/x/rsvp", body: object{"response": "accepted"}, wrong: true}).refused(http.StatusNotFound, "participant_not_found")
}

func TestChangeContact(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	id := a.post("/v1/events/"+event+"/participants", with(person("ann"), object{"phone": "+1234567890", "locale": "de", "time_zone": "Europe/Vienna", "channels": []string{"sms"}})).is(http.StatusCreated)["id"].(string)
	a.clock.advance(time.Minute)
	p := a.patch("/v1/participants/"+id, object{"name": "Anna", "phone": nil, "locale": nil, "time_zone": nil, "channels": nil, "push_token": "t"}).is(http.StatusOK)
	require.Equal(t, "Anna", p["name"])
	require.Equal(t, "ann@example.org", p["email"])
	for _, cleared := range []string{"phone", "locale", "time_zone"} {
		require.Nil(t, p[cleared])
	}
	require.Equal(t, []any{}, p["channels"])
	require.Equal(t, "2031-04-01T09:01:00Z", p["updated_at"])
	require.EqualValues(t, 1, a.get("/v1/events/" + event).is(http.StatusOK)["revision"], "the event shows nothing of it")
	facts := a.facts()
	a.patch("/v1/participants/"+id, object{}).is(http.StatusOK)
	a.patch("/v1/participants/"+id, object{"name": "Anna", "push_token": "t"}).is(http.StatusOK)
	require.Equal(t, facts, a.facts())

	r := a.do(request{method: "PATCH", path: "/v1/participants/" + id, body: object{"name": nil, "email": nil, "phone": "x"}, wrong: true})
	require.ElementsMatch(t, []string{"name required", "email required", "phone invalid_phone"}, r.faults(http.StatusUnprocessableEntity))
	for _, other := range []object{{"user_id": "x"}, {"response": "accepted"}, {"event_id": "x"}} {
		a.do(request{method: "PATCH", path: "/v1/participants/" + id, body: other, wrong: true}).refused(http.StatusBadRequest, "bad_body")
	}
	a.patch("/v1/participants/"+unknownID(), object{}).refused(http.StatusNotFound, "participant_not_found")
}

func TestRemove(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	id := a.join(event, "ann")
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+id).status)
	a.get("/v1/participants/"+id).refused(http.StatusNotFound, "participant_not_found")
	a.delete("/v1/participants/"+id).refused(http.StatusNotFound, "participant_not_found")
	require.EqualValues(t, 0, a.get("/v1/events/" + event).is(http.StatusOK)["participant_count"])
}
