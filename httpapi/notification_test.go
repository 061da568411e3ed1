package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

func TestANotificationsLife(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	due := start.Add(time.Hour)
	id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: due})
	path := "/v1/notifications/" + id
	status := func(want string) object {
		t.Helper()
		n := a.get(path).is(http.StatusOK)
		require.Equal(t, want, n["status"])
		return n
	}
	n := status("PENDING")
	require.Equal(t, []any{}, n["attempt_log"])
	for _, empty := range []string{"message", "sent_time", "last_error", "provider_message_id", "announcement_id"} {
		require.Contains(t, n, empty)
		require.Nil(t, n[empty])
	}
	notModified := func() int {
		read := a.get(path)
		return a.do(request{method: "GET", path: path, header: map[string]string{"If-None-Match": read.header.Get("ETag"), "Consistency-Token": a.latest()}}).status
	}
	require.Equal(t, http.StatusOK, notModified(), "PENDING")
	a.clock.advance(time.Hour)
	status("READY")
	require.Equal(t, http.StatusOK, notModified(), "READY")
	a.begin(id)
	status("SENDING")
	require.Equal(t, http.StatusNotModified, notModified())
	a.notify(commands.RecordFailure{Fact: events.SendingFailed{
		NotificationID: id, EventID: event, Attempt: 1, Class: "temporary", Error: "busy", NextAttempt: due.Add(time.Minute),
	}})
	n = status("READY")
	require.Equal(t, "2031-04-01T10:01:00Z", n["next_attempt_time"])
	require.Equal(t, "busy", n["last_error"])
	a.clock.advance(time.Minute)
	a.begin(id)
	a.sent(id, event, 2)
	n = status("SENT")
	require.Equal(t, "Hello Ann", n["message"])
	require.EqualValues(t, 2, n["attempts"])
	require.Equal(t, "2031-04-01T10:01:00Z", n["sent_time"])
	require.Equal(t, []any{
		object{"number": 1.0, "started_at": "2031-04-01T10:00:00Z", "provider": nil, "outcome": "failed", "error": "busy"},
		object{"number": 2.0, "started_at": "2031-04-01T10:01:00Z", "provider": nil, "outcome": "sent", "error": nil},
	}, n["attempt_log"])
	require.Equal(t, http.StatusNotModified, notModified())
	a.post(path+"/retry", nil).refused(http.StatusConflict, "notification_state")
	a.post(path+"/cancel", object{}).refused(http.StatusConflict, "notification_state")
}

func TestRetry(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	for name, fail := range map[string]func(id string){
		"given up": func(id string) {
			a.begin(id)
			a.gaveUp(id, event, 1, events.FailedRejected, "no such mailbox")
		},
		"given up after another": func(id string) {
			a.begin(id)
			a.notify(commands.RecordFailure{Fact: events.SendingFailed{NotificationID: id, EventID: event, Attempt: 1, Class: "temporary", Error: "busy", NextAttempt: a.clock.now()}})
			a.begin(id)
			a.gaveUp(id, event, 2, events.FailedExhausted, "")
		},
		"missed": func(id string) { a.gaveUp(id, event, 0, events.FailedMissed, "") },
		"missed in doubt": func(id string) {
			a.begin(id)
			a.notify(commands.RecordFailure{Fact: events.SendingFailed{NotificationID: id, EventID: event, Attempt: 1, Class: "unknown", Error: "cut off", NextAttempt: a.clock.now()}})
			a.gaveUp(id, event, 0, events.FailedMissed, "")
		},
		"outcome unknown": func(id string) {
			a.begin(id)
			a.gaveUp(id, event, 1, events.FailedOutcomeUnknown, "")
		},
		"taken over": func(id string) {
			a.begin(id)
			a.notify(commands.StartSending{NotificationID: id, Boot: "other", ForMillis: 1, Takeover: true})
			a.gaveUp(id, event, 2, events.FailedUnrenderable, "a template")
		},
		"bounced": func(id string) {
			a.begin(id)
			a.sent(id, event, 1)
			a.notify(commands.RecordReceipt{NotificationID: id, Receipt: aggregates.Receipt{News: aggregates.ReceiptBounced, Attempt: 1, Error: "mailbox full"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now()})
			fail(id)
			path := "/v1/notifications/" + id
			require.Equal(t, "FAILED", a.get(path).is(http.StatusOK)["status"])
			a.post(path+"/cancel", nil).refused(http.StatusConflict, "notification_state")
			require.Equal(t, "READY", a.post(path+"/retry", nil).is(http.StatusOK)["status"])
			a.post(path+"/retry", nil).refused(http.StatusConflict, "notification_state")
		})
	}
	id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now(), Expires: a.clock.now().Add(time.Minute)})
	a.gaveUp(id, event, 0, events.FailedMissed, "")
	a.clock.advance(time.Minute + time.Microsecond)
	a.post("/v1/notifications/"+id+"/retry", nil).refused(http.StatusConflict, "notification_expired")
	a.post("/v1/notifications/"+unknownID()+"/retry", nil).refused(http.StatusNotFound, "notification_not_found")
	a.do(request{method: "POST", path: "/v1/notifications/x/retry", wrong: true}).refused(http.StatusNotFound, "notification_not_found")
}

