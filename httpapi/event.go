package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

// eventResource is what the read model shows of e, as it is now.
func eventResource(e *aggregates.Event) projections.Event {
	r := projections.Event{
		ID: e.ID, Title: e.Title, Description: e.Description,
		StartTime: e.StartTime, EndTime: e.EndTime, TimeZone: e.TimeZone,
		Location: textOrNil(e.Location), CreatorID: e.CreatorID, Tags: texts(e.Tags), Status: e.Status,
		ParticipantCount: e.ParticipantCount(), Revision: e.Changed.Revision,
		CreatedAt: e.Created.At, UpdatedAt: e.Changed.At,
	}
	if e.Capacity > 0 {
		seats := e.Capacity
		r.Capacity = &seats
	}
	return r
}

// textOrNil shows text that isn't there as null.
func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// texts copies a list and shows none as an empty one.
func texts(list []string) []string { return append([]string{}, list...) }

func seeEvent(status int) func(*aggregates.Event, time.Time) *answer {
	return func(e *aggregates.Event, _ time.Time) *answer {
		return resource(status, eventResource(e), e.Changed.Revision)
	}
}

func (s *server) postEvent(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	f := aggregates.EventFields{
		Title:       plain(b, "title", asText),
		Description: plain(b, "description", asText),
		CreatorID:   c.actor,
		TimeZone:    "UTC",
		StartTime:   plain(b, "start_time", asTime),
		EndTime:     plain(b, "end_time", asTime),
		Location:    plain(b, "location", asText),
		Capacity:    optional(b, "capacity", asInteger),
		Tags:        plain(b, "tags", asTexts),
	}
	if creator := optional(b, "creator_id", asText); creator != nil {
		f.CreatorID = *creator
	}
	if zone := optional(b, "time_zone", asText); zone != nil {
		f.TimeZone = *zone
	}
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	id := s.o.Commands.NewID(by, "event")
	a, err := do(s, c, judged(b, commands.ScheduleEvent{EventID: id, Fields: f}), by, seeEvent(http.StatusCreated))
	if err != nil {
		return nil, err
	}
	a.location = "/v1/events/" + id
	return a, nil
}

func (s *server) getEvents(c *call) (*answer, error) {
	return s.again(c, func() (*answer, error) { return s.listEvents(c) })
}

func (s *server) listEvents(c *call) (*answer, error) {
	q := c.query()
	f := projections.EventFilter{
		CreatorID: q.filter("creator_id"),
		UserID:    q.filter("user_id"),
		Status:    q.oneOf("status", aggregates.Scheduled, aggregates.Cancelled),
		Tag:       q.filter("tag"),
		From:      q.time("from"),
		To:        q.time("to"),
	}
	f.Query = q.search("q")
	page := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	l, err := s.o.Models.Events(c.Context(), f, page)
	if err != nil {
		return nil, err
	}
	return listed(l.Items, l.NextCursor), nil
}

func (s *server) getEvent(c *call) (*answer, error) {
	q := c.query()
	until := q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	if until != nil {
		return eventAt(c, s, id, *until, func(e *aggregates.Event) (*answer, error) {
			return resource(http.StatusOK, eventResource(e), e.Changed.Revision), nil
		})
	}
	return s.again(c, func() (*answer, error) {
		e, err := s.o.Models.Event(c.Context(), id)
		if err != nil {
			return nil, missing(err, aggregates.ErrEventNotFound)
		}
		return resource(http.StatusOK, e, e.Revision), nil
	})
}

// missing says what wasn't found where a read model found nothing.
func missing(err error, what *aggregates.Refusal) error {
	if errors.Is(err, projections.ErrNotFound) {
		return what
	}
	return err
}

// eventExists asks the event's own stream, as the past that is about to be
// read comes from there too.
func (s *server) eventExists(c *call, id string) error {
	exists, err := commands.View(c.Context(), s.o.Commands, commands.EventStream(id),
		func(e *aggregates.Event, _ int64) bool { return e.Exists() })
	if err == nil && !exists {
		err = aggregates.ErrEventNotFound
	}
	return err
}

func (s *server) patchEvent(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	p := aggregates.EventPatch{
		Title:       patched(b, "title", asText),
		Description: patched(b, "description", asText),
		CreatorID:   patched(b, "creator_id", asText),
		StartTime:   patched(b, "start_time", asTime),
		EndTime:     patched(b, "end_time", asTime),
		TimeZone:    patched(b, "time_zone", asText),
		Location:    patched(b, "location", asText),
		Capacity:    patched(b, "capacity", asInteger),
		Tags:        patched(b, "tags", asTexts),
	}
	notify := optional(b, "notify", asText)
	if err := b.end(); err != nil {
		return nil, err
	}
	id, by, err := s.onEvent(c)
	if err != nil {
		return nil, err
	}
	cmd := commands.ChangeEvent{EventID: id, Patch: p, Notify: notify, AnnouncementID: s.o.Commands.NewID(by, "announcement")}
	return do(s, c, judged(b, cmd), by, seeEvent(http.StatusOK))
}

// onEvent gives the event in the path, and for whom a command without a key is done.
func (s *server) onEvent(c *call) (id string, by commands.Caller, err error) {
	id, ok := c.uuid("id")
	if !ok {
		return "", by, aggregates.ErrEventNotFound
	}
	by, err = c.caller()
	return id, by, err
}

func (s *server) cancelEvent(c *call) (*answer, error) {
	b, err := c.optionalBody()
	if err != nil {
		return nil, err
	}
	cmd := commands.CancelEvent{Reason: plain(b, "reason", asText), Notify: optional(b, "notify", asText)}
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	var ok bool
	if cmd.EventID, ok = c.uuid("id"); !ok {
		return nil, aggregates.ErrEventNotFound
	}
	cmd.AnnouncementID = s.o.Commands.NewID(by, "announcement")
	return do(s, c, judged(b, cmd), by, seeEvent(http.StatusOK))
}

func (s *server) deleteEvent(c *call) (*answer, error) {
	id, by, err := s.onEvent(c)
	if err != nil {
		return nil, err
	}
	return do(s, c, commands.DeleteEvent{EventID: id}, by, gone)
}

// past is a fact in a history.
type past struct {
	Type       string    `json:"type"`
	OccurredAt time.Time `json:"occurred_at"`
	Actor      string    `json:"actor"`
	Revision   int64     `json:"revision"`
	Data       any       `json:"data"`
}

func (s *server) getHistory(c *call) (*answer, error) {
	q := c.query()
	page := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	next, err := historyCursor(page.Cursor, id)
	if err != nil {
		return nil, err
	}
	if err := s.eventExists(c, id); err != nil {
		return nil, err
	}
	items := []past{}
	for {
		// One more tells whether there is a next page.
		want := page.Limit + 1 - len(items)
		entries, err := s.o.Commands.History(c.Context(), commands.EventStream(id), next, want)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			next = e.Record.Revision + 1
			if noted(e.Record) {
				continue
			}
			items = append(items, past{e.Record.Type, e.Metadata.OccurredAt, e.Metadata.Actor, e.Record.Revision, e.Fact})
		}
		if len(items) > page.Limit {
			items = items[:page.Limit]
			return listed(items, encodeHistoryCursor(id, items[len(items)-1].Revision+1)), nil
		}
		if len(entries) < want {
			return listed(items, ""), nil
		}
	}
}

// noted tells whether r only remembers a request: nothing happened.
func noted(r eventstore.Record) bool { return r.Type == events.RequestNoted{}.Name() }
