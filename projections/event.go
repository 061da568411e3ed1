package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/events"
)

// eventRow is a row of events.
type eventRow struct {
	id, title, description, timeZone, location, creatorID, tags, status                 string
	start, end, creatorHash, capacity, participants, revision, created, updated, number int64
}

func (r *eventRow) fields() []any {
	return []any{&r.id, &r.title, &r.description, &r.start, &r.end, &r.timeZone, &r.location, &r.creatorID, &r.creatorHash,
		&r.capacity, &r.tags, &r.status, &r.participants, &r.revision, &r.created, &r.updated, &r.number}
}

// eventColumns are those of an eventRow, of the table e.
var eventColumns = "e." + strings.Join(eventsShape.columns, ", e.")

func scanEvent(row scanner) (Event, error) {
	var r eventRow
	if err := row.Scan(r.fields()...); err != nil {
		return Event{}, err
	}
	e := Event{
		ID: r.id, Title: r.title, Description: r.description, StartTime: timeOf(r.start), EndTime: timeOf(r.end), TimeZone: r.timeZone,
		Location: textOrNil(r.location), CreatorID: r.creatorID, Status: r.status, ParticipantCount: int(r.participants),
		Revision: r.revision, CreatedAt: timeOf(r.created), UpdatedAt: timeOf(r.updated),
	}
	if r.capacity > 0 {
		capacity := int(r.capacity)
		e.Capacity = &capacity
	}
	var err error
	e.Tags, err = texts(r.tags)
	return e, err
}

// Event returns an event, or ErrNotFound.
func (m *Models) Event(ctx context.Context, id string) (Event, error) {
	e, err := scanEvent(m.row(ctx, "SELECT "+eventColumns+" FROM {events} e WHERE e.id = ?", id))
	return e, found(err, "event", id)
}

// EventFilter narrows Events; what is empty narrows nothing.
type EventFilter struct {
	CreatorID string
	UserID    string // of a participant
	Status    string
	Tag       string
	Query     string     // Searchable; each of its words must begin a word of the title, description or location
	From, To  *time.Time // the event overlaps the time between
}

// Events lists events by start, then id.
func (m *Models) Events(ctx context.Context, f EventFilter, p Page) (List[Event], error) {
	after, err := p.after("events", f)
	if err != nil {
		return List[Event]{}, err
	}
	var w where
	if f.CreatorID != "" {
		w.and("e.creator_hash = ? AND e.creator_id = ?", hash(f.CreatorID), f.CreatorID)
	}
	w.equal("e.status", f.Status)
	if f.UserID != "" {
		w.and("e.id IN (SELECT event_id FROM {participants} WHERE user_hash = ? AND user_id = ?)", hash(f.UserID), f.UserID)
	}
	if f.Tag != "" {
		w.and("e.number IN (SELECT event FROM {event_tags} WHERE tag = ?)", f.Tag)
	}
	if f.From != nil {
		w.and("e.end_time > ?", f.From.UnixMicro())
	}
	if f.To != nil {
		w.and("e.start_time < ?", ceilMicro(*f.To))
	}
	w.words("e.number", eventScope, f.Query)
	if after != nil {
		w.after(m.db, "e.start_time", "e.id", after)
	}
	out := newList[Event]()
	err = m.rows(ctx, func(row scanner) error {
		e, err := scanEvent(row)
		out.Items = append(out.Items, e)
		return err
	}, "SELECT "+eventColumns+" FROM {events} e"+w.sql()+" ORDER BY e.start_time, e.id LIMIT ?", w.with(p.fetch())...)
	if err != nil {
		return List[Event]{}, fmt.Errorf("list events: %w", err)
	}
	return out.cut(p, "events", f, func(e Event) key { return key{e.StartTime.UnixMicro(), e.ID} }), nil
}