func TestRetryOnACancelledEvent(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	a.join(event, "ann")
	before := a.post("/v1/events/"+event+"/announcements", object{"message": "before"}).is(http.StatusAccepted)["id"].(string)
	a.post("/v1/events/"+event+"/cancel", object{"notify": "Sorry"}).is(http.StatusOK)
	items := a.items("/v1/events/" + event + "/history")
	own := items[len(items)-1].(object)["data"].(object)["announcement_id"].(string)
	after := a.post("/v1/events/"+event+"/announcements", object{"message": "after"}).is(http.StatusAccepted)["id"].(string)
	failed := func(f events.NotificationScheduled) string {
		f.EventID, f.ScheduledTime = event, a.clock.now()
		id := a.plan(f)
		a.gaveUp(id, event, 0, events.FailedMissed, "")
		return "/v1/notifications/" + id + "/retry"
	}
	a.post(failed(events.NotificationScheduled{}), nil).refused(http.StatusConflict, "event_cancelled")
	a.post(failed(events.NotificationScheduled{AnnouncementID: before}), nil).refused(http.StatusConflict, "event_cancelled")
	a.post(failed(events.NotificationScheduled{AnnouncementID: own}), nil).is(http.StatusOK)
	a.post(failed(events.NotificationScheduled{AnnouncementID: after}), nil).is(http.StatusOK)
}

func TestCancelANotification(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start.Add(time.Hour)})
	path := "/v1/notifications/" + id
	require.Equal(t, "CANCELLED", a.post(path+"/cancel", nil).is(http.StatusOK)["status"])
	facts := a.facts()
	require.Equal(t, "CANCELLED", a.post(path+"/cancel", nil).is(http.StatusOK)["status"])
	require.Equal(t, facts, a.facts())
	a.post(path+"/retry", nil).refused(http.StatusConflict, "notification_state")
	sending := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start})
	a.begin(sending)
	a.post("/v1/notifications/"+sending+"/cancel", nil).refused(http.StatusConflict, "notification_state")
	a.post("/v1/notifications/"+unknownID()+"/cancel", nil).refused(http.StatusNotFound, "notification_not_found")

	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+event).status)
	a.post(path+"/cancel", nil).refused(http.StatusNotFound, "notification_not_found")
	a.get(path).refused(http.StatusNotFound, "notification_not_found")
	require.Empty(t, a.items("/v1/notifications"))
}

func TestCancelAfterWhatever(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	failedOnce := func(id string) {
		a.begin(id)
		a.notify(commands.RecordFailure{Fact: events.SendingFailed{
			NotificationID: id, EventID: event, Attempt: 1, Class: "temporary", Error: "busy", NextAttempt: a.clock.now(),
		}})
	}
	wanted := events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now(), ParticipantID: unknownID(), ReminderID: unknownID()}
	again := func(id string) {
		wanted := wanted
		wanted.NotificationID = id
		a.plan(wanted)
	}
	for name, before := range map[string]func(id string){
		"an attempt that failed": failedOnce,
		"a claim given back": func(id string) {
			a.begin(id)
			a.notify(commands.CancelClaimed{NotificationID: id, Attempt: 1, Boot: boot, Reason: events.CancelledDeclined})
			again(id)
		},
		"an attempt, and wanted again": func(id string) {
			failedOnce(id)
			a.notify(commands.CancelNotification{NotificationID: id, Reason: events.CancelledDeclined})
			again(id)
		},
		"doubt, and a failure": func(id string) {
			a.begin(id)
			a.notify(commands.StartSending{NotificationID: id, Boot: "other", ForMillis: 1, Takeover: true})
			a.notify(commands.RecordFailure{Fact: events.SendingFailed{
				NotificationID: id, EventID: event, Attempt: 2, Class: "unknown", Error: "cut off", NextAttempt: a.clock.now(),
			}})
		},
		"a retry": func(id string) {
			failedOnce(id)
			a.gaveUp(id, event, 0, events.FailedExhausted, "")
			a.post("/v1/notifications/"+id+"/retry", nil).is(http.StatusOK)
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := a.plan(wanted)
			before(id)
			require.Equal(t, "CANCELLED", a.post("/v1/notifications/"+id+"/cancel", nil).is(http.StatusOK)["status"])
		})
	}
}

