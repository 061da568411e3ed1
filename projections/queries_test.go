package projections

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

func TestEventsByFilter(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		add := func(id, creator string, from, to int, tags ...string) {
			f := meeting(id)
			f.CreatorID, f.Tags, f.Times = creator, tags, events.TimesIn(w.at(from), w.at(to), time.UTC)
			w.event(id, f)
		}
		add("a", "carl", 30, 60, "x", "y")
		add("b", "carl", 10, 20, "y")
		add("c", "dora", 10, 90)
		w.event("a", guest("a", "ann"))
		w.event("c", events.ParticipantRegistered{EventID: "c", ParticipantID: "ann2", UserID: "user-ann"})
		w.event("b", events.ParticipantRegistered{EventID: "b", ParticipantID: "ann3", UserID: "user-ann"},
			events.ParticipantRemoved{EventID: "b", ParticipantID: "ann3"})
		w.event("b", events.EventCancelled{EventID: "b"})
		m := w.shown(w.models(t))
		for name, tt := range map[string]struct {
			filter EventFilter
			want   []string
		}{
			"all, by start and id":  {EventFilter{}, []string{"b", "c", "a"}},
			"creator":               {EventFilter{CreatorID: "carl"}, []string{"b", "a"}},
			"user, not removed":     {EventFilter{UserID: "user-ann"}, []string{"c", "a"}},
			"cancelled":             {EventFilter{Status: "cancelled"}, []string{"b"}},
			"tag":                   {EventFilter{Tag: "y"}, []string{"b", "a"}},
			"tags are exact":        {EventFilter{Tag: "Y"}, []string{}},
			"from is excluded":      {EventFilter{From: ptr(w.at(60))}, []string{"c"}},
			"to is excluded":        {EventFilter{To: ptr(w.at(30))}, []string{"b", "c"}},
			"to, a nanosecond more": {EventFilter{To: ptr(w.at(30).Add(1))}, []string{"b", "c", "a"}},
			"within":                {EventFilter{From: ptr(w.at(40)), To: ptr(w.at(41))}, []string{"c", "a"}},
			"all together":          {EventFilter{CreatorID: "carl", UserID: "user-ann", Tag: "x", Query: "mee", Status: "scheduled"}, []string{"a"}},
		} {
			got := []string{}
			for _, e := range all(t, 1, func(p Page) (List[Event], error) { return m.Events(bg, tt.filter, p) }) {
				got = append(got, e.ID)
			}
			require.Equal(t, tt.want, got, name)
		}
	})
}

func TestJSONOfRows(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"), waiting("a", "ann"))
		w.notification("n", scheduled("n", "a", "ann", dawn.Add(time.Hour)))
		m := w.shown(w.models(t))
		e, err := m.Event(bg, "a")
		require.NoError(t, err)
		p, err := m.Participant(bg, "ann")
		require.NoError(t, err)
		n, err := m.Notification(bg, "n")
		require.NoError(t, err)
		require.NotNil(t, n.AttemptLog)
		got, err := json.Marshal([]any{e, p, n})
		require.NoError(t, err)
		require.JSONEq(t, `[
		{"id": "a", "title": "Meeting a", "description": "To talk", "start_time": "2031-05-06T17:00:00.123456Z",
		 "end_time": "2031-05-06T19:00:00.123456Z", "time_zone": "UTC", "location": null, "creator_id": "carl", "capacity": null,
		 "tags": [], "status": "scheduled", "participant_count": 1, "revision": 1,
		 "created_at": "2031-05-06T07:00:01.123456Z", "updated_at": "2031-05-06T07:00:01.123456Z"},
		{"id": "ann", "event_id": "a", "user_id": "user-ann", "name": "Guest ann", "email": "ann@example.org", "phone": null,
		 "channels": [], "time_zone": null, "locale": null, "response": "needs_action", "status": "waitlisted",
		 "waitlist_position": 1, "revision": 1, "created_at": "2031-05-06T07:00:01.123456Z", "updated_at": "2031-05-06T07:00:01.123456Z"},
		{"id": "n", "event_id": "a", "reminder_id": "r", "announcement_id": null, "participant_id": "ann", "channel": "email",
		 "status": "PENDING", "message": null, "scheduled_time": "2031-05-06T08:00:00.123456Z", "sent_time": null, "attempts": 0,
		 "last_error": null, "in_doubt": false, "provider_message_id": null, "revision": 0}]`, string(got))
	})
}

