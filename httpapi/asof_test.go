package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
)

// story makes a history of one event and a notification, on a log of its own.
type story struct {
	*rapid.T
	h     *commands.Handler
	event string
	who   []string
	rules []string
	clock *clock
}

func (s *story) does(cmd commands.Command[*aggregates.Event]) {
	_, err := commands.Do(context.Background(), s.h, cmd, commands.Caller{Actor: "ann"}, func(*aggregates.Event, time.Time) int { return 0 })
	var refusal *aggregates.Refusal
	var invalid *aggregates.Invalid
	require.True(s, err == nil || errors.As(err, &refusal) || errors.As(err, &invalid), "%v", err)
	s.clock.advance(time.Second)
}

func (s *story) somebody() string { return rapid.SampledFrom(s.who).Draw(s.T, "who") }

func (s *story) goesOn() {
	patch := func(p aggregates.EventPatch) { s.does(commands.ChangeEvent{EventID: s.event, Patch: p}) }
	switch rapid.IntRange(0, 11).Draw(s.T, "what") {
	case 0:
		patch(aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: rapid.SampledFrom([]string{"One", "Two"}).Draw(s.T, "title")}})
	case 1:
		patch(aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: rapid.IntRange(1, 4).Draw(s.T, "seats")}})
	case 2:
		id, minutes := uuid.NewString(), rapid.IntRange(0, 500).Draw(s.T, "minutes")
		s.rules = append(s.rules, id)
		s.does(commands.AddReminder{EventID: s.event, ReminderID: id, Fields: aggregates.ReminderFields{MinutesBefore: &minutes}})
	case 3:
		s.does(commands.RemoveReminder{EventID: s.event, ReminderID: rapid.SampledFrom(append(s.rules, uuid.NewString())).Draw(s.T, "reminder")})
	case 4:
		s.does(commands.Respond{EventID: s.event, ParticipantID: s.somebody(), Response: "declined"})
	case 5:
		s.does(commands.Respond{EventID: s.event, ParticipantID: s.somebody(), Response: "accepted"})
	case 6:
		s.does(commands.RemoveParticipant{EventID: s.event, ParticipantID: s.somebody()})
	case 7:
		name := rapid.SampledFrom([]string{"Zoé", "Ann Lee"}).Draw(s.T, "name")
		s.does(commands.ChangeContact{EventID: s.event, ParticipantID: s.somebody(), Patch: aggregates.ContactPatch{Name: aggregates.Patch[string]{Given: true, Value: name}}})
	default:
		id := uuid.NewString()
		s.who = append(s.who, id)
		name := fmt.Sprint(rapid.SampledFrom([]string{"Ann", "Bob"}).Draw(s.T, "first"), len(s.who))
		s.does(commands.RegisterParticipant{EventID: s.event, ParticipantID: id, Contact: aggregates.ContactFields{UserID: name, Name: name, Email: name + "@example.org"}})
	}
}

// shownAt is what was read when the log was so long.
type shownAt struct {
	path, asOf string
	status     int
	etag       string
	items      []any // of a list, in all pages
	body       string
}

func withQuery(path, name, value string) string {
	if strings.Contains(path, "?") {
		return path + "&" + name + "=" + url.QueryEscape(value)
	}
	return path + "?" + name + "=" + url.QueryEscape(value)
}

func (a *api) shown(t require.TestingT, path string, list bool) (s shownAt) {
	if !list {
		r := a.get(path)
		return shownAt{status: r.status, etag: r.header.Get("ETag"), body: string(r.body)}
	}
	s.status = http.StatusOK
	for next := path; next != ""; {
		page := a.get(next).is(http.StatusOK)
		s.items = append(s.items, page["items"].([]any)...)
		cursor, more := page["next_cursor"].(string)
		if next = ""; more {
			next = withQuery(path, "cursor", cursor)
		}
	}
	return s
}

