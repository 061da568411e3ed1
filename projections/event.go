package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

const eventColumns = `e.id, e.title, e.description, e.start_time, e.end_time, e.time_zone, e.location, e.creator_id,
	e.capacity, e.tags, e.status, e.participant_count, e.revision, e.created_at, e.updated_at`

func scanEvent(row scanner) (e Event, err error) {
	var start, end, created, updated int64
	var location, tags string
	var capacity int
	err = row.Scan(&e.ID, &e.Title, &e.Description, &start, &end, &e.TimeZone, &location, &e.CreatorID,
		&capacity, &tags, &e.Status, &e.ParticipantCount, &e.Revision, &created, &updated)
	if err != nil {
		return Event{}, err
	}
	e.StartTime, e.EndTime = timeOf(start), timeOf(end)
	e.CreatedAt, e.UpdatedAt = timeOf(created), timeOf(updated)
	e.Location = textOrNil(location)
	if capacity > 0 {
		e.Capacity = &capacity
	}
	e.Tags, err = texts(tags)
	return e, err
}

// Event returns an event, or ErrNotFound.
func (m *Models) Event(ctx context.Context, id string) (Event, error) {
	e, err := scanEvent(m.row(ctx, "SELECT "+eventColumns+" FROM events e WHERE e.id = ?", id))
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
	w.equal("e.creator_id", f.CreatorID)
	w.equal("e.status", f.Status)
	if f.UserID != "" {
		w.and("e.id IN (SELECT event_id FROM participants WHERE user_id = ?)", f.UserID)
	}
	if f.Tag != "" {
		w.and("e.id IN (SELECT event_id FROM event_tags WHERE tag = ?)", f.Tag)
	}
	if f.From != nil {
		w.and("e.end_time > ?", f.From.UnixMicro())
	}
	if f.To != nil {
		w.and("e.start_time < ?", ceilMicro(*f.To))
	}
	w.words("e.id", eventScope, f.Query)
	if after != nil {
		w.and("(e.start_time, e.id) > (?, ?)", after.N, after.ID)
	}
	out := newList[Event]()
	err = m.rows(ctx, m.readers, func(row scanner) error {
		e, err := scanEvent(row)
		out.Items = append(out.Items, e)
		return err
	}, "SELECT "+eventColumns+" FROM events e"+w.sql()+" ORDER BY e.start_time, e.id LIMIT ?", w.with(p.fetch())...)
	if err != nil {
		return List[Event]{}, fmt.Errorf("list events: %w", err)
	}
	return out.cut(p, "events", f, func(e Event) key { return key{e.StartTime.UnixMicro(), e.ID} }), nil
}

// ceilMicro is t in microseconds, rounded up.
func ceilMicro(t time.Time) int64 { return t.Add(time.Microsecond - 1).UnixMicro() }

func (w *writer) eventScheduled(f fact, e events.EventScheduled) error {
	_, err := w.exec("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'scheduled', 0, ?, ?, ?)",
		e.EventID, e.Title, e.Description, e.StartTime.UnixMicro(), e.EndTime.UnixMicro(), e.TimeZone,
		e.Location, e.CreatorID, e.Capacity, list(e.Tags), f.Revision, f.at, f.at)
	if err != nil {
		return err
	}
	return errors.Join(
		w.changeTags(e.EventID, nil, e.Tags),
		w.changeWords(eventScope, e.EventID, nil, eventWords(e.Title, e.Location, e.Description)),
	)
}

func (w *writer) eventDetailsChanged(f fact, e events.EventDetailsChanged) error {
	was, err := scanEvent(w.row("SELECT "+eventColumns+" FROM events e WHERE e.id = ?", e.EventID))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	var oldLocation string
	if was.Location != nil {
		oldLocation = *was.Location
	}
	title, description, location := or(e.Title, was.Title), or(e.Description, was.Description), or(e.Location, oldLocation)
	tags := was.Tags
	if e.Tags != nil {
		tags = *e.Tags
	}
	_, err = w.exec("UPDATE events SET title = ?, description = ?, location = ?, creator_id = ?, tags = ?,"+
		" revision = ?, updated_at = ? WHERE id = ?",
		title, description, location, or(e.CreatorID, was.CreatorID), list(tags), f.Revision, f.at, e.EventID)
	if err != nil {
		return err
	}
	return errors.Join(
		w.changeTags(e.EventID, was.Tags, tags),
		w.changeWords(eventScope, e.EventID,
			eventWords(was.Title, oldLocation, was.Description), eventWords(title, location, description)),
	)
}

func or[T any](changed *T, was T) T {
	if changed != nil {
		return *changed
	}
	return was
}

func (w *writer) eventRescheduled(f fact, e events.EventRescheduled) error {
	_, err := w.exec("UPDATE events SET start_time = ?, end_time = ?, time_zone = ?, revision = ?, updated_at = ? WHERE id = ?",
		e.StartTime.UnixMicro(), e.EndTime.UnixMicro(), e.TimeZone, f.Revision, f.at, e.EventID)
	return err
}

func (w *writer) eventCapacityChanged(f fact, e events.EventCapacityChanged) error {
	_, err := w.exec("UPDATE events SET capacity = ?, revision = ?, updated_at = ? WHERE id = ?",
		e.Capacity, f.Revision, f.at, e.EventID)
	return err
}

func (w *writer) eventCancelled(f fact, e events.EventCancelled) error {
	_, err := w.exec("UPDATE events SET status = 'cancelled', revision = ?, updated_at = ? WHERE id = ?",
		f.Revision, f.at, e.EventID)
	return err
}

// eventDeleted takes away the event's own row, which hides all that belongs to it.
func (w *writer) eventDeleted(e events.EventDeleted) error {
	was, err := scanEvent(w.row("SELECT "+eventColumns+" FROM events e WHERE e.id = ?", e.EventID))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	} else if err != nil {
		return err
	}
	var location string
	if was.Location != nil {
		location = *was.Location
	}
	if _, err := w.exec("DELETE FROM events WHERE id = ?", e.EventID); err != nil {
		return err
	}
	if _, err := w.exec("INSERT INTO gone VALUES (?)", e.EventID); err != nil {
		return err
	}
	return errors.Join(
		w.changeTags(e.EventID, was.Tags, nil),
		w.changeWords(eventScope, e.EventID, eventWords(was.Title, location, was.Description), nil),
	)
}

// countParticipant changes an event's number of participants by n; ok is false
// when the event isn't there.
func (w *writer) countParticipant(f fact, eventID string, n int) (ok bool, err error) {
	changed, err := w.exec("UPDATE events SET participant_count = participant_count + ?, revision = ?, updated_at = ? WHERE id = ?",
		n, f.Revision, f.at, eventID)
	return changed == 1, err
}

func (w *writer) changeTags(eventID string, old, now []string) error {
	for _, tag := range old {
		if !slices.Contains(now, tag) {
			if _, err := w.exec("DELETE FROM event_tags WHERE tag = ? AND event_id = ?", tag, eventID); err != nil {
				return err
			}
		}
	}
	for _, tag := range now {
		if !slices.Contains(old, tag) {
			if _, err := w.exec("INSERT INTO event_tags VALUES (?, ?) ON CONFLICT DO NOTHING", tag, eventID); err != nil {
				return err
			}
		}
	}
	return nil
}
