package projections

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
)

// history is a generated log, with what its events should show, kept naively.
type history struct {
	*world
	t             *rapid.T
	events        []*aEvent
	notifications []*aNotification
	deleted       int
	cleared       int
}

type aEvent struct {
	id      string
	cap     int
	deleted bool
	on      []*aGuest // in order of registration
	line    []*aGuest
	changed int64
}

type aGuest struct {
	id, status, response string
	optedOut             bool
	changed              int64
}

type aNotification struct {
	id       string
	event    *aEvent
	guest    string
	status   string
	attempts int
	finalAt  time.Time
	cleared  bool
}

// generate writes a history of up to steps steps.
func generate(t *rapid.T, steps int) *history {
	h := &history{world: newWorld(t), t: t}
	for range rapid.IntRange(steps/4, steps).Draw(t, "steps") {
		h.step()
	}
	return h
}

func (h *history) step() {
	choice := rapid.IntRange(0, 19).Draw(h.t, "step")
	if len(h.events) == 0 || choice == 19 {
		h.schedule()
		return
	}
	e := h.events[h.pick(len(h.events))]
	switch {
	case choice <= 4:
		h.register(e)
	case choice <= 8:
		h.respond(e)
	case choice == 9:
		h.remove(e)
	case choice == 10 && rapid.Bool().Draw(h.t, "opt"):
		h.opt(e)
	case choice == 10:
		h.change(e)
	case choice == 11 && rapid.Bool().Draw(h.t, "suppress"):
		h.suppress()
	case choice <= 13:
		h.notify(e)
	case choice == 14 && len(h.notifications) > 2:
		h.clear()
	case choice == 15 && len(h.events) > 1:
		h.delete(e)
	case len(h.notifications) > 0:
		h.send(h.notifications[h.pick(len(h.notifications))])
	}
}

// suppress is told of one of few addresses, so that it is told again, and released.
func (h *history) suppress() {
	id := fmt.Sprintf("s%d", h.pick(3))
	if h.pick(3) == 0 {
		h.add("suppression-"+id, events.AddressReleased{SuppressionID: id, Kind: "email", Reason: events.ReleasedByHand})
		return
	}
	reason := rapid.SampledFrom([]string{events.SuppressedStop, events.SuppressedGone, events.SuppressedByHand}).Draw(h.t, "reason")
	h.add("suppression-"+id, events.AddressSuppressed{SuppressionID: id, Kind: "email", To: "a***", Reason: reason, Provider: "smtp"})
}

func (h *history) pick(n int) int { return rapid.IntRange(0, n-1).Draw(h.t, "pick") }

func (h *history) schedule() {
	e := &aEvent{id: fmt.Sprintf("e%d", len(h.events)), cap: rapid.IntRange(0, 3).Draw(h.t, "capacity")}
	f := meeting(e.id)
	f.Capacity, f.Tags = e.cap, []string{"tag", fmt.Sprintf("tag%d", e.cap)}
	h.event(e.id, f)
	h.events = append(h.events, e)
}

func (e *aEvent) confirmed() (n int) {
	for _, g := range e.on {
		if g.status == confirmed {
			n++
		}
	}
	return n
}

func (e *aEvent) full() bool { return e.cap > 0 && e.confirmed() >= e.cap }

func (h *history) register(e *aEvent) {
	if e.deleted {
		return
	}
	g := &aGuest{id: fmt.Sprintf("%s-g%d", e.id, h.ids), response: needsAction}
	f := guest(e.id, g.id)
	f.Waitlisted = e.full()
	h.event(e.id, f)
	e.changed, g.changed = h.revisionOf("event-"+e.id), h.revisionOf("event-"+e.id)
	e.on = append(e.on, g)
	h.admit(e, g)
}

func (h *history) admit(e *aEvent, g *aGuest) {
	if e.full() {
		g.status = waitlisted
		e.line = append(e.line, g)
	} else {
		g.status = confirmed
	}
}

