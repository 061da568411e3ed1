package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

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

// participantRow is a row of participants.
type participantRow struct {
	id, eventID, userID, name, email, phone, channels, timeZone, locale, response, status string
	registered, userHash, optedOut, revision, created, updated                            int64
	line                                                                                  *int64 // while waitlisted: the revision that put it in the line
}

func (r *participantRow) fields() []any {
	return []any{&r.id, &r.eventID, &r.registered, &r.userID, &r.userHash, &r.name, &r.email, &r.phone, &r.channels, &r.timeZone,
		&r.locale, &r.response, &r.status, &r.line, &r.optedOut, &r.revision, &r.created, &r.updated}
}

// participantRows are the participants of events that are there. Who leaves the
// line changes what those behind show, but not their rows: that is read from departures.
var participantRows = "SELECT p." + strings.Join(participantsShape.columns, ", p.") + `, d.revision, d.updated_at
	FROM {participants} p JOIN {events} e ON e.id = p.event_id
	LEFT JOIN {departures} d ON d.event_id = p.event_id
		AND d.line = (SELECT max(line) FROM {departures} WHERE event_id = p.event_id AND line < p.line)`

// listed is a participant with where it stands.
type listed struct {
	Participant
	registered int64
	line       *int64
}

func scanParticipant(row scanner) (listed, error) {
	var r participantRow
	var leftRevision, leftAt *int64
	if err := row.Scan(append(r.fields(), &leftRevision, &leftAt)...); err != nil {
		return listed{}, err
	}
	// A departure older than the place in the line is older than the row too.
	if leftRevision != nil && *leftRevision > r.revision {
		r.revision, r.updated = *leftRevision, *leftAt
	}
	p := listed{Participant{
		ID: r.id, EventID: r.eventID, UserID: r.userID, Name: r.name, Email: r.email, Phone: textOrNil(r.phone),
		TimeZone: textOrNil(r.timeZone), Locale: textOrNil(r.locale), Response: r.response, OptedOut: r.optedOut != 0, Status: r.status,
		Revision: r.revision, CreatedAt: timeOf(r.created), UpdatedAt: timeOf(r.updated),
	}, r.registered, r.line}
	var err error
	p.Channels, err = texts(r.channels)
	return p, err
}

// Participant returns a participant, or ErrNotFound.
func (m *Models) Participant(ctx context.Context, id string) (Participant, error) {
	var p listed
	err := m.snapshot(ctx, func(tx snapshot) (err error) {
		p, err = scanParticipant(tx.row(ctx, participantRows+" WHERE p.id = ?", id))
		if err != nil {
			return err
		}
		return m.placeInLine(ctx, tx, p.EventID, []*listed{&p})
	})
	return p.Participant, found(err, "participant", id)
}

// EventOfParticipant returns the id of the event that the participant is on, or ErrNotFound.
func (m *Models) EventOfParticipant(ctx context.Context, id string) (eventID string, err error) {
	err = m.row(ctx, "SELECT e.id FROM {participants} p JOIN {events} e ON e.id = p.event_id WHERE p.id = ?", id).Scan(&eventID)
	return eventID, found(err, "participant", id)
}