// A notification through its life, and what is due meanwhile.
func TestNotificationsInTime(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"), guest("a", "ann"))
		w.event("b", meeting("b"))
		due := w.now().Add(time.Hour)
		w.notification("n", scheduled("n", "a", "ann", due))
		w.notification("m", scheduled("m", "b", "bob", due.Add(time.Hour)))
		m := w.models(t)
		list := func(f NotificationFilter) []string {
			got := []string{}
			for _, n := range all(t, 1, func(p Page) (List[Notification], error) { return w.shown(m).Notifications(bg, f, p) }) {
				got = append(got, n.ID+" "+n.Status)
			}
			return got
		}
		duty := func() (int, time.Time, int) {
			n, oldest, sending, err := w.shown(m).Due(bg)
			require.NoError(t, err)
			return n, oldest, sending
		}
		isDuty := func(n int, oldest time.Time, sending int) {
			t.Helper()
			gotN, gotOldest, gotSending := duty()
			require.Equal(t, []any{n, oldest, sending}, []any{gotN, gotOldest, gotSending})
		}
		overdue := func(before time.Time) []string {
			got := []string{}
			l, err := w.shown(m).Overdue(bg, before, 10)
			require.NoError(t, err)
			for _, n := range l {
				got = append(got, n.ID)
			}
			return got
		}

		require.Equal(t, []string{"n PENDING", "m PENDING"}, list(NotificationFilter{}))
		require.Empty(t, list(NotificationFilter{Status: ready}))
		isDuty(0, time.Time{}, 0)

		w.clock.Store(due.UnixMicro())
		require.Equal(t, []string{"n READY", "m PENDING"}, list(NotificationFilter{}))
		require.Equal(t, []string{"n READY"}, list(NotificationFilter{Status: ready}))
		require.Equal(t, []string{"m PENDING"}, list(NotificationFilter{Status: pending}))
		isDuty(1, due, 0)
		require.Empty(t, overdue(due))
		require.Equal(t, []string{"n"}, overdue(due.Add(1)))
		c, err := m.Counts(bg)
		require.NoError(t, err)
		require.Equal(t, []int{1, 1}, []int{c.Notifications.ByStatus[ready], c.Notifications.ByStatus[pending]})

		w.notification("n", events.SendingStarted{NotificationID: "n", Attempt: 1})
		claimed := w.now()
		isDuty(0, time.Time{}, 1)
		require.Equal(t, []string{"n"}, overdue(claimed.Add(1)))
		require.Empty(t, overdue(claimed))

		next := w.now().Add(10 * time.Second)
		w.notification("n", events.SendingFailed{NotificationID: "n", Attempt: 1, Class: "temporary", Error: "busy", NextAttempt: next})
		require.Equal(t, []string{"n READY"}, list(NotificationFilter{Status: ready}))
		isDuty(0, time.Time{}, 0)
		require.Empty(t, overdue(next))
		w.pass(10 * time.Second)
		isDuty(1, next, 0)
		require.Equal(t, []string{"n"}, overdue(next.Add(1)))
		n, err := m.Notification(bg, "n")
		require.NoError(t, err)
		require.Equal(t, []any{next, "busy", 1}, []any{*n.NextAttemptTime, *n.LastError, n.Attempts})

		for name, tt := range map[string]struct {
			filter NotificationFilter
			want   []string
		}{
			"event":               {NotificationFilter{EventID: "b"}, []string{"m PENDING"}},
			"participant":         {NotificationFilter{ParticipantID: "ann"}, []string{"n READY"}},
			"channel":             {NotificationFilter{Channel: "sms"}, []string{}},
			"before excludes":     {NotificationFilter{DueBefore: ptr(due)}, []string{}},
			"before":              {NotificationFilter{DueBefore: ptr(due.Add(1))}, []string{"n READY"}},
			"after excludes":      {NotificationFilter{DueAfter: ptr(due)}, []string{"m PENDING"}},
			"an event and status": {NotificationFilter{EventID: "a", Status: sending}, []string{}},
		} {
			require.Equal(t, tt.want, list(tt.filter), name)
		}
		_, err = m.Notifications(bg, NotificationFilter{EventID: "unknown"}, Page{Limit: 5})
		require.ErrorIs(t, err, ErrNotFound)

		w.event("a", events.EventDeleted{EventID: "a"})
		isDuty(0, time.Time{}, 0)
		require.Empty(t, overdue(next.Add(1)))
		require.Equal(t, []string{"m PENDING"}, list(NotificationFilter{}))
	})
}