// At each revision, as_of shows what the read models showed when the log was that long.
func TestAsOfIsWhatWasShown(t *testing.T) {
	a := newAPI(t)
	rapid.Check(t, func(r *rapid.T) {
		log := memstore.New()
		log.Now = a.clock.now
		h := commands.NewHandler(commands.Options{Store: log, Keys: a.ring, Now: a.clock.now, Channels: channelKinds})
		s := &story{T: r, h: h, event: uuid.NewString(), who: []string{uuid.NewString()}, clock: a.clock}
		seats := rapid.IntRange(1, 3).Draw(r, "capacity")
		s.does(commands.ScheduleEvent{EventID: s.event, Fields: aggregates.EventFields{
			Title: "Title", Description: "Text", CreatorID: "ann", TimeZone: "UTC", Capacity: &seats,
			StartTime: start.Add(1000 * time.Hour), EndTime: start.Add(1001 * time.Hour),
		}})
		for range rapid.IntRange(1, 7).Draw(r, "length") {
			s.goesOn()
		}
		h.Close()
		base := "/v1/events/" + s.event
		lists := []string{base + "/reminders?limit=1", base + "/participants?limit=2",
			base + "/participants?limit=1&status=" + rapid.SampledFrom([]string{"waitlisted", "confirmed", "released"}).Draw(r, "status"),
			base + "/participants?limit=1&q=" + url.QueryEscape(rapid.SampledFrom([]string{"an", "zoe", "lee ann", "example.org", "ann1@example.org"}).Draw(r, "q"))}
		singles := []string{base}
		for _, id := range s.who {
			singles = append(singles, "/v1/participants/"+id)
		}

		records, err := log.ReadStream(context.Background(), "event-"+s.event, 0, 1000)
		require.NoError(r, err)
		var all []shownAt
		for _, one := range records {
			_, err := a.store.Append(context.Background(), one.Stream, one.Revision-1, []eventstore.NewRecord{{ID: one.ID, Type: one.Type, Data: one.Data, Metadata: one.Metadata}})
			require.NoError(r, err)
			note := func(path string, list bool) {
				was := a.shown(r, path, list)
				was.path, was.asOf = path, fmt.Sprint(one.Revision)
				all = append(all, was)
			}
			for _, path := range lists {
				note(path, true)
			}
			for _, path := range singles {
				note(path, false)
			}
		}
		for _, was := range all {
			got := a.shown(r, withQuery(was.path, "as_of", was.asOf), was.items != nil || strings.Contains(was.path, "limit"))
			require.Equal(r, was.status, got.status, "%s at %s: %s", was.path, was.asOf, got.body)
			if was.status != http.StatusNotFound {
				was.path, was.asOf = "", ""
				require.Equal(r, was, got)
			}
		}
	})
}

