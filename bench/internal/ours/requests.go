package ours

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// EventBody is an event as people make them, in about 300 bytes of JSON.
func EventBody(start time.Time) Object {
	return Object{
		"title": "Bell-ringing course", "description": "Rounds and call changes, for beginners",
		"start_time": at(start), "end_time": at(start.Add(time.Hour)), "time_zone": "Europe/Vienna",
		"location": "The tower", "capacity": 100_000, "tags": []string{"course"},
	}
}

// ParticipantBody is the n-th participant.
func ParticipantBody(n int) Object {
	return Object{"user_id": fmt.Sprint("ringer-", n), "name": fmt.Sprint("Ringer ", n), "email": fmt.Sprintf("ringer-%d@example.org", n)}
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Schedule makes an event and gives its id.
func (s *Service) Schedule(ctx context.Context, start time.Time) (string, error) {
	var made struct {
		ID string `json:"id"`
	}
	err := s.Ask(ctx, http.StatusCreated, "POST", "/v1/events", EventBody(start), &made)
	return made.ID, err
}

// Register registers the n-th participant on an event.
func (s *Service) Register(ctx context.Context, event string, n int) error {
	return s.Ask(ctx, http.StatusCreated, "POST", "/v1/events/"+event+"/participants", ParticipantBody(n), nil)
}

// Remind adds a reminder to an event.
func (s *Service) Remind(ctx context.Context, event string, minutesBefore int) error {
	return s.Ask(ctx, http.StatusCreated, "POST", "/v1/events/"+event+"/reminders", Object{"minutes_before": minutesBefore}, nil)
}

// Notification is what the suites look at of a notification.
type Notification struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	Attempts  int       `json:"attempts"`
	Scheduled time.Time `json:"scheduled_time"`
	Sent      time.Time `json:"sent_time"`
}

// Notifications lists all notifications, page by page.
func (s *Service) Notifications(ctx context.Context) (all []Notification, err error) {
	for cursor := ""; ; {
		var page struct {
			Items []Notification `json:"items"`
			Next  string         `json:"next_cursor"`
		}
		path := "/v1/notifications?limit=200"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if err := s.Ask(ctx, http.StatusOK, "GET", path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}