// leave takes g's place; all behind it move up.
func (h *history) leave(e *aEvent, g *aGuest, at int64) {
	if i := slices.Index(e.line, g); i >= 0 {
		for _, behind := range e.line[i+1:] {
			behind.changed = at
		}
		e.line = slices.Delete(e.line, i, i+1)
	}
	g.status = released
}

// promote gives free seats to the first of the line.
func (h *history) promote(e *aEvent) {
	for len(e.line) > 0 && !e.full() {
		g := e.line[0]
		h.event(e.id, events.ParticipantPromoted{EventID: e.id, ParticipantID: g.id})
		at := h.revisionOf("event-" + e.id)
		h.leave(e, g, at)
		g.status, g.changed = confirmed, at
	}
}

func (h *history) respond(e *aEvent) {
	if e.deleted || len(e.on) == 0 {
		return
	}
	g := e.on[h.pick(len(e.on))]
	response := rapid.SampledFrom([]string{accepted, declined, declined, tentative}).Draw(h.t, "response")
	f := events.ParticipantResponded{EventID: e.id, ParticipantID: g.id, Response: response}
	f.Waitlisted = response != declined && g.status == released && e.full()
	h.event(e.id, f)
	at := h.revisionOf("event-" + e.id)
	switch {
	case response == declined:
		h.leave(e, g, at)
	case g.status == released:
		h.admit(e, g)
	}
	g.response, g.changed = response, at
	h.promote(e)
}

func (h *history) opt(e *aEvent) {
	if e.deleted || len(e.on) == 0 {
		return
	}
	g := e.on[h.pick(len(e.on))]
	if g.optedOut = !g.optedOut; g.optedOut {
		h.event(e.id, events.ParticipantOptedOut{EventID: e.id, ParticipantID: g.id})
	} else {
		h.event(e.id, events.ParticipantOptedIn{EventID: e.id, ParticipantID: g.id})
	}
	g.changed = h.revisionOf("event-" + e.id)
}

func (h *history) remove(e *aEvent) {
	if e.deleted || len(e.on) == 0 {
		return
	}
	g := e.on[h.pick(len(e.on))]
	h.event(e.id, events.ParticipantRemoved{EventID: e.id, ParticipantID: g.id})
	e.changed = h.revisionOf("event-" + e.id)
	h.leave(e, g, e.changed)
	e.on = slices.Delete(e.on, slices.Index(e.on, g), slices.Index(e.on, g)+1)
	h.promote(e)
}

func (h *history) change(e *aEvent) {
	if e.deleted {
		return
	}
	switch h.pick(5) {
	case 0:
		h.event(e.id, events.EventDetailsChanged{EventID: e.id, Title: ptr("Renamed again"), Tags: ptr([]string{"tag", "new"})})
	case 1:
		h.event(e.id, events.EventRescheduled{EventID: e.id, Times: events.TimesIn(h.at(700), h.at(800), time.UTC)})
	case 2:
		e.cap = e.confirmed() + 1
		h.event(e.id, events.EventCapacityChanged{EventID: e.id, Capacity: e.cap})
		h.promote(e)
	case 3:
		h.event(e.id, events.ReminderAdded{EventID: e.id, ReminderID: fmt.Sprintf("r%d", h.ids), MinutesBefore: 5})
	case 4:
		if len(e.on) > 0 {
			g := e.on[h.pick(len(e.on))]
			f := guestContact(e.id, g.id)
			h.event(e.id, f)
			g.changed = h.revisionOf("event-" + e.id)
		}
	}
}

func guestContact(event, id string) events.ParticipantContactChanged {
	g := guest(event, id)
	g.Personal.Name = "Renamed " + id
	return events.ParticipantContactChanged{EventID: event, ParticipantID: id, UserID: g.UserID, Personal: g.Personal}
}

