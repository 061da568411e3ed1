package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/model"
)

// oracle reads the log beside the service and holds each step against the rules
// of delivery.
type oracle struct {
	s  *sim
	mu sync.Mutex

	tail     eventstore.Subscription
	position eventstore.Position
	facts    int
	events   map[string]*history
	notes    map[string]*note
	wrong    []string
	idle     bool           // sending was stopped by its owner
	rows     map[string]int // of the state table, how often
	counts   counts
}

type counts struct{ calls, again, notifications int }

// history is an event at each of its revisions.
type history struct {
	model  *model.Event
	wants  []map[string]model.Expected
	starts []time.Time
	acked  int64 // revision that its callers know of
	last   time.Time
	over   bool // all that it wants is final, and nothing has happened since
}

// note is a notification, and what is known of its messages.
type note struct {
	state   aggregates.Notification
	entries []commands.Entry
	taken   int // how many messages a provider may have taken

	// since when, by the bubble's clock, it has been due and nothing was in the way
	due   time.Time
	since time.Time
}

func newOracle(s *sim) *oracle {
	return &oracle{s: s, position: eventstore.Start, events: map[string]*history{}, notes: map[string]*note{}, rows: map[string]int{}}
}

func (o *oracle) fault(format string, args ...any) {
	o.wrong = append(o.wrong, o.s.now().Format(time.RFC3339Nano)+" "+fmt.Sprintf(format, args...))
}

// reopened goes on reading in a store that was opened anew.
func (o *oracle) reopened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read()
	o.tail = nil
}

// faults reads what was appended and gives what is wrong so far.
func (o *oracle) faults() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read()
	return o.wrong
}

// read folds what was appended. o.mu is held.
func (o *oracle) read() {
	ctx := context.Background()
	end, err := o.s.store.End(ctx)
	must(err)
	for o.position.Before(end) {
		if o.tail == nil {
			o.tail, err = o.s.store.Subscribe(ctx, o.position)
			must(err)
		}
		b, err := o.tail.Next(ctx)
		must(err)
		for _, r := range b.Records {
			o.fold(r)
			o.position = r.Position
		}
	}
}

func (o *oracle) fold(r eventstore.Record) {
	o.facts++
	var m events.Metadata
	must(json.Unmarshal(r.Metadata, &m))
	f, err := events.Decode(o.s.ring, r.ID, r.Type, r.Data)
	must(err)
	entry := commands.Entry{Record: r, Fact: f, Metadata: m}
	if id, ok := strings.CutPrefix(r.Stream, "event-"); ok {
		h := o.events[id]
		if h == nil {
			h = &history{model: model.New(), acked: -1}
			o.events[id] = h
		}
		if m.OccurredAt.Before(h.last) {
			o.fault("%s went back in time at revision %d", r.Stream, r.Revision)
		}
		h.last, h.over = m.OccurredAt, false
		h.model.Fold(entry)
		h.wants, h.starts = append(h.wants, h.model.Wants()), append(h.starts, h.model.Start())
	}
	switch f.(type) {
	case events.ProcessorStarted:
		o.idle = false
	case events.ProcessorStopped:
		o.idle = true
	}
	if id, ok := strings.CutPrefix(r.Stream, "notification-"); ok {
		n := o.notes[id]
		if n == nil {
			n = &note{}
			o.notes[id] = n
			o.counts.notifications++
		}
		row := model.MoveOf(&n.state, f)
		o.rows[row]++
		if !model.Allowed(row) {
			o.fault("%s: %s is no row of the state table", id, row)
		}
		n.state.Evolve(f, aggregates.Stamp{Revision: r.Revision, At: m.OccurredAt})
		n.entries = append(n.entries, entry)
		o.events[n.state.EventID].over = false
	}
}

// stopped tells whether sending was stopped by its owner.
func (o *oracle) stopped() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.idle
}

// answered hears what the caller of a command to an event was told.
func (o *oracle) answered(event string, revision int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read()
	h := o.events[event]
	if h == nil || int64(len(h.wants)) <= revision {
		o.fault("event %s was acknowledged at revision %d, and is not in the log", event, revision)
		return
	}
	h.acked = max(h.acked, revision)
}