func TestListNotifications(t *testing.T) {
	a := newAPI(t)
	event, other := a.event(nil), a.event(nil)
	person := unknownID()
	late := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start.Add(2 * time.Hour), Channel: "sms"})
	soon := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start.Add(time.Hour), ParticipantID: person})
	now := a.plan(events.NotificationScheduled{EventID: other, ScheduledTime: start, AnnouncementID: unknownID()})
	for query, want := range map[string][]any{
		"":                                 {now, soon, late},
		"?status=PENDING":                  {soon, late},
		"?status=READY":                    {now},
		"?status=SENT":                     {},
		"?channel=sms":                     {late},
		"?channel=push":                    {},
		"?participant_id=" + person:        {soon},
		"?due_before=2031-04-01T10:00:00Z": {now},
		"?due_after=2031-04-01T10:00:00Z":  {late},
		"?due_after=2031-04-01T09:59:59Z&due_before=2031-04-01T10:00:01Z": {soon},
	} {
		items := a.items("/v1/notifications" + query)
		require.Equal(t, want, field(items, "id"), query)
		for _, i := range items {
			require.NotContains(t, i, "attempt_log")
		}
	}
	require.Equal(t, []any{soon, late}, field(a.items("/v1/events/"+event+"/notifications"), "id"))
	require.Equal(t, []any{late}, field(a.items("/v1/events/"+event+"/notifications?channel=sms"), "id"))
	a.get("/v1/events/"+unknownID()+"/notifications").refused(http.StatusNotFound, "event_not_found")
	for _, bad := range []string{"status=pending", "status=", "channel=pigeon", "participant_id=x", "due_before=x", "due_after=2031-04-01", "event_id=" + event} {
		a.do(request{method: "GET", path: "/v1/notifications?" + bad, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	}
}

func TestClearNotifications(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	sent := func() string {
		id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now()})
		a.begin(id)
		a.sent(id, event, 1)
		return id
	}
	old := sent()
	a.clock.advance(24 * time.Hour)
	newer := sent()
	waiting := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now().Add(time.Second)})
	a.clock.advance(29 * 24 * time.Hour)

	require.Equal(t, object{"removed": 0.0}, a.delete("/v1/notifications").is(http.StatusOK), "exactly 30 days are not longer")
	a.clock.advance(time.Microsecond)
	r := a.delete("/v1/notifications")
	require.Equal(t, object{"removed": 1.0}, r.is(http.StatusOK))
	require.NotEmpty(t, r.header.Get("Consistency-Token"))
	require.Equal(t, object{"removed": 0.0}, a.delete("/v1/notifications").is(http.StatusOK))
	a.get("/v1/notifications/"+old).refused(http.StatusNotFound, "notification_not_found")
	a.post("/v1/notifications/"+old+"/retry", nil).refused(http.StatusNotFound, "notification_not_found")
	require.Equal(t, []any{newer, waiting}, field(a.items("/v1/notifications"), "id"))
	require.Equal(t, object{"removed": 1.0}, a.delete("/v1/notifications?older_than_days=0").is(http.StatusOK))
	require.Equal(t, []any{waiting}, field(a.items("/v1/notifications"), "id"))
	// Any number is 0 or more, those too that no integer here holds, nor the document's validator.
	for _, long := range []string{"36526", "1000000", "99999999999999999999"} {
		r := a.do(request{method: "DELETE", path: "/v1/notifications?older_than_days=" + long, wrong: true})
		require.Equal(t, object{"removed": 0.0}, r.is(http.StatusOK))
	}
	for _, bad := range []string{"older_than_days=-1", "older_than_days=x", "older_than_days=1.5", "older_than_days=", "older_than_day=1", "older_than_days=1&older_than_days=1"} {
		a.do(request{method: "DELETE", path: "/v1/notifications?" + bad, wrong: true}).refused(http.StatusBadRequest, "bad_query")
	}
}
