package projections

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/belltower/belltower/events"
)

// Participant statuses and responses.
const (
	confirmed  = "confirmed"
	waitlisted = "waitlisted"
	released   = "released"

	needsAction = "needs_action"
	accepted    = "accepted"
	declined    = "declined"
	tentative   = "tentative"
)

// participantRows are the participants of events that are there. Who leaves the
// line changes what those behind show, but not their rows: that is read from departures.
const participantRows = `SELECT p.id, p.event_id, p.user_id, p.name, p.email, p.phone, p.channels, p.time_zone, p.locale,
	p.response, p.status, p.opted_out, p.registered, p.line, p.revision, p.created_at, p.updated_at, d.revision, d.updated_at
	FROM participants p JOIN events e ON e.id = p.event_id
	LEFT JOIN departures d ON d.event_id = p.event_id
		AND d.line = (SELECT max(line) FROM departures WHERE event_id = p.event_id AND line < p.line)`

type participantRow struct {
	Participant
	registered int64
	line       *int64 // while waitlisted: the revision that put it in the line
}

func scanParticipant(row scanner) (p participantRow, err error) {
	var phone, channels, zone, locale string
	var created, updated int64
	var leftRevision, leftAt *int64
	err = row.Scan(&p.ID, &p.EventID, &p.UserID, &p.Name, &p.Email, &phone, &channels, &zone, &locale,
		&p.Response, &p.Status, &p.OptedOut, &p.registered, &p.line, &p.Revision, &created, &updated, &leftRevision, &leftAt)
	if err != nil {
		return participantRow{}, err
	}
	p.Phone, p.TimeZone, p.Locale = textOrNil(phone), textOrNil(zone), textOrNil(locale)
	// A departure older than the place in the line is older than the row too.
	if leftRevision != nil && *leftRevision > p.Revision {
		p.Revision, updated = *leftRevision, *leftAt
	}
	p.CreatedAt, p.UpdatedAt = timeOf(created), timeOf(updated)
	p.Channels, err = texts(channels)
	return p, err
}

// Participant returns a participant, or ErrNotFound.
func (m *Models) Participant(ctx context.Context, id string) (Participant, error) {
	var p participantRow
	err := m.snapshot(ctx, func(tx *sql.Tx) (err error) {
		p, err = scanParticipant(m.rowIn(ctx, tx, participantRows+" WHERE p.id = ?", id))
		if err != nil {
			return err
		}
		return m.placeInLine(ctx, tx, p.EventID, []*participantRow{&p})
	})
	return p.Participant, found(err, "participant", id)
}

// EventOfParticipant returns the id of the event that the participant is on, or ErrNotFound.
func (m *Models) EventOfParticipant(ctx context.Context, id string) (eventID string, err error) {
	err = m.row(ctx, "SELECT e.id FROM participants p JOIN events e ON e.id = p.event_id WHERE p.id = ?", id).Scan(&eventID)
	return eventID, found(err, "participant", id)
}

// FormerEventOfParticipant returns the id of the event that the participant is
// or ever was on, also when either is gone, or ErrNotFound.
func (m *Models) FormerEventOfParticipant(ctx context.Context, id string) (eventID string, err error) {
	err = m.row(ctx, "SELECT event_id FROM belonged WHERE participant_id = ?", id).Scan(&eventID)
	return eventID, found(err, "participant", id)
}

// ParticipantFilter narrows Participants; what is empty narrows nothing.
type ParticipantFilter struct {
	Status string
	Query  string // Searchable; each of its words must begin a word of the name or the address
}

// Participants lists the participants of an event in order of registration, the
// waitlisted alone in order of the line. ErrNotFound: there is no such event.
func (m *Models) Participants(ctx context.Context, eventID string, f ParticipantFilter, p Page) (List[Participant], error) {
	scope := "participants of " + eventID
	after, err := p.after(scope, f)
	if err != nil {
		return List[Participant]{}, err
	}
	var w where
	w.and("p.event_id = ?", eventID)
	w.equal("p.status", f.Status)
	w.words("p.id", eventID, f.Query)
	order := "p.registered"
	if f.Status == waitlisted {
		order = "p.line"
	}
	if after != nil {
		w.and(order+" > ?", after.N)
	}
	rows := newList[*participantRow]()
	err = m.snapshot(ctx, func(tx *sql.Tx) error {
		if err := m.eventThere(ctx, tx, eventID); err != nil {
			return err
		}
		err := m.rows(ctx, tx, func(row scanner) error {
			p, err := scanParticipant(row)
			rows.Items = append(rows.Items, &p)
			return err
		}, participantRows+w.sql()+" ORDER BY "+order+" LIMIT ?", w.with(p.fetch())...)
		if err != nil {
			return err
		}
		rows = rows.cut(p, scope, f, func(p *participantRow) key {
			if f.Status == waitlisted {
				return key{N: *p.line}
			}
			return key{N: p.registered}
		})
		return m.placeInLine(ctx, tx, eventID, rows.Items)
	})
	if err != nil {
		return List[Participant]{}, fmt.Errorf("list participants: %w", err)
	}
	out := newList[Participant]()
	out.NextCursor = rows.NextCursor
	for _, p := range rows.Items {
		out.Items = append(out.Items, p.Participant)
	}
	return out, nil
}

// placeInLine sets the positions of those of one event who are waitlisted. Each
// stretch of the line is counted once.
func (m *Models) placeInLine(ctx context.Context, tx *sql.Tx, eventID string, on []*participantRow) error {
	var waiting []*participantRow
	for _, p := range on {
		if p.line != nil {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *participantRow) int { return cmp.Compare(*a.line, *b.line) })
	ahead, counted := 0, int64(-1)
	for _, p := range waiting {
		var n int
		err := m.rowIn(ctx, tx, "SELECT count(*) FROM participants WHERE event_id = ? AND line >= ? AND line < ?",
			eventID, counted, *p.line).Scan(&n)
		if err != nil {
			return err
		}
		ahead, counted = ahead+n, *p.line
		position := ahead + 1
		p.WaitlistPosition = &position
	}
	return nil
}

