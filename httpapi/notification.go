package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

// notification is one on its own: its log is there even when it is empty.
type notification struct {
	projections.Notification
	AttemptLog []projections.Attempt `json:"attempt_log"`
}

func single(n projections.Notification) notification {
	log := n.AttemptLog
	if log == nil {
		log = []projections.Attempt{}
	}
	return notification{n, log}
}

// notificationResource is what the read model shows of n at now.
func notificationResource(n *aggregates.Notification, now time.Time) projections.Notification {
	r := projections.Notification{
		ID: n.ID, EventID: n.EventID, ParticipantID: n.ParticipantID,
		ReminderID: textOrNil(n.ReminderID), AnnouncementID: textOrNil(n.AnnouncementID),
		Channel: n.Channel, FallbackOf: textOrNil(n.FallbackOf), Status: string(n.Status), Message: textOrNil(n.Message),
		ScheduledTime: n.ScheduledTime, SentTime: timeOrNil(n.SentTime), NextAttemptTime: timeOrNil(n.NextAttempt),
		Attempts: n.Attempts, LastError: textOrNil(n.LastError), InDoubt: n.InDoubt,
		ProviderMessageID: textOrNil(n.ProviderMessageID), Revision: n.Changed.Revision,
	}
	if n.Status == aggregates.NotificationPending && !n.ScheduledTime.After(now) {
		r.Status = string(aggregates.NotificationReady)
	}
	for _, a := range n.Log {
		r.AttemptLog = append(r.AttemptLog, projections.Attempt{
			Number: a.Number, StartedAt: a.StartedAt, Provider: textOrNil(a.Provider), Outcome: a.Outcome, Error: textOrNil(a.Error),
		})
	}
	return r
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func seeNotification(n *aggregates.Notification, now time.Time) *answer {
	return resource(http.StatusOK, single(notificationResource(n, now)), n.Changed.Revision)
}

// notificationFilter reads what narrows a list of notifications.
func (s *server) notificationFilter(q *query) projections.NotificationFilter {
	f := projections.NotificationFilter{
		Status: q.oneOf("status", string(aggregates.NotificationPending), string(aggregates.NotificationReady),
			string(aggregates.NotificationSending), string(aggregates.NotificationSent), string(aggregates.NotificationDelivered),
			string(aggregates.NotificationFailed), string(aggregates.NotificationCancelled)),
		ParticipantID: q.uuid("participant_id"),
		DueBefore:     q.time("due_before"),
		DueAfter:      q.time("due_after"),
	}
	if len(s.o.Channels) > 0 {
		f.Channel = q.oneOf("channel", s.o.Channels...)
	} else {
		f.Channel = q.filter("channel")
	}
	return f
}

func (s *server) getEventNotifications(c *call) (*answer, error) {
	q := c.query()
	f, page := s.notificationFilter(q), q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	var ok bool
	if f.EventID, ok = c.uuid("id"); !ok {
		return nil, aggregates.ErrEventNotFound
	}
	return s.notifications(c, f, page)
}

func (s *server) getNotifications(c *call) (*answer, error) {
	q := c.query()
	f, page := s.notificationFilter(q), q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	return s.notifications(c, f, page)
}

func (s *server) notifications(c *call, f projections.NotificationFilter, page projections.Page) (*answer, error) {
	l, err := s.o.Models.Notifications(c.Context(), f, page)
	if err != nil {
		return nil, missing(err, aggregates.ErrEventNotFound)
	}
	return listed(l.Items, l.NextCursor), nil
}

func (s *server) getNotification(c *call) (*answer, error) {
	q := c.query()
	until := q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrNotificationNotFound
	}
	if until != nil {
		return s.notificationAsOf(c, id, *until)
	}
	n, err := s.o.Models.Notification(c.Context(), id)
	if err != nil {
		return nil, missing(err, aggregates.ErrNotificationNotFound)
	}
	a := resource(http.StatusOK, single(n), n.Revision)
	// One that waits becomes READY by the clock alone.
	a.volatile = n.Status == string(aggregates.NotificationPending) || n.Status == string(aggregates.NotificationReady)
	return a, nil
}

