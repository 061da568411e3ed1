package projections

import (
	"context"
	"fmt"
	"strings"
)

// Counts are the numbers of GET /v1/stats; what belongs to an event that is gone doesn't count.
type Counts struct {
	Events        EventCounts        `json:"events"`
	Participants  ParticipantCounts  `json:"participants"`
	Notifications NotificationCounts `json:"notifications"`
}

// EventCounts has each event that isn't cancelled in one of Upcoming, Ongoing and Past.
type EventCounts struct {
	Total     int `json:"total"`
	Upcoming  int `json:"upcoming"`
	Ongoing   int `json:"ongoing"`
	Past      int `json:"past"`
	Cancelled int `json:"cancelled"`
}

// ParticipantCounts has every response and status.
type ParticipantCounts struct {
	Total      int            `json:"total"`
	ByResponse map[string]int `json:"by_response"`
	ByStatus   map[string]int `json:"by_status"`
}

// NotificationCounts has every status, and the channels that were used.
type NotificationCounts struct {
	Total     int            `json:"total"`
	ByStatus  map[string]int `json:"by_status"`
	ByChannel map[string]int `json:"by_channel"`
}

// The kinds of tallies. They count rows, those of events that are gone too until
// the sweep takes them all off at once: deleting an event costs the same whatever
// is on it, and whoever asks then doesn't count its rows each time.
const (
	byResponse           = "response"
	byStatus             = "status"
	byNotificationStatus = "notification_status"
	byChannel            = "channel"
)

// Counts counts what is there now.
func (m *Models) Counts(ctx context.Context) (Counts, error) {
	now := m.now()
	c := Counts{
		Participants: ParticipantCounts{
			ByResponse: map[string]int{needsAction: 0, accepted: 0, declined: 0, tentative: 0},
			ByStatus:   map[string]int{confirmed: 0, waitlisted: 0, released: 0},
		},
		Notifications: NotificationCounts{
			ByStatus:  map[string]int{pending: 0, ready: 0, sending: 0, sent: 0, delivered: 0, failedFor: 0, cancelled: 0},
			ByChannel: map[string]int{},
		},
	}
	counts := map[string]map[string]int{
		byResponse: c.Participants.ByResponse, byStatus: c.Participants.ByStatus,
		byNotificationStatus: c.Notifications.ByStatus, byChannel: c.Notifications.ByChannel,
	}
	err := m.snapshot(ctx, func(tx snapshot) error {
		err := tx.row(ctx, "SELECT count(*), count(CASE WHEN start_time > ? THEN 1 END), count(CASE WHEN end_time <= ? THEN 1 END)"+
			" FROM {events} WHERE status = 'scheduled'", now, now).Scan(&c.Events.Total, &c.Events.Upcoming, &c.Events.Past)
		if err != nil {
			return err
		}
		c.Events.Ongoing = c.Events.Total - c.Events.Upcoming - c.Events.Past
		err = tx.row(ctx, "SELECT count(*) FROM {events} WHERE status = 'cancelled'").Scan(&c.Events.Cancelled)
		if err != nil {
			return err
		}
		c.Events.Total += c.Events.Cancelled

		var pendingReady int
		there, err := tx.there(ctx)
		if err != nil {
			return err
		}
		err = tx.row(ctx, "SELECT count(*) FROM {notifications} n WHERE n.status = 'PENDING' AND n.scheduled_time <= ?"+there, now).Scan(&pendingReady)
		if err != nil {
			return err
		}
		err = tx.rows(ctx, func(row scanner) error {
			var kind, name string
			var n int
			err := row.Scan(&kind, &name, &n)
			if of := counts[kind]; of != nil {
				of[name] += n
			}
			return err
		}, "SELECT kind, name, n FROM {tallies} UNION ALL "+rowsOfGone(tallied))
		if err != nil {
			return err
		}
		for _, n := range c.Participants.ByStatus {
			c.Participants.Total += n
		}
		for channel, n := range c.Notifications.ByChannel {
			c.Notifications.Total += n
			if n == 0 {
				delete(c.Notifications.ByChannel, channel)
			}
		}
		c.Notifications.ByStatus[ready] = pendingReady
		c.Notifications.ByStatus[pending] -= pendingReady
		return nil
	})
	if err != nil {
		return Counts{}, fmt.Errorf("count: %w", err)
	}
	return c, nil
}

// tallied is of events that are gone and whose rows are in the tallies.
const tallied = "g.tallied = 1"

// rowsOfGone are, for each tally, what comes off it for the rows of the events
// that are gone and fulfil a condition, which is used four times.
func rowsOfGone(condition string) string {
	count := func(kind, table, column string) string {
		return "SELECT '" + kind + "' AS kind, r." + column + " AS name, -count(*) AS n FROM {gone} g CROSS JOIN " + table +
			" r WHERE r.event_id = g.event_id AND " + condition + " GROUP BY r." + column
	}
	return strings.Join([]string{
		count(byResponse, "{participants}", "response"), count(byStatus, "{participants}", "status"),
		count(byNotificationStatus, "{notifications}", "status"), count(byChannel, "{notifications}", "channel"),
	}, " UNION ALL ")
}

// there is the condition that leaves out notifications n of events that are gone:
// none, mostly, so that the index on the status is enough.
func (s snapshot) there(ctx context.Context) (condition string, err error) {
	var gone int
	err = s.row(ctx, "SELECT count(*) FROM {gone}").Scan(&gone)
	if gone > 0 {
		condition = " AND n.event_id NOT IN (SELECT event_id FROM {gone})"
	}
	return condition, err
}

// tally is one number of those kept.
type tally struct{ kind, name string }

// tally changes a number by n when the transaction ends.
func (w *writer) tally(kind, name string, n int) { w.tallies[tally{kind, name}] += n }

func (w *writer) writeTallies() error {
	var changed []change
	var fell bool
	for t, n := range w.tallies {
		if n != 0 {
			changed = append(changed, change{key: keyOf([]any{t.kind, t.name}), now: []any{t.kind, t.name, int64(n)}})
			fell = fell || n < 0
		}
	}
	sortByKey(changed)
	err := w.insertRows(talliesShape, changed, w.db.OnConflict("{tallies}", talliesShape.key(), "n = old.n + new.n"))
	if err == nil && fell {
		err = w.put("DELETE FROM {tallies} WHERE n = 0", "", "")
	}
	return err
}
