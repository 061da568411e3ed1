package commands

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belltower/belltower/events"
)

// maxHandoverWait bounds how long a change waits for messages being handed over.
const maxHandoverWait = time.Second

// Handover is a message on its way to a provider, from the look at its event
// until the provider has answered. A change that could supersede the message
// and came behind the look is acknowledged only after End.
type Handover struct {
	gate        *gate
	event       string
	participant string
	ended       chan struct{}
	overtaken   atomic.Bool
}

// Overtaken tells whether a change was acknowledged before this ended, after
// waiting for a second.
func (o *Handover) Overtaken() bool { return o.overtaken.Load() }

// End says that the provider has the message or has refused it.
func (o *Handover) End() {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	set := o.gate.under[o.event]
	delete(set, o)
	if len(set) == 0 {
		delete(o.gate.under, o.event)
	}
	close(o.ended)
}

// BeginHandover is called before the look at the event. What is seen then may
// be sent until End: a change that the look didn't see waits for it.
func (h *Handler) BeginHandover(eventID, participantID string) *Handover {
	o := &Handover{gate: &h.gate, event: EventStream(eventID), participant: participantID, ended: make(chan struct{})}
	h.gate.mu.Lock()
	defer h.gate.mu.Unlock()
	if h.gate.under[o.event] == nil {
		h.gate.under[o.event] = map[*Handover]struct{}{}
	}
	h.gate.under[o.event][o] = struct{}{}
	return o
}

// gate knows the messages that are being handed over, by the stream of their event.
type gate struct {
	mu    sync.Mutex
	under map[string]map[*Handover]struct{}
}

func newGate() gate { return gate{under: map[string]map[*Handover]struct{}{}} }

// settle waits for the messages under way that facts, now in the log, could
// supersede. Those that begin later see the facts when they look.
func (g *gate) settle(ctx context.Context, stream string, facts []events.Fact) {
	if !strings.HasPrefix(stream, "event-") {
		return
	}
	whole, participants := superseded(facts)
	if !whole && len(participants) == 0 {
		return
	}
	g.mu.Lock()
	var waitFor []*Handover
	for o := range g.under[stream] {
		if whole || participants[o.participant] {
			waitFor = append(waitFor, o)
		}
	}
	g.mu.Unlock()
	if len(waitFor) == 0 {
		return
	}
	timeout := time.NewTimer(maxHandoverWait)
	defer timeout.Stop()
	for i, o := range waitFor {
		select {
		case <-o.ended:
			continue
		case <-timeout.C:
		case <-ctx.Done():
		}
		for _, late := range waitFor[i:] {
			late.overtaken.Store(true)
		}
		return
	}
}

// superseded tells what facts may make wrong to send: to anybody, or to some participants.
func superseded(facts []events.Fact) (whole bool, participants map[string]bool) {
	participants = map[string]bool{}
	for _, f := range facts {
		switch f := f.(type) {
		case events.EventRescheduled, events.EventCancelled, events.EventDeleted, events.ReminderRemoved:
			whole = true
		case events.ParticipantResponded:
			participants[f.ParticipantID] = true
		case events.ParticipantRemoved:
			participants[f.ParticipantID] = true
		case events.ParticipantContactChanged:
			participants[f.ParticipantID] = true
		}
	}
	return whole, participants
}
