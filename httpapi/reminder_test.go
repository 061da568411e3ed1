package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
)

func TestReminders(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	path := "/v1/events/" + event + "/reminders"
	r := a.post(path, object{})
	first := r.is(http.StatusCreated)
	require.Equal(t, path+"/"+first["id"].(string), r.header.Get("Location"))
	require.Equal(t, object{
		"id": first["id"], "event_id": event, "minutes_before": 60.0, "channels": []any{},
		"message": aggregates.DefaultReminderMessage, "revision": 1.0,
	}, first)
	second := a.post(path, object{"minutes_before": 0, "channels": []string{"sms", "email"}, "message": "{{ reminder.minutes_before }}"}).is(http.StatusCreated)
	require.Equal(t, []any{"email", "sms"}, second["channels"])
	third := a.post(path, object{"minutes_before": 60, "channels": []string{"email"}, "message": nil}).is(http.StatusCreated)
	require.Equal(t, []any{first, second, third}, a.items(path))
	require.EqualValues(t, 0, a.get("/v1/events/" + event).is(http.StatusOK)["revision"], "the event shows nothing of it")

	require.Equal(t, first, a.get(path+"/"+first["id"].(string)).is(http.StatusOK))
	require.Equal(t, http.StatusNoContent, a.delete(path+"/"+first["id"].(string)).status)
	a.get(path+"/"+first["id"].(string)).refused(http.StatusNotFound, "reminder_not_found")
	a.delete(path+"/"+first["id"].(string)).refused(http.StatusNotFound, "reminder_not_found")
	a.delete(path+"/"+unknownID()).refused(http.StatusNotFound, "reminder_not_found")
	require.Equal(t, http.StatusNotFound, a.do(request{method: "DELETE", path: path + "/x", wrong: true}).status)
	require.Equal(t, []any{second, third}, a.items(path))

	page := a.get(path + "?limit=1").is(http.StatusOK)
	require.Equal(t, []any{second}, page["items"])
	page = a.get(path + "?limit=1&cursor=" + page["next_cursor"].(string)).is(http.StatusOK)
	require.Equal(t, []any{third}, page["items"])
	require.Nil(t, page["next_cursor"])
	a.get("/v1/events/"+unknownID()+"/reminders").refused(http.StatusNotFound, "event_not_found")
}

func TestRemindersThatAreRefused(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"start_time": "2031-04-01T10:00:00Z", "end_time": "2031-04-01T11:00:00Z"})
	path := "/v1/events/" + event + "/reminders"
	for name, tt := range map[string]struct {
		body   object
		faults []string
	}{
		"due already":        {object{"minutes_before": 61}, []string{"minutes_before in_past"}},
		"behind the start":   {object{"minutes_before": -1}, []string{"minutes_before out_of_range"}},
		"more than a year":   {object{"minutes_before": 525601}, []string{"minutes_before out_of_range"}},
		"a great many":       {object{"minutes_before": 1e300}, []string{"minutes_before out_of_range"}},
		"another channel":    {object{"channels": []string{"pigeon"}}, []string{"channels unknown_channel"}},
		"a blank message":    {object{"message": " \n"}, []string{"message required"}},
		"an unclosed tag":    {object{"message": "Hello {{ participant.name"}, []string{"message invalid_template"}},
		"another variable":   {object{"message": "{{ participant.email }}"}, []string{"message invalid_template"}},
		"an announcement's":  {object{"message": "{{ announcement.id }}"}, []string{"message invalid_template"}},
		"an untaken branch":  {object{"message": "{% if false %}{{ nobody }}{% endif %}"}, []string{"message invalid_template"}},
		"everything at once": {object{"minutes_before": -1, "channels": []string{"x"}, "message": ""}, []string{"minutes_before out_of_range", "channels unknown_channel", "message required"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "POST", path: path, body: tt.body, wrong: true})
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusUnprocessableEntity))
		})
	}
	a.post(path, object{"minutes_before": 60}).is(http.StatusCreated)
	a.post(path, object{"minutes_before": 60}).refused(http.StatusConflict, "duplicate_reminder")
	a.post(path, object{}).refused(http.StatusConflict, "duplicate_reminder")
	a.post(path, object{"channels": []string{"sms", "email"}}).is(http.StatusCreated)
	a.post(path, object{"channels": []string{"email", "sms"}}).refused(http.StatusConflict, "duplicate_reminder")
	a.post("/v1/events/"+unknownID()+"/reminders", object{}).refused(http.StatusNotFound, "event_not_found")
	far := a.event(object{"start_time": "2033-05-06T18:00:00Z", "end_time": "2033-05-06T20:00:00Z"})
	a.post("/v1/events/"+far+"/reminders", object{"minutes_before": 525600}).is(http.StatusCreated)
	a.post("/v1/events/"+far+"/reminders", object{"minutes_before": 5.0}).is(http.StatusCreated)
	a.post("/v1/events/"+far+"/reminders", `{"minutes_before":6.0e0}`).is(http.StatusCreated)
}