// called holds a call of a provider against what was known then: never early,
// never for a state that an acknowledged change has ended, never past its end,
// never twice but in doubt, and only what is claimed.
func (o *oracle) called(c *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read()
	o.counts.calls++
	m := c.message
	n := o.notes[m.ID]
	if n == nil {
		o.fault("%s was sent, and is not in the log", m.ID)
		return
	}
	h := o.events[n.state.EventID]
	c.from = max(h.acked, 0)
	ok, told := false, false
	for revision := c.from; revision < int64(len(h.wants)); revision++ {
		w, wanted := h.wants[revision][m.ID]
		ok = ok || (wanted && !c.at.Before(w.Due) && !c.at.After(w.Expires))
		told = told || strings.Contains(m.Text, h.starts[revision].In(cairo).Format("Mon, 2 Jan 2006 15:04 MST"))
	}
	if !ok {
		o.fault("%s was sent at %s to a state (%d to %d) that doesn't want it then", m.ID, c.at, c.from, len(h.wants)-1)
	}
	if !told {
		o.fault("%s doesn't name the start by the clocks of Cairo: %s", m.ID, m.Text)
	}
	if n.state.Status != aggregates.NotificationSending || n.state.Attempts != m.Attempt {
		o.fault("%s was sent at attempt %d, while it is %s at %d", m.ID, m.Attempt, n.state.Status, n.state.Attempts)
	}
	if due := model.ScheduledFor(n.entries, m.ID, m.Attempt); c.at.Before(due) {
		o.fault("%s was sent at %s, before %s", m.ID, c.at, due)
	}
	if n.taken > 0 {
		o.counts.again++
		if !model.AllowedAgain(n.entries, m.ID, m.Attempt) {
			o.fault("%s was sent twice, and not in doubt", m.ID)
		}
	}
}

// took hears that a provider may have taken a message.
func (o *oracle) took(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.notes[id]; n != nil {
		n.taken++
	}
}

// patience is how long what is due may wait while nothing is in the way.
const patience = time.Minute

// punctual holds everything that is wanted against what became of it: while
// sending runs, nothing is due for a minute without being final or in flight.
// excused tells whether a channel's provider stands in the way.
func (o *oracle) punctual(sends bool, excused func(channel string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read()
	now := o.s.now()
	for _, h := range o.events {
		if h.over {
			continue
		}
		h.over = true
		for id, w := range h.wants[len(h.wants)-1] {
			n := o.notes[id]
			h.over = h.over && n != nil && n.state.Final()
			if n == nil {
				n = &note{} // not planned yet: it must be by then
				if w.Due.Before(now.Add(-patience)) {
					o.notes[id] = n
				}
			}
			if n.state.Final() || n.state.Status == aggregates.NotificationSending {
				n.since = time.Time{}
				continue
			}
			due := w.Due
			if n.state.NextAttempt.After(due) {
				due = n.state.NextAttempt
			}
			if !sends || due.After(now) || excused(n.state.Channel) {
				n.since = time.Time{}
				continue
			}
			if n.since.IsZero() || !n.due.Equal(due) {
				n.due, n.since = due, time.Now()
			}
			if time.Since(n.since) > patience+5*time.Second {
				o.fault("%s is due since %s, nothing is in the way, and it is %q", id, due, n.state.Status)
				n.since = time.Now()
			}
		}
	}
}

// planned holds what is scheduled against what is wanted, once the planner has
// come to the log's end.
func (o *oracle) planned() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.s.now()
	wanted := map[string]bool{}
	for _, h := range o.events {
		if h.over {
			continue
		}
		for id, w := range h.wants[len(h.wants)-1] {
			wanted[id] = true
			n := o.notes[id]
			switch {
			case n == nil || !n.state.Exists():
				o.fault("%s is wanted at %s, and nowhere", id, w.Due)
			case n.state.Status == aggregates.NotificationCancelled && n.state.CancelReason != events.CancelledByHand:
				o.fault("%s is wanted, and was cancelled as %s", id, n.state.CancelReason)
			case w.Due.After(now) && n.state.Status == aggregates.NotificationPending && (!n.state.ScheduledTime.Equal(w.Due) || !n.state.Expires.Equal(w.Expires)):
				o.fault("%s is wanted at %s until %s, and scheduled at %s until %s", id, w.Due, w.Expires, n.state.ScheduledTime, n.state.Expires)
			}
		}
	}
	for id, n := range o.notes {
		if !wanted[id] && n.state.Status == aggregates.NotificationPending {
			o.fault("%s is PENDING, and nobody wants it", id)
		}
	}
}

// next tells when, by the service's clock, something becomes due or expires; now
// where something is due already.
func (o *oracle) next() (at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.s.now()
	sooner := func(t time.Time) {
		if t.Before(now) {
			t = now
		}
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, n := range o.notes {
		switch n.state.Status {
		case aggregates.NotificationSending:
			sooner(now)
		case aggregates.NotificationPending:
			sooner(n.state.Expires)
			if o.idle {
				continue
			}
			if n.state.NextAttempt.After(n.state.ScheduledTime) {
				sooner(n.state.NextAttempt)
			} else {
				sooner(n.state.ScheduledTime)
			}
		}
	}
	return at
}

// unsettled gives what is not final though its time is over, at the end of all.
func (o *oracle) unsettled() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.s.now()
	for id, n := range o.notes {
		if !n.state.Final() && n.state.ScheduledTime.Before(now.Add(-patience)) && n.state.NextAttempt.Before(now.Add(-patience)) {
			o.fault("%s was due at %s, and is %s at the end", id, n.state.ScheduledTime, n.state.Status)
		}
	}
}

// with gives the ids of the notifications in a status, in order.
func (o *oracle) with(status aggregates.NotificationStatus) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, n := range o.notes {
		if n.state.Status == status {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