// ceilMicro is t in microseconds, rounded up.
func ceilMicro(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

func (w *writer) eventScheduled(f fact, e events.EventScheduled) error {
	w.changeTags(f.number, nil, e.Tags)
	w.changeWords(eventScope, f.number, nil, eventWords(e.Title, e.Location, e.Description))
	return w.events.insert(e.EventID, &eventRow{
		id: e.EventID, title: e.Title, description: e.Description, start: e.StartTime.UnixMicro(), end: e.EndTime.UnixMicro(),
		timeZone: e.TimeZone, location: e.Location, creatorID: e.CreatorID, creatorHash: hash(e.CreatorID), capacity: int64(e.Capacity),
		tags: list(e.Tags), status: "scheduled", revision: f.Revision, created: f.at, updated: f.at,
		number: f.number,
	})
}

// changeEvent changes an event's row, where it is there.
func (w *writer) changeEvent(f fact, id string, change func(*eventRow) error) error {
	e, err := w.events.get(w, id)
	if err != nil || e == nil {
		return err
	}
	e.revision, e.updated = f.Revision, f.at
	return change(e)
}

func (w *writer) eventDetailsChanged(f fact, e events.EventDetailsChanged) error {
	return w.changeEvent(f, e.EventID, func(r *eventRow) error {
		was := *r
		r.title, r.description, r.location = or(e.Title, was.title), or(e.Description, was.description), or(e.Location, was.location)
		r.creatorID = or(e.CreatorID, was.creatorID)
		r.creatorHash = hash(r.creatorID)
		w.changeWords(eventScope, r.number,
			eventWords(was.title, was.location, was.description), eventWords(r.title, r.location, r.description))
		if e.Tags == nil {
			return nil
		}
		tags, err := texts(was.tags)
		w.changeTags(r.number, tags, *e.Tags)
		r.tags = list(*e.Tags)
		return err
	})
}

func or[T any](changed *T, was T) T {
	if changed != nil {
		return *changed
	}
	return was
}

func (w *writer) eventRescheduled(f fact, e events.EventRescheduled) error {
	return w.changeEvent(f, e.EventID, func(r *eventRow) error {
		r.start, r.end, r.timeZone = e.StartTime.UnixMicro(), e.EndTime.UnixMicro(), e.TimeZone
		return nil
	})
}

func (w *writer) eventCapacityChanged(f fact, e events.EventCapacityChanged) error {
	return w.changeEvent(f, e.EventID, func(r *eventRow) error {
		r.capacity = int64(e.Capacity)
		return nil
	})
}

func (w *writer) eventCancelled(f fact, e events.EventCancelled) error {
	return w.changeEvent(f, e.EventID, func(r *eventRow) error {
		r.status = "cancelled"
		return nil
	})
}

// eventDeleted takes away the event's own row, which hides all that belongs to it.
func (w *writer) eventDeleted(e events.EventDeleted) error {
	r, err := w.events.get(w, e.EventID)
	if err != nil || r == nil {
		return err
	}
	tags, err := texts(r.tags)
	if err != nil {
		return err
	}
	w.changeTags(r.number, tags, nil)
	w.changeWords(eventScope, r.number, eventWords(r.title, r.location, r.description), nil)
	w.events.delete(r.id)
	w.gone.insert(r.id, int64(1))
	return nil
}

// countParticipant changes an event's number of participants by n; ok is false
// when the event isn't there.
func (w *writer) countParticipant(f fact, eventID string, n int64) (ok bool, err error) {
	err = w.changeEvent(f, eventID, func(r *eventRow) error {
		r.participants += n
		ok = true
		return nil
	})
	return ok, err
}

func (w *writer) changeTags(event int64, old, now []string) {
	for _, tag := range old {
		if !slices.Contains(now, tag) {
			w.tags.delete(tag, event)
		}
	}
	for _, tag := range now {
		if !slices.Contains(old, tag) {
			w.tags.insert(tag, event)
		}
	}
}