func TestAnnouncements(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"capacity": 1})
	path := "/v1/events/" + event + "/announcements"
	a.join(event, "ann")
	a.join(event, "bob")
	cid := a.join(event, "cid")
	a.post("/v1/participants/"+cid+"/rsvp", object{"response": "declined"}).is(http.StatusOK)
	for _, tt := range []struct {
		body       object
		recipients float64
	}{
		{object{"message": "Hello {{ participant.name }}, {{ announcement.id }}"}, 2},
		{object{"message": "m", "audience": object{"status": []string{"waitlisted"}}}, 1},
		{object{"message": "m", "audience": object{"status": []string{"confirmed", "released"}}}, 2},
		{object{"message": "m", "audience": object{"response": []string{"declined"}}}, 1},
		{object{"message": "m", "audience": object{"status": []string{"confirmed"}, "response": []string{"declined"}}}, 0},
		{object{"message": "m", "audience": object{"status": nil, "response": []string{}}}, 2},
		{object{"message": "m", "audience": nil, "channels": nil, "send_at": nil}, 2},
		{object{"message": "m", "send_at": "2031-04-01T09:00:00Z", "channels": []string{"push"}}, 2},
	} {
		r := a.post(path, tt.body)
		made := r.is(http.StatusAccepted)
		require.Equal(t, object{"id": made["id"], "event_id": event, "recipients": tt.recipients}, made)
		require.NotEmpty(t, r.header.Get("ETag"))
		require.Empty(t, r.header.Get("Location"))
	}
	a.clock.advance(time.Microsecond)
	for name, tt := range map[string]struct {
		body   object
		faults []string
	}{
		"nothing":         {object{}, []string{"message required"}},
		"a blank message": {object{"message": " "}, []string{"message required"}},
		"in the past":     {object{"message": "m", "send_at": "2031-04-01T09:00:00Z"}, []string{"send_at in_past"}},
		"not a time":      {object{"message": "m", "send_at": "soon"}, []string{"send_at invalid_time"}},
		"a reminder's":    {object{"message": "{{ reminder.minutes_before }}"}, []string{"message invalid_template"}},
		"other words":     {object{"message": "m", "audience": object{"status": []string{"x"}, "response": []string{"y"}}}, []string{"audience.status unknown_value", "audience.response unknown_value"}},
		"another channel": {object{"message": "m", "channels": []string{"x"}}, []string{"channels unknown_channel"}},
		"more than one":   {object{"message": "", "send_at": "x", "channels": []string{"x"}}, []string{"message required", "send_at invalid_time", "channels unknown_channel"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.do(request{method: "POST", path: path, body: tt.body, wrong: true})
			require.ElementsMatch(t, tt.faults, r.faults(http.StatusUnprocessableEntity))
		})
	}
	a.post("/v1/events/"+unknownID()+"/announcements", object{"message": "m"}).refused(http.StatusNotFound, "event_not_found")
}
