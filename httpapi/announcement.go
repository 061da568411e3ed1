package httpapi

import (
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// announcement is what is answered once one was made; its notifications are
// made behind the answer.
type announcement struct {
	ID         string `json:"id"`
	EventID    string `json:"event_id"`
	Recipients int    `json:"recipients"`
}

func (s *server) postAnnouncement(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	f := aggregates.AnnouncementFields{
		Message:  plain(b, "message", asText),
		SendAt:   optional(b, "send_at", asTime),
		Channels: plain(b, "channels", asTexts),
	}
	audience := b.object("audience")
	f.Audience = events.Audience{
		Status:   plain(audience, "status", asTexts),
		Response: plain(audience, "response", asTexts),
	}
	audience.done()
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	eventID, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	id := s.o.Commands.NewID(by, "announcement")
	cmd := commands.Announce{EventID: eventID, AnnouncementID: id, Fields: f}
	return do(s, c, judged(b, cmd), by, func(e *aggregates.Event, _ time.Time) *answer {
		made, _ := e.Announcement(id) // just now
		return resource(http.StatusAccepted, announcement{id, e.ID, made.Size}, made.Made.Revision)
	})
}