func TestSuppressions(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		since := map[string]time.Time{}
		suppress := func(id, kind, reason, provider string) {
			w.add("suppression-"+id, events.AddressSuppressed{SuppressionID: id, Kind: kind, To: id + "***", Reason: reason, Provider: provider})
			since[id] = w.now()
		}
		suppress("p1", "phone", events.SuppressedGone, "twilio")
		for _, id := range []string{"e3", "e2", "e1"} { // all at one time, so that the ids tell their order
			w.pass(-time.Second)
			suppress(id, "email", events.SuppressedGone, "smtp")
		}
		began := since["e2"]
		w.pass(time.Minute)
		suppress("e2", "email", events.SuppressedByHand, "")
		suppress("p2", "phone", events.SuppressedStop, "twilio")
		w.add("suppression-e3", events.AddressReleased{SuppressionID: "e3", Kind: "email", Reason: events.ReleasedByHand})
		m := w.shown(w.models(t))
		list := func(f SuppressionFilter, limit int) (got []string) {
			for cursor := ""; ; {
				l, err := m.Suppressions(bg, f, Page{Limit: limit, Cursor: cursor})
				require.NoError(t, err)
				for _, s := range l.Items {
					require.True(t, s.Suppressed)
					got = append(got, s.ID+" "+s.Reason)
				}
				if cursor = l.NextCursor; cursor == "" {
					return got
				}
			}
		}
		for limit := 1; limit < 6; limit++ {
			require.Equal(t, []string{"e1 gone", "e2 by_hand", "p1 gone", "p2 stop"}, list(SuppressionFilter{}, limit))
		}
		require.Equal(t, []string{"e1 gone", "e2 by_hand"}, list(SuppressionFilter{Kind: "email"}, 1))
		require.Equal(t, []string{"p2 stop"}, list(SuppressionFilter{Reason: "stop"}, 9))
		require.Equal(t, []string{"p1 gone", "p2 stop"}, list(SuppressionFilter{Provider: "twilio"}, 1))
		l, err := m.Suppressions(bg, SuppressionFilter{Reason: "by_hand"}, Page{})
		require.NoError(t, err)
		require.Equal(t, []Suppression{{ID: "e2", Kind: "email", To: "e2***", Suppressed: true, Reason: "by_hand", Since: began, Revision: 1}}, l.Items)
		first, err := m.Suppressions(bg, SuppressionFilter{}, Page{Limit: 1})
		require.NoError(t, err)
		_, err = m.Suppressions(bg, SuppressionFilter{Kind: "phone"}, Page{Cursor: first.NextCursor})
		require.ErrorIs(t, err, ErrCursor)
	})
}

