package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
)

func TestProcessor(t *testing.T) {
	a := newAPI(t)
	require.Equal(t, object{"state": "running", "check_interval_seconds": 30.0, "due": 0.0, "oldest_due_seconds": 0.0, "in_flight": 0.0},
		a.get("/v1/processor").is(http.StatusOK))
	require.Equal(t, "stopped", a.post("/v1/processor/stop", nil).is(http.StatusOK)["state"])
	started := a.post("/v1/processor/start", object{"check_interval_seconds": 3600}).is(http.StatusOK)
	require.Equal(t, "running", started["state"])
	require.EqualValues(t, 3600, started["check_interval_seconds"])
	facts := a.facts()
	require.EqualValues(t, 3600, a.post("/v1/processor/start", nil).is(http.StatusOK)["check_interval_seconds"])
	a.post("/v1/processor/start", object{"check_interval_seconds": nil}).is(http.StatusOK)
	require.Equal(t, facts, a.facts())
	a.post("/v1/processor/start", object{"check_interval_seconds": 1}).is(http.StatusOK)
	for _, bad := range []any{0, -1, 3601, 1e30} {
		r := a.do(request{method: "POST", path: "/v1/processor/start", body: object{"check_interval_seconds": bad}, wrong: true})
		require.Equal(t, []string{"check_interval_seconds out_of_range"}, r.faults(http.StatusUnprocessableEntity))
	}
	for _, bad := range []any{"30", 1.5, []int{1}} {
		r := a.do(request{method: "POST", path: "/v1/processor/start", body: object{"check_interval_seconds": bad}, wrong: true})
		require.Equal(t, []string{"check_interval_seconds wrong_type"}, r.faults(http.StatusBadRequest))
	}
}

func TestSendDue(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	a.processor.sendDue = httpapi.SendDueResult{Sent: 3, Failed: 2, StillDue: 1}
	require.Equal(t, object{"sent": 3.0, "failed": 2.0, "still_due": 1.0}, a.post("/v1/notifications/send-due", nil).is(http.StatusOK))
	a.do(request{method: "GET", path: "/v1/notifications/send-due", wrong: true}).refused(http.StatusMethodNotAllowed, "method_not_allowed")
}

func TestStats(t *testing.T) {
	a := newAPI(t)
	event := a.event(object{"capacity": 1})
	a.join(event, "ann")
	a.join(event, "bob")
	a.cancelledEvent()
	a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: start})
	a.processor.stats = httpapi.ProcessorStats{
		Conservation: httpapi.Conservation{Due: 4, Final: 3, InFlight: 1}, Overtaken: 1,
		Planner:  httpapi.PlannerStatus{Position: "7", LagSeconds: 0.5, Planning: []httpapi.Planning{{EventID: event, Done: 1, Total: 2}}},
		Channels: []httpapi.ChannelStatus{{Name: "email", Provider: "console", State: "ready"}},
	}
	s := a.get("/v1/stats").is(http.StatusOK)
	require.Equal(t, object{"total": 2.0, "upcoming": 1.0, "ongoing": 0.0, "past": 0.0, "cancelled": 1.0}, s["events"])
	require.Equal(t, object{"total": 2.0, "by_response": object{"needs_action": 2.0, "accepted": 0.0, "declined": 0.0, "tentative": 0.0},
		"by_status": object{"confirmed": 1.0, "waitlisted": 1.0, "released": 0.0}}, s["participants"])
	require.EqualValues(t, 1, s["notifications"].(object)["total"])
	require.EqualValues(t, 1, s["notifications"].(object)["by_status"].(object)["READY"])
	require.Equal(t, object{"email": 1.0}, s["notifications"].(object)["by_channel"])
	require.Equal(t, "running", s["processor"].(object)["state"])
	require.Equal(t, object{"due": 4.0, "final": 3.0, "in_flight": 1.0, "holes": 0.0}, s["conservation"])
	end, err := a.store.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, object{"position": end.String(), "events": float64(a.facts())}, s["store"])
	require.Equal(t, []any{
		object{"name": "read_models", "position": end.String(), "lag_seconds": 0.0},
		object{"name": "planner", "position": "7", "lag_seconds": 0.5},
	}, s["projections"])
	require.Equal(t, object{"position": "7", "lag_seconds": 0.5, "planning": []any{object{"event_id": event, "done": 1.0, "total": 2.0}}}, s["planner"])
	require.Equal(t, []any{object{"name": "email", "provider": "console", "state": "ready"}}, s["channels"])
	require.EqualValues(t, 1, s["overtaken"])
}

func TestHealth(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	a.get("/v1/events") // so that the read models have caught up
	open := a.as("")
	require.Equal(t, object{"status": "ok"}, open.peek("/healthz").is(http.StatusOK))
	require.Equal(t, object{"status": "ready"}, open.peek("/readyz").is(http.StatusOK))

	// A fact that can't be folded stops the read models.
	_, err := a.store.Append(t.Context(), "event-x", eventstore.NoStream, []eventstore.NewRecord{{Type: "FromTheFuture", Data: []byte("{}"), Metadata: []byte("{}")}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return open.peek("/readyz").status == http.StatusServiceUnavailable }, patience, 10*time.Millisecond)
	r := open.peek("/readyz")
	r.refused(http.StatusServiceUnavailable, "not_ready")
	require.Equal(t, "1", r.header.Get("Retry-After"))
	require.NotContains(t, string(r.body), "FromTheFuture")
	require.Equal(t, object{"status": "ok"}, open.peek("/healthz").is(http.StatusOK))

	require.NoError(t, a.store.Close())
	open.peek("/readyz").refused(http.StatusServiceUnavailable, "not_ready")
	open.peek("/healthz").is(http.StatusOK)
}

func TestANewerFactIsToldApart(t *testing.T) {
	a := newAPI(t)
	id := unknownID()
	_, err := a.store.Append(t.Context(), "event-"+id, eventstore.NoStream, []eventstore.NewRecord{{Type: "FromTheFuture", Data: []byte("{}"), Metadata: []byte("{}")}})
	require.NoError(t, err)
	a.patch("/v1/events/"+id, object{}).refused(http.StatusServiceUnavailable, "newer_fact")
	a.peek("/v1/events/"+id+"/history").refused(http.StatusServiceUnavailable, "newer_fact")
}

func TestNotReadyBeforeTheReadModelsAre(t *testing.T) {
	a := newAPI(t)
	a.event(nil)
	a.close()
	a.store, a.idle = a.store.Reopen(), true
	a.open()
	a.as("").peek("/readyz").refused(http.StatusServiceUnavailable, "not_ready")
	a.follow()
	require.Eventually(t, func() bool { return a.as("").peek("/readyz").status == http.StatusOK }, patience, 10*time.Millisecond)
}