func (s *server) retryNotification(c *call) (*answer, error) {
	id, by, refusal, err := s.onNotification(c, true)
	if err != nil {
		return nil, err
	}
	return do(s, c, unless(refusal, commands.RetryNotification{NotificationID: id}), by, seeNotification)
}

func (s *server) cancelNotification(c *call) (*answer, error) {
	id, by, refusal, err := s.onNotification(c, false)
	if err != nil {
		return nil, err
	}
	return do(s, c, unless(refusal, commands.CancelNotificationByHand{NotificationID: id}), by, seeNotification)
}

// onNotification reads a request to one: refusal is what is to be said once its
// key was looked up. With again it would be sent again.
func (s *server) onNotification(c *call, again bool) (id string, by commands.Caller, refusal, err error) {
	b, err := c.optionalBody()
	if err != nil {
		return "", by, nil, err
	}
	if by, err = c.keyed(b); err != nil {
		return "", by, nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return "", by, nil, aggregates.ErrNotificationNotFound
	}
	if b.refusal != nil {
		return id, by, b.refusal, nil
	}
	refusal, err = s.refuseNotification(c, id, again)
	return id, by, refusal, err
}

// refuseNotification says what a notification's own stream doesn't know: that
// it is gone, cleared or with its event, or, where it would be sent again, that
// the event was cancelled behind it.
func (s *server) refuseNotification(c *call, id string, again bool) (refusal, err error) {
	eventID, err := known(c.Context(), s, func(ctx context.Context) (string, error) {
		return s.o.Models.EventOfNotification(ctx, id)
	})
	if errors.Is(err, projections.ErrNotFound) {
		return aggregates.ErrNotificationNotFound, nil
	}
	if err != nil {
		return nil, err
	}
	announcement, err := commands.View(c.Context(), s.o.Commands, commands.NotificationStream(id),
		func(n *aggregates.Notification, _ int64) string { return n.AnnouncementID })
	if err != nil {
		return nil, err
	}
	return commands.View(c.Context(), s.o.Commands, commands.EventStream(eventID), func(e *aggregates.Event, _ int64) error {
		made, announced := e.Announcement(announcement)
		switch {
		case !e.Exists():
			return aggregates.ErrNotificationNotFound
		case again && e.Status == aggregates.Cancelled && !(announced && made.Made.Revision > e.Cancelled.Revision):
			return aggregates.ErrEventCancelled
		}
		return nil
	})
}

// deleteNotifications clears what has been final for days, and answers once
// it is gone from the read models and has been counted.
func (s *server) deleteNotifications(c *call) (*answer, error) {
	q := c.query()
	days := q.days("older_than_days", 30)
	if err := q.end(); err != nil {
		return nil, err
	}
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	cmd := commands.ClearNotifications{Before: s.o.Now().UTC().AddDate(0, 0, -days)}
	got, err := commands.Do(c.Context(), s.o.Commands, cmd, by, func(*aggregates.Processor, time.Time) struct{} { return struct{}{} })
	if err != nil {
		return nil, err
	}
	removed := 0
	if got.Appended > 0 {
		if removed, err = s.cleared(c, got.Revision); err != nil {
			return nil, err
		}
	}
	a := ok(struct {
		Removed int `json:"removed"`
	}{removed})
	a.position = &got.Position
	return a, nil
}

// cleared tells how many notifications the clearing at a revision of the
// processor's stream removed. The answer to a command may have the position of
// a later fact, so the clearing's own is read.
func (s *server) cleared(c *call, revision int64) (int, error) {
	records, err := s.o.Store.ReadStream(c.Context(), commands.ProcessorStream, revision, 1)
	if err != nil {
		return 0, err
	}
	if len(records) == 0 {
		return 0, eventstore.ErrCorrupt
	}
	if err := s.await(c.Context(), records[0].Position); err != nil {
		return 0, err
	}
	return s.o.Models.Cleared(c.Context(), records[0].Position)
}
