package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/projections"
)

// participantResource is what the read model shows of p on e, as it is now.
func participantResource(e *aggregates.Event, p *aggregates.Participant) projections.Participant {
	r := projections.Participant{
		ID: p.ID, EventID: e.ID, UserID: p.UserID, Name: p.Contact.Name, Email: p.Contact.Email,
		Phone: textOrNil(p.Contact.Phone), Channels: texts(p.Channels),
		TimeZone: textOrNil(p.TimeZone), Locale: textOrNil(p.Locale),
		Response: p.Response, OptedOut: p.OptedOut, Status: p.Status, Revision: p.Changed.Revision,
		CreatedAt: p.Registered.At, UpdatedAt: p.Changed.At,
	}
	if place := e.Place(p); place > 0 {
		r.WaitlistPosition = &place
	}
	return r
}

func seeParticipant(id string, status int) func(*aggregates.Event, time.Time) *answer {
	return func(e *aggregates.Event, _ time.Time) *answer {
		// It is there: the command just succeeded on it.
		p, _ := e.Participant(id)
		return resource(status, participantResource(e, p), p.Changed.Revision)
	}
}

func (s *server) postParticipant(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	contact := aggregates.ContactFields{
		UserID:    plain(b, "user_id", asText),
		Name:      plain(b, "name", asText),
		Email:     plain(b, "email", asText),
		Phone:     plain(b, "phone", asText),
		PushToken: plain(b, "push_token", asText),
		Channels:  plain(b, "channels", asTexts),
		TimeZone:  plain(b, "time_zone", asText),
		Locale:    plain(b, "locale", asText),
	}
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	eventID, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	id := s.o.Commands.NewID(by, "participant")
	cmd := commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: contact}
	a, err := do(s, c, judged(b, cmd), by, seeParticipant(id, http.StatusCreated))
	if err != nil {
		return nil, err
	}
	a.location = "/v1/participants/" + id
	return a, nil
}

func (s *server) getParticipants(c *call) (*answer, error) {
	q := c.query()
	f := projections.ParticipantFilter{
		Status: q.oneOf("status", aggregates.Confirmed, aggregates.Waitlisted, aggregates.Released),
	}
	f.Query = q.search("q")
	page, until := q.page(), q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrEventNotFound
	}
	if until != nil {
		return s.participantsAsOf(c, id, *until, f, page)
	}
	l, err := s.o.Models.Participants(c.Context(), id, f, page)
	if err != nil {
		return nil, missing(err, aggregates.ErrEventNotFound)
	}
	return listed(l.Items, l.NextCursor), nil
}

func (s *server) getParticipant(c *call) (*answer, error) {
	q := c.query()
	until := q.asOf()
	if err := q.end(); err != nil {
		return nil, err
	}
	id, ok := c.uuid("id")
	if !ok {
		return nil, aggregates.ErrParticipantNotFound
	}
	if until != nil {
		return s.participantAsOf(c, id, *until)
	}
	p, err := s.o.Models.Participant(c.Context(), id)
	if err != nil {
		return nil, missing(err, aggregates.ErrParticipantNotFound)
	}
	return resource(http.StatusOK, p, p.Revision), nil
}

// eventOf finds the event that the participant in the path is on: the stream
// in which commands for the participant are decided.
func (s *server) eventOf(c *call) (eventID, id string, err error) {
	id, ok := c.uuid("id")
	if !ok {
		return "", "", aggregates.ErrParticipantNotFound
	}
	eventID, err = known(c.Context(), s, func(ctx context.Context) (string, error) {
		return s.o.Models.EventOfParticipant(ctx, id)
	})
	return eventID, id, missing(err, aggregates.ErrParticipantNotFound)
}

// noSuchParticipant hides that it was the event which went: a participant of
// an event that was deleted a moment ago is not known as such any more.
func noSuchParticipant(err error) error {
	if errors.Is(err, aggregates.ErrEventNotFound) {
		return aggregates.ErrParticipantNotFound
	}
	return err
}

func (s *server) patchParticipant(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	p := aggregates.ContactPatch{
		Name:      patched(b, "name", asText),
		Email:     patched(b, "email", asText),
		Phone:     patched(b, "phone", asText),
		PushToken: patched(b, "push_token", asText),
		Channels:  patched(b, "channels", asTexts),
		TimeZone:  patched(b, "time_zone", asText),
		Locale:    patched(b, "locale", asText),
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	eventID, id, err := s.eventOf(c)
	if err != nil {
		return nil, err
	}
	cmd := commands.ChangeContact{EventID: eventID, ParticipantID: id, Patch: p}
	a, err := do(s, c, judged(b, cmd), by, seeParticipant(id, http.StatusOK))
	return a, noSuchParticipant(err)
}

func (s *server) deleteParticipant(c *call) (*answer, error) {
	by, err := c.caller()
	if err != nil {
		return nil, err
	}
	eventID, id, err := s.eventOf(c)
	if err != nil {
		return nil, err
	}
	a, err := do(s, c, commands.RemoveParticipant{EventID: eventID, ParticipantID: id}, by, gone)
	return a, noSuchParticipant(err)
}

func (s *server) postRSVP(c *call) (*answer, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	response := plain(b, "response", asText)
	by, err := c.keyed(b)
	if err != nil {
		return nil, err
	}
	eventID, id, err := s.eventOf(c)
	if errors.Is(err, aggregates.ErrParticipantNotFound) && by.Key != nil && id != "" {
		// It may be a repetition of a request to one who has gone since.
		if eventID, err = s.o.Models.FormerEventOfParticipant(c.Context(), id); errors.Is(err, projections.ErrNotFound) {
			err = aggregates.ErrParticipantNotFound
		}
	}
	if err != nil {
		return nil, err
	}
	cmd := commands.Respond{EventID: eventID, ParticipantID: id, Response: response}
	a, err := do(s, c, judged(b, cmd), by, seeParticipant(id, http.StatusOK))
	return a, noSuchParticipant(err)
}
