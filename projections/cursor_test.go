package projections

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
)

func TestCursors(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.event(fmt.Sprint(i), meeting(fmt.Sprint(i)))
			w.event("0", guest("0", fmt.Sprintf("g%d", i)))
			w.notification(fmt.Sprintf("n%d", i), scheduled(fmt.Sprintf("n%d", i), "0", "g0", dawn))
			w.event("0", events.ReminderAdded{EventID: "0", ReminderID: fmt.Sprintf("r%d", i)})
		}
		m := w.shown(w.models(t))
		page := Page{Limit: 2}
		l, err := m.Events(bg, EventFilter{}, page)
		require.NoError(t, err)
		require.Len(t, l.Items, 2)
		page.Cursor = l.NextCursor
		l, err = m.Events(bg, EventFilter{}, Page{Limit: 3, Cursor: l.NextCursor})
		require.NoError(t, err)
		require.Len(t, l.Items, 3)
		require.Empty(t, l.NextCursor, "the last page says so, even when it is full")

		other := func(list func(Page) error) {
			t.Helper()
			require.ErrorIs(t, list(page), ErrCursor)
		}
		other(func(p Page) error { _, err := m.Events(bg, EventFilter{Tag: "x"}, p); return err })
		other(func(p Page) error { _, err := m.Events(bg, EventFilter{From: ptr(dawn)}, p); return err })
		other(func(p Page) error { _, err := m.Participants(bg, "0", ParticipantFilter{}, p); return err })
		other(func(p Page) error { _, err := m.Reminders(bg, "0", p); return err })
		other(func(p Page) error { _, err := m.Notifications(bg, NotificationFilter{}, p); return err })
		for _, bad := range []string{"?", "====", "bm90IGpzb24", base64.RawURLEncoding.EncodeToString([]byte(`{"f":1}`)), "e30"} {
			_, err := m.Events(bg, EventFilter{}, Page{Limit: 2, Cursor: bad})
			require.ErrorIs(t, err, ErrCursor, bad)
		}
		first, err := m.Participants(bg, "0", ParticipantFilter{}, Page{Limit: 2})
		require.NoError(t, err)
		_, err = m.Participants(bg, "1", ParticipantFilter{}, Page{Limit: 2, Cursor: first.NextCursor})
		require.ErrorIs(t, err, ErrCursor, "a list of another event is another list")

		require.Len(t, all(t, 2, func(p Page) (List[Reminder], error) { return m.Reminders(bg, "0", p) }), 5)
		require.Len(t, all(t, 1, func(p Page) (List[Notification], error) {
			return m.Notifications(bg, NotificationFilter{EventID: "0"}, p)
		}), 5, "the same time, parted by id")
		none, err := m.Reminders(bg, "1", Page{Limit: 5})
		require.NoError(t, err)
		require.NotNil(t, none.Items)
	})
}

// What is there from beginning to end comes exactly once, whatever comes and goes.
func TestPagingWhileItChanges(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		var stay []string
		add := func(i int, id string) {
			f := meeting(id)
			f.Times = events.TimesIn(dawn.Add(time.Duration(i%7)*time.Hour), dawn.Add(20*time.Hour), time.UTC)
			w.event(id, f)
		}
		for i := range 60 {
			id := fmt.Sprintf("stay%02d", i)
			stay = append(stay, id)
			add(i, id)
			add(i, fmt.Sprintf("go%02d", i))
		}
		m := w.shown(w.models(t))
		n := 0
		seen := map[string]int{}
		for _, e := range all(t, 7, func(p Page) (List[Event], error) {
			add(n, fmt.Sprintf("come%02d", n))
			w.event(fmt.Sprintf("go%02d", n), events.EventDeleted{EventID: fmt.Sprintf("go%02d", n)})
			w.shown(m)
			n++
			return m.Events(bg, EventFilter{}, p)
		}) {
			seen[e.ID]++
		}
		for id, n := range seen {
			require.Equal(t, 1, n, id)
		}
		for _, id := range stay {
			require.Contains(t, seen, id)
		}
	})
}