func TestCleared(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		w.event("b", meeting("b"))
		end := func(id, event string) {
			w.notification(id, scheduled(id, event, "ann", dawn))
			w.notification(id, events.SendingStarted{NotificationID: id, Attempt: 1},
				events.NotificationCancelled{NotificationID: id, Reason: events.CancelledDeclined})
		}
		end("old", "a")
		end("gone", "b")
		w.event("b", events.EventDeleted{EventID: "b"})
		end("exact", "a")
		at := w.now()
		w.notification("open", scheduled("open", "a", "ann", dawn))
		clearing := w.add("processor", events.NotificationsCleared{Before: at})
		// Facts about what is no longer there are passed over.
		w.notification("old", events.NotificationRetried{NotificationID: "old"},
			events.SendingStarted{NotificationID: "old", Attempt: 2},
			events.NotificationSent{NotificationID: "old", Attempt: 2, SentTime: at})
		m := w.shown(w.models(t))
		removed, err := m.Cleared(bg, clearing)
		require.NoError(t, err)
		require.Equal(t, 1, removed, "what could not be seen was not removed")
		_, err = m.Cleared(bg, eventstore.Position{Commit: 1})
		require.ErrorIs(t, err, ErrNotFound)
		_, err = m.Notification(bg, "old")
		require.ErrorIs(t, err, ErrNotFound)
		for _, id := range []string{"exact", "open"} {
			_, err := m.Notification(bg, id)
			require.NoError(t, err)
		}

		w.notification("old", scheduled("old", "a", "ann", dawn))
		n, err := w.shown(m).Notification(bg, "old")
		require.NoError(t, err)
		require.Equal(t, ready, n.Status)
		require.Empty(t, n.AttemptLog)
		c, err := m.Counts(bg)
		require.NoError(t, err)
		require.Equal(t, 3, c.Notifications.Total)
	})
}

func TestNotFound(t *testing.T) {
	m := newWorld(t).models(t)
	for name, ask := range map[string]func() error{
		"event":               func() error { _, err := m.Event(bg, "x"); return err },
		"participant":         func() error { _, err := m.Participant(bg, "x"); return err },
		"notification":        func() error { _, err := m.Notification(bg, "x"); return err },
		"event, participant":  func() error { _, err := m.EventOfParticipant(bg, "x"); return err },
		"event, notification": func() error { _, err := m.EventOfNotification(bg, "x"); return err },
		"participants":        func() error { _, err := m.Participants(bg, "x", ParticipantFilter{}, Page{}); return err },
		"reminders":           func() error { _, err := m.Reminders(bg, "x", Page{}); return err },
	} {
		require.ErrorIs(t, ask(), ErrNotFound, name)
	}
}

func TestCountsInTime(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.event("a", meeting("a"))
		w.event("b", meeting("b"), events.EventCancelled{EventID: "b"})
		m := w.shown(w.models(t))
		for at, want := range map[time.Duration]EventCounts{
			10*time.Hour - time.Microsecond: {Total: 2, Upcoming: 1, Cancelled: 1},
			10 * time.Hour:                  {Total: 2, Ongoing: 1, Cancelled: 1},
			12*time.Hour - time.Microsecond: {Total: 2, Ongoing: 1, Cancelled: 1},
			12 * time.Hour:                  {Total: 2, Past: 1, Cancelled: 1},
		} {
			w.clock.Store(dawn.Add(at).UnixMicro())
			c, err := m.Counts(bg)
			require.NoError(t, err)
			require.Equal(t, want, c.Events)
		}
	})
}

func TestFormerEventOfParticipant(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		m := w.models(t)
		w.event("e", meeting("e"), guest("e", "ann"), guest("e", "bob"), events.ParticipantRemoved{EventID: "e", ParticipantID: "bob"})
		w.event("gone", meeting("gone"), guest("gone", "cat"), events.EventDeleted{EventID: "gone"})
		w.shown(m)
		for participant, event := range map[string]string{"ann": "e", "bob": "e", "cat": "gone"} {
			id, err := m.FormerEventOfParticipant(t.Context(), participant)
			require.NoError(t, err)
			require.Equal(t, event, id)
		}
		_, err := m.FormerEventOfParticipant(t.Context(), "nobody")
		require.ErrorIs(t, err, ErrNotFound)
	})
}