func TestParticipantsAndRemindersAsOf(t *testing.T) {
	a := newAPI(t)
	id := a.event(nil)
	before := a.clock.now()
	a.clock.advance(time.Hour)
	ann := a.join(id, "ann") // revision 1
	a.clock.advance(time.Hour)
	bob := a.join(id, "bob")
	reminder := a.post("/v1/events/"+id+"/reminders", object{}).is(http.StatusCreated)["id"].(string) // 3
	a.clock.advance(time.Hour)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/participants/"+ann).status)
	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+id+"/reminders/"+reminder).status)
	at := func(path string, when any) *reply {
		if moment, ok := when.(time.Time); ok {
			when = moment.Format(time.RFC3339Nano)
		}
		return a.get(withQuery(path, "as_of", fmt.Sprint(when)))
	}

	p := at("/v1/participants/"+ann, 3)
	require.Equal(t, "Ann", p.is(http.StatusOK)["name"], "who was removed since")
	require.Equal(t, `"1"`, p.header.Get("ETag"))
	at("/v1/participants/"+ann, 4).refused(http.StatusNotFound, "participant_not_found")
	at("/v1/participants/"+ann, 0).refused(http.StatusNotFound, "participant_not_found")
	at("/v1/participants/"+ann, before.Add(time.Hour)).is(http.StatusOK) // inclusive
	at("/v1/participants/"+ann, before.Add(time.Hour-time.Microsecond)).refused(http.StatusNotFound, "participant_not_found")
	at("/v1/participants/"+ann, before.Add(-time.Hour)).refused(http.StatusNotFound, "participant_not_found")
	at("/v1/participants/"+bob, 99).refused(http.StatusBadRequest, "revision_beyond_end")
	at("/v1/participants/"+unknownID(), 0).refused(http.StatusNotFound, "participant_not_found")
	at("/v1/participants/"+bob, "soon").refused(http.StatusBadRequest, "bad_query")
	matched := a.do(request{method: "GET", path: "/v1/participants/" + ann + "?as_of=3", header: map[string]string{"If-None-Match": `"1"`}})
	require.Equal(t, http.StatusNotModified, matched.status)

	list := "/v1/events/" + id + "/participants"
	require.Len(t, at(list, 3).is(http.StatusOK)["items"], 2)
	require.Len(t, at(list, 1).is(http.StatusOK)["items"], 1)
	require.Empty(t, at(list, 0).is(http.StatusOK)["items"])
	at(list, 99).refused(http.StatusBadRequest, "revision_beyond_end")
	at(list, before.Add(-time.Hour)).refused(http.StatusNotFound, "event_not_found")
	cursor := at(list+"?limit=1", 3).is(http.StatusOK)["next_cursor"].(string)
	require.Len(t, at(list+"?cursor="+cursor, 3).is(http.StatusOK)["items"], 1)
	at(list+"?cursor="+cursor, 2).refused(http.StatusBadRequest, "bad_cursor")
	at(list+"?status=confirmed&cursor="+cursor, 3).refused(http.StatusBadRequest, "bad_cursor")
	a.get(list+"?cursor="+cursor).refused(http.StatusBadRequest, "bad_cursor")

	rules := "/v1/events/" + id + "/reminders"
	require.Len(t, at(rules, 3).is(http.StatusOK)["items"], 1)
	require.Empty(t, at(rules, 2).is(http.StatusOK)["items"])
	require.EqualValues(t, 60, at(rules+"/"+reminder, 3).is(http.StatusOK)["minutes_before"])
	at(rules+"/"+reminder, 2).refused(http.StatusNotFound, "reminder_not_found")

	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+id).status)
	at("/v1/participants/"+bob, 3).refused(http.StatusNotFound, "participant_not_found")
	at(list, 3).refused(http.StatusNotFound, "event_not_found")
	at(rules, 3).refused(http.StatusNotFound, "event_not_found")
	at(rules+"/"+reminder, 3).refused(http.StatusNotFound, "event_not_found")
}

func TestNotificationAsOf(t *testing.T) {
	a := newAPI(t)
	event := a.event(nil)
	due := a.clock.now().Add(time.Hour)
	id := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: due})
	a.clock.advance(30 * time.Minute)
	cancelled := a.clock.now()
	a.post("/v1/notifications/"+id+"/cancel", nil).is(http.StatusOK)
	a.clock.advance(2 * time.Hour)
	path := "/v1/notifications/" + id
	at := func(when string) *reply { return a.get(withQuery(path, "as_of", when)) }
	require.Equal(t, "PENDING", at("0").is(http.StatusOK)["status"])
	require.Equal(t, `"0"`, at("0").header.Get("ETag"))
	require.Equal(t, "CANCELLED", at("1").is(http.StatusOK)["status"])
	require.Equal(t, a.get(path).body, at("1").body)
	require.Equal(t, "CANCELLED", at(cancelled.Format(time.RFC3339Nano)).is(http.StatusOK)["status"])
	require.Equal(t, "PENDING", at(cancelled.Add(-time.Microsecond).Format(time.RFC3339Nano)).is(http.StatusOK)["status"])
	at("2").refused(http.StatusBadRequest, "revision_beyond_end")
	at("2001-01-01T00:00:00Z").refused(http.StatusNotFound, "notification_not_found")
	a.get("/v1/notifications/"+unknownID()+"?as_of=0").refused(http.StatusNotFound, "notification_not_found")

	other := a.plan(events.NotificationScheduled{EventID: event, ScheduledTime: a.clock.now().Add(time.Hour)})
	a.clock.advance(2 * time.Hour)
	now := a.clock.now().Format(time.RFC3339Nano)
	require.Equal(t, "READY", a.get("/v1/notifications/" + other + "?as_of=" + url.QueryEscape(now)).is(http.StatusOK)["status"], "it was due then")
	require.Equal(t, http.StatusNoContent, a.delete("/v1/events/"+event).status)
	at("0").refused(http.StatusNotFound, "notification_not_found")
}
