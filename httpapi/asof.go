package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/projections"
)

var digits = regexp.MustCompile(`^[0-9]+$`)

// asOf gives the point in the past that is asked for; nil: the present.
func (q *query) asOf() *commands.Until {
	value, given := q.text("as_of")
	if !given {
		return nil
	}
	if digits.MatchString(value) {
		revision, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			revision = 1<<63 - 1 // as good as any that no stream has
		}
		return &commands.Until{Revision: &revision}
	}
	t, err := parseQueryTime(value)
	if err != nil {
		q.refuse("as_of", "bad_value", "must be a revision or a time in RFC 3339")
		return nil
	}
	return &commands.Until{Time: &t}
}

// eventAt shows an event as it stood at a point in its past. It is not
// there when it has been deleted since.
func eventAt(c *call, s *server, id string, until commands.Until, view func(*aggregates.Event) (*answer, error)) (*answer, error) {
	if err := s.eventExists(c, id); err != nil {
		return nil, err
	}
	return seePast(c, s, commands.EventStream(id), until, aggregates.ErrEventNotFound, errBeyondEnd, func(e *aggregates.Event, _ int64) (*answer, error) {
		return view(e)
	})
}

// seePast answers from a stream as it stood; missing says that it didn't yet,
// and beyond that it has no such revision.
func seePast[T any, S commands.State[T]](c *call, s *server, stream string, until commands.Until, missing, beyond error, view func(S, int64) (*answer, error)) (*answer, error) {
	type seen struct {
		*answer
		err error
	}
	got, err := commands.At[T, S](c.Context(), s.o.Commands, stream, until, func(state S, last int64) seen {
		a, err := view(state, last)
		return seen{a, err}
	})
	switch {
	case errors.Is(err, commands.ErrBeyondEnd):
		return nil, beyond
	case errors.Is(err, commands.ErrBeforeStart):
		return nil, missing
	case err != nil:
		return nil, err
	}
	return got.answer, got.err
}

func (s *server) participantAsOf(c *call, id string, until commands.Until) (*answer, error) {
	eventID, err := s.o.Models.FormerEventOfParticipant(c.Context(), id) // it may have been removed since
	if err != nil {
		return nil, missing(err, aggregates.ErrParticipantNotFound)
	}
	a, err := eventAt(c, s, eventID, until, func(e *aggregates.Event) (*answer, error) {
		p, ok := e.Participant(id)
		if !ok {
			return nil, aggregates.ErrParticipantNotFound
		}
		return resource(http.StatusOK, participantResource(e, p), p.Changed.Revision), nil
	})
	return a, noSuchParticipant(err)
}

func (s *server) participantsAsOf(c *call, eventID string, until commands.Until, f projections.ParticipantFilter, page projections.Page) (*answer, error) {
	after, err := pastCursor(page.Cursor, eventID, until, f)
	if err != nil {
		return nil, err
	}
	return eventAt(c, s, eventID, until, func(e *aggregates.Event) (*answer, error) {
		all, key := e.ParticipantsFrom(int(after)+1), func(p *aggregates.Participant) int64 { return int64(p.Ordinal) }
		if f.Status == aggregates.Waitlisted {
			all, key = e.Line(after), func(p *aggregates.Participant) int64 { return p.Line }
		}
		items, last := []projections.Participant{}, int64(0)
		for p := range all {
			if f.Status != "" && p.Status != f.Status || !projections.Matches(f.Query, p.Contact.Name, p.Contact.Email) {
				continue
			}
			if len(items) == page.Limit {
				return listed(items, encodePastCursor(eventID, until, f, last)), nil
			}
			items, last = append(items, participantResource(e, p)), key(p)
		}
		return listed(items, ""), nil
	})
}

func (s *server) remindersAsOf(c *call, eventID string, until commands.Until, page projections.Page) (*answer, error) {
	after, err := pastCursor(page.Cursor, eventID, until, "reminders")
	if err != nil {
		return nil, err
	}
	return eventAt(c, s, eventID, until, func(e *aggregates.Event) (*answer, error) {
		items := []projections.Reminder{}
		for _, r := range e.Reminders {
			if r.Added.Revision <= after {
				continue
			}
			if len(items) == page.Limit {
				return listed(items, encodePastCursor(eventID, until, "reminders", items[len(items)-1].Revision)), nil
			}
			items = append(items, reminderResource(eventID, r))
		}
		return listed(items, ""), nil
	})
}

// notificationAsOf has the revisions of the notification's own stream. READY it
// was when it was due at the time asked for, or that of the fact at the revision.
func (s *server) notificationAsOf(c *call, id string, until commands.Until) (*answer, error) {
	eventID, err := s.o.Models.EventOfNotification(c.Context(), id)
	if err != nil {
		return nil, missing(err, aggregates.ErrNotificationNotFound)
	}
	if err := s.eventExists(c, eventID); errors.Is(err, aggregates.ErrEventNotFound) {
		return nil, aggregates.ErrNotificationNotFound
	} else if err != nil {
		return nil, err
	}
	return seePast(c, s, commands.NotificationStream(id), until, aggregates.ErrNotificationNotFound, errNoSuchRevision,
		func(n *aggregates.Notification, _ int64) (*answer, error) {
			now := n.Changed.At
			if until.Time != nil {
				now = earlier(*until.Time, s.o.Now())
			}
			return resource(http.StatusOK, single(notificationResource(n, now)), n.Changed.Revision), nil
		})
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// pastPlace is where a page of a list in the past ends.
type pastPlace struct {
	List string `json:"l"` // digest of what is listed
	Key  int64  `json:"k"`
}

func pastList(eventID string, until commands.Until, filter any) string {
	data, err := json.Marshal([]any{eventID, until, filter})
	if err != nil {
		panic(err) // it is plain data
	}
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func encodePastCursor(eventID string, until commands.Until, filter any, key int64) string {
	data, err := json.Marshal(pastPlace{pastList(eventID, until, filter), key})
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// pastCursor gives the key behind which a page begins; -1 is before all.
func pastCursor(cursor, eventID string, until commands.Until, filter any) (int64, error) {
	if cursor == "" {
		return -1, nil
	}
	var p pastPlace
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(data, &p) != nil || p.List != pastList(eventID, until, filter) || p.Key < 0 || p.Key > 1<<31 {
		return 0, errBadCursor
	}
	return p.Key, nil
}