// FormerEventOfParticipant returns the id of the event that the participant is
// or ever was on, also when either is gone, or ErrNotFound.
func (m *Models) FormerEventOfParticipant(ctx context.Context, id string) (eventID string, err error) {
	err = m.row(ctx, "SELECT event_id FROM {belonged} WHERE participant_id = ?", id).Scan(&eventID)
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
	w.words("p.registered", eventID, f.Query)
	order := "p.registered"
	if f.Status == waitlisted {
		order = "p.line"
	}
	if after != nil {
		w.and(order+" > ?", after.N)
	}
	rows := newList[*listed]()
	err = m.snapshot(ctx, func(tx snapshot) error {
		if err := tx.eventThere(ctx, eventID); err != nil {
			return err
		}
		err := tx.rows(ctx, func(row scanner) error {
			p, err := scanParticipant(row)
			rows.Items = append(rows.Items, &p)
			return err
		}, participantRows+w.sql()+" ORDER BY "+order+" LIMIT ?", w.with(p.fetch())...)
		if err != nil {
			return err
		}
		rows = rows.cut(p, scope, f, func(p *listed) key {
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
func (m *Models) placeInLine(ctx context.Context, tx snapshot, eventID string, on []*listed) error {
	var waiting []*listed
	for _, p := range on {
		if p.line != nil {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *listed) int { return cmp.Compare(*a.line, *b.line) })
	ahead, counted := 0, int64(-1)
	for _, p := range waiting {
		var n int
		err := tx.row(ctx, "SELECT count(*) FROM {participants} WHERE event_id = ? AND line >= ? AND line < ?",
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
	w.belonged.insert(e.ParticipantID, e.EventID)
	if ok, err := w.countParticipant(f, e.EventID, 1); err != nil || !ok {
		return err
	}
	status, line := confirmed, (*int64)(nil)
	if e.Waitlisted {
		status, line = waitlisted, &f.Revision
	}
	w.tally(byStatus, status, 1)
	w.tally(byResponse, needsAction, 1)
	w.changeWords(e.EventID, f.Revision, nil, participantWords(e.Personal.Name, e.Personal.Email))
	return w.participants.insert(e.ParticipantID, &participantRow{
		id: e.ParticipantID, eventID: e.EventID, registered: f.Revision, userID: e.UserID, userHash: hash(e.UserID),
		name: e.Personal.Name, email: e.Personal.Email, phone: e.Personal.Phone, channels: list(e.Channels), timeZone: e.TimeZone,
		locale: e.Locale, response: needsAction, status: status, line: line, revision: f.Revision, created: f.at, updated: f.at,
	})
}

// changeParticipant changes a participant's row, where it is there.
func (w *writer) changeParticipant(f fact, id string, change func(*participantRow) error) error {
	p, err := w.participants.get(w, id)
	if err != nil || p == nil {
		return err
	}
	p.revision, p.updated = f.Revision, f.at
	return change(p)
}

func (w *writer) participantContactChanged(f fact, e events.ParticipantContactChanged) error {
	return w.changeParticipant(f, e.ParticipantID, func(p *participantRow) error {
		was := *p
		p.userID, p.userHash = e.UserID, hash(e.UserID)
		p.name, p.email, p.phone = e.Personal.Name, e.Personal.Email, e.Personal.Phone
		p.channels, p.timeZone, p.locale = list(e.Channels), e.TimeZone, e.Locale
		w.changeWords(p.eventID, p.registered, participantWords(was.name, was.email), participantWords(p.name, p.email))
		return nil
	})
}

func (w *writer) participantResponded(f fact, e events.ParticipantResponded) error {
	return w.changeParticipant(f, e.ParticipantID, func(p *participantRow) error {
		status, line := p.status, p.line
		switch {
		case e.Response == declined:
			status, line = released, nil
		case p.status == released && e.Waitlisted:
			status, line = waitlisted, &f.Revision
		case p.status == released:
			status = confirmed
		}
		return w.setPlace(f, p, e.Response, status, line)
	})
}

// optedOut shows whether a participant wants no messages.
func (w *writer) optedOut(f fact, id string, out int64) error {
	return w.changeParticipant(f, id, func(p *participantRow) error {
		p.optedOut = out
		return nil
	})
}

func (w *writer) participantPromoted(f fact, e events.ParticipantPromoted) error {
	p, err := w.participants.get(w, e.ParticipantID)
	if err != nil || p == nil || p.status != waitlisted {
		return err
	}
	p.revision, p.updated = f.Revision, f.at
	return w.setPlace(f, p, p.response, confirmed, nil)
}

func (w *writer) setPlace(f fact, p *participantRow, response, status string, line *int64) error {
	w.tally(byResponse, p.response, -1)
	w.tally(byResponse, response, 1)
	w.tally(byStatus, p.status, -1)
	w.tally(byStatus, status, 1)
	was := *p
	p.response, p.status, p.line = response, status, line
	if line == nil {
		return w.departed(f, was)
	}
	return nil
}

func (w *writer) participantRemoved(f fact, e events.ParticipantRemoved) error {
	p, err := w.participants.get(w, e.ParticipantID)
	if err != nil || p == nil {
		return err
	}
	w.participants.delete(p.id)
	w.tally(byResponse, p.response, -1)
	w.tally(byStatus, p.status, -1)
	w.changeWords(p.eventID, p.registered, participantWords(p.name, p.email), nil)
	if _, err := w.countParticipant(f, p.eventID, -1); err != nil {
		return err
	}
	return w.departed(f, *p)
}

// departed notes that p has left the line, which moves up all behind it. Only
// the newest departure ahead of a place matters, so that the ones behind this
// one need not be kept: what is kept gets newer towards the end of the line.
func (w *writer) departed(f fact, p participantRow) error {
	if p.line == nil {
		return nil
	}
	if _, err := w.exec("DELETE FROM {departures} WHERE event_id = ? AND line >= ?", p.eventID, *p.line); err != nil {
		return err
	}
	_, err := w.exec("INSERT INTO {departures} VALUES (?, ?, ?, ?)", p.eventID, *p.line, f.Revision, f.at)
	return err
}
