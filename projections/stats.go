package projections

import (
	"context"
	"fmt"
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

// The kinds of tallies. They count rows, those of events that are gone too
// until they are swept, so that keeping them costs the same whatever happens.
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
		err = tx.row(ctx, "SELECT (SELECT count(*) FROM {notifications} WHERE status = 'PENDING' AND scheduled_time <= ?) -"+
			" (SELECT count(*) FROM {gone} g CROSS JOIN {notifications} n WHERE n.event_id = g.event_id AND n.status = 'PENDING' AND n.scheduled_time <= ?)",
			now, now).Scan(&pendingReady)
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
		}, "SELECT kind, name, n FROM {tallies} UNION ALL "+rowsOfGone)
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

// rowsOfGone are what tallies count of events that are gone.
const rowsOfGone = "SELECT 'response', p.response, -count(*) FROM {gone} g CROSS JOIN {participants} p WHERE p.event_id = g.event_id GROUP BY p.response" +
	" UNION ALL SELECT 'status', p.status, -count(*) FROM {gone} g CROSS JOIN {participants} p WHERE p.event_id = g.event_id GROUP BY p.status" +
	" UNION ALL SELECT 'notification_status', n.status, -count(*) FROM {gone} g CROSS JOIN {notifications} n WHERE n.event_id = g.event_id GROUP BY n.status" +
	" UNION ALL SELECT 'channel', n.channel, -count(*) FROM {gone} g CROSS JOIN {notifications} n WHERE n.event_id = g.event_id GROUP BY n.channel"

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