func (w *writer) participantRegistered(f fact, e events.ParticipantRegistered) error {
	if _, err := w.exec("INSERT INTO belonged VALUES (?, ?) ON CONFLICT DO NOTHING", e.ParticipantID, e.EventID); err != nil {
		return err
	}
	if ok, err := w.countParticipant(f, e.EventID, 1); err != nil || !ok {
		return err
	}
	status, line := confirmed, any(nil)
	if e.Waitlisted {
		status, line = waitlisted, f.Revision
	}
	_, err := w.exec("INSERT INTO participants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'needs_action', ?, ?, 0, ?, ?, ?)",
		e.ParticipantID, e.EventID, f.Revision, e.UserID, e.Personal.Name, e.Personal.Email, e.Personal.Phone,
		list(e.Channels), e.TimeZone, e.Locale, status, line, f.Revision, f.at, f.at)
	if err != nil {
		return err
	}
	w.tally(byStatus, status, 1)
	w.tally(byResponse, needsAction, 1)
	return w.changeWords(e.EventID, e.ParticipantID, nil, participantWords(e.Personal.Name, e.Personal.Email))
}

// onEvent is what the fold needs to know of a participant's row.
type onEvent struct {
	eventID, name, email, response, status string
	line                                   *int64
}

// participant returns nil when it isn't there.
func (w *writer) participant(id string) (*onEvent, error) {
	var p onEvent
	err := w.row("SELECT event_id, name, email, response, status, line FROM participants WHERE id = ?", id).
		Scan(&p.eventID, &p.name, &p.email, &p.response, &p.status, &p.line)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &p, err
}

func (w *writer) participantContactChanged(f fact, e events.ParticipantContactChanged) error {
	was, err := w.participant(e.ParticipantID)
	if err != nil || was == nil {
		return err
	}
	_, err = w.exec("UPDATE participants SET user_id = ?, name = ?, email = ?, phone = ?, channels = ?, time_zone = ?, locale = ?,"+
		" revision = ?, updated_at = ? WHERE id = ?",
		e.UserID, e.Personal.Name, e.Personal.Email, e.Personal.Phone, list(e.Channels), e.TimeZone, e.Locale,
		f.Revision, f.at, e.ParticipantID)
	if err != nil {
		return err
	}
	return w.changeWords(was.eventID, e.ParticipantID,
		participantWords(was.name, was.email), participantWords(e.Personal.Name, e.Personal.Email))
}

func (w *writer) participantResponded(f fact, e events.ParticipantResponded) error {
	was, err := w.participant(e.ParticipantID)
	if err != nil || was == nil {
		return err
	}
	status, line := was.status, was.line
	switch {
	case e.Response == declined:
		status, line = released, nil
	case was.status == released && e.Waitlisted:
		status, line = waitlisted, &f.Revision
	case was.status == released:
		status = confirmed
	}
	return w.setPlace(f, e.ParticipantID, was, e.Response, status, line)
}

// optedOut shows whether a participant wants no messages.
func (w *writer) optedOut(f fact, id string, out bool) error {
	_, err := w.exec("UPDATE participants SET opted_out = ?, revision = ?, updated_at = ? WHERE id = ?", out, f.Revision, f.at, id)
	return err
}

func (w *writer) participantPromoted(f fact, e events.ParticipantPromoted) error {
	was, err := w.participant(e.ParticipantID)
	if err != nil || was == nil || was.status != waitlisted {
		return err
	}
	return w.setPlace(f, e.ParticipantID, was, was.response, confirmed, nil)
}

func (w *writer) setPlace(f fact, id string, was *onEvent, response, status string, line *int64) error {
	_, err := w.exec("UPDATE participants SET response = ?, status = ?, line = ?, revision = ?, updated_at = ? WHERE id = ?",
		response, status, line, f.Revision, f.at, id)
	if err != nil {
		return err
	}
	w.tally(byResponse, was.response, -1)
	w.tally(byResponse, response, 1)
	w.tally(byStatus, was.status, -1)
	w.tally(byStatus, status, 1)
	if line == nil {
		return w.departed(f, was)
	}
	return nil
}

func (w *writer) participantRemoved(f fact, e events.ParticipantRemoved) error {
	was, err := w.participant(e.ParticipantID)
	if err != nil || was == nil {
		return err
	}
	if _, err := w.exec("DELETE FROM participants WHERE id = ?", e.ParticipantID); err != nil {
		return err
	}
	w.tally(byResponse, was.response, -1)
	w.tally(byStatus, was.status, -1)
	if _, err := w.countParticipant(f, was.eventID, -1); err != nil {
		return err
	}
	return errors.Join(
		w.departed(f, was),
		w.changeWords(was.eventID, e.ParticipantID, participantWords(was.name, was.email), nil),
	)
}

// departed notes that p has left the line, which moves up all behind it. Only
// the newest departure ahead of a place matters, so that the ones behind this
// one need not be kept: what is kept gets newer towards the end of the line.
func (w *writer) departed(f fact, p *onEvent) error {
	if p.line == nil {
		return nil
	}
	if _, err := w.exec("DELETE FROM departures WHERE event_id = ? AND line >= ?", p.eventID, *p.line); err != nil {
		return err
	}
	_, err := w.exec("INSERT INTO departures VALUES (?, ?, ?, ?)", p.eventID, *p.line, f.Revision, f.at)
	return err
}