func (h *history) delete(e *aEvent) {
	if !e.deleted {
		h.event(e.id, events.EventDeleted{EventID: e.id})
		e.deleted = true
		h.deleted++
	}
}

func (h *history) notify(e *aEvent) {
	n := &aNotification{id: fmt.Sprintf("n%d", len(h.notifications)), event: e, guest: "g", status: pending}
	h.notification(n.id, scheduled(n.id, e.id, n.guest, h.at(h.pick(30))))
	h.notifications = append(h.notifications, n)
}

// become notes the state, as it is since now.
func (h *history) become(n *aNotification, status string) {
	if final(status) && !final(n.status) {
		n.finalAt = h.now()
	}
	n.status = status
}

func (h *history) send(n *aNotification) {
	switch n.status {
	case pending:
		switch h.pick(4) {
		case 0:
			h.notification(n.id, events.NotificationCancelled{NotificationID: n.id, Reason: events.CancelledDeclined})
			h.become(n, cancelled)
		case 1:
			h.notification(n.id, events.NotificationFailed{NotificationID: n.id, Reason: events.FailedMissed})
			h.become(n, failedFor)
		default:
			n.attempts++
			h.notification(n.id, events.SendingStarted{NotificationID: n.id, Attempt: n.attempts})
			h.become(n, sending)
		}
	case sending:
		switch h.pick(5) {
		case 0:
			h.notification(n.id, events.SendingFailed{
				NotificationID: n.id, Attempt: n.attempts, Class: "temporary", Error: "busy", NextAttempt: h.at(h.pick(30)),
			})
			h.become(n, pending)
		case 1:
			n.attempts++
			h.notification(n.id, events.SendingStarted{NotificationID: n.id, Attempt: n.attempts, InDoubt: true})
		case 2:
			h.notification(n.id, events.NotificationFailed{
				NotificationID: n.id, Attempt: n.attempts, Reason: events.FailedRejected, Error: "no",
			})
			h.become(n, failedFor)
		default:
			h.sent(n, n.attempts)
		}
	case cancelled:
		h.notification(n.id, scheduled(n.id, n.event.id, n.guest, h.at(h.pick(30))))
		if n.cleared {
			n.attempts = 0 // those before are not shown again
		}
		n.cleared, n.status = false, pending
	case failedFor:
		if n.attempts > 0 && h.pick(2) == 0 {
			h.sent(n, 1) // late
		} else {
			h.notification(n.id, events.NotificationRetried{NotificationID: n.id})
			n.status = pending
		}
	case sent:
		switch h.pick(3) {
		case 0:
			h.notification(n.id, events.AttemptBounced{NotificationID: n.id, Attempt: n.attempts, Error: "full"})
		default:
			h.notification(n.id, events.NotificationDelivered{NotificationID: n.id, Attempt: n.attempts, DeliveredTime: h.now()})
			h.become(n, delivered)
		}
	case delivered:
		switch h.pick(3) {
		case 0:
			h.notification(n.id, events.NotificationFailed{NotificationID: n.id, Attempt: n.attempts, Reason: events.FailedBounced, Error: "full"})
			h.become(n, failedFor)
		case 1:
			h.sent(n, n.attempts) // what a receipt came before
			h.become(n, delivered)
		}
	}
}

func (h *history) sent(n *aNotification, attempt int) {
	h.notification(n.id, events.NotificationSent{
		NotificationID: n.id, Attempt: attempt, SentTime: h.now(), ProviderMessageID: "p", Personal: events.Personal{Message: "Hello"},
	})
	h.become(n, sent)
}

func (h *history) clear() {
	before := h.now().Add(-time.Duration(h.pick(20)) * time.Second)
	h.add("processor", events.NotificationsCleared{Before: before})
	h.cleared++
	for _, n := range h.notifications {
		if final(n.status) && n.finalAt.Before(before) {
			n.cleared = true
		}
	}
}
