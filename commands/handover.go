package commands

import (
	"context"
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
	superseded  bool // by a change in the log; guarded by gate.mu
	ended       chan struct{}
	overtaken   atomic.Bool
}

// Overtaken tells whether a change was acknowledged before this ended, after
// waiting for a second.
func (o *Handover) Overtaken() bool { return o.overtaken.Load() }

// End says that the provider has the message or has refused it, or that it
// won't be sent. Ending again does nothing.
func (o *Handover) End() {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	set := o.gate.under[o.event]
	if _, under := set[o]; !under {
		return
	}
	delete(set, o)
	if len(set) == 0 {
		delete(o.gate.under, o.event)
	}
	close(o.ended)
}

// overtake says that a change is acknowledged now, unless this has ended: it
// may have while others were waited for.
func (o *Handover) overtake() {
	o.gate.mu.Lock()
	defer o.gate.mu.Unlock()
	if _, under := o.gate.under[o.event][o]; under {
		o.overtaken.Store(true)
	}
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

// supersede gives the messages under way that the caller of a command has to
// wait for: those that its facts, now in the log, could make wrong. Where it made
// none, as what it asked for was so already, it waits for those that an earlier
// change made wrong. Messages that begin later see the facts when they look.
func (g *gate) supersede(stream string, facts []events.Fact) (waitFor []*Handover) {
	g.mu.Lock()
	defer g.mu.Unlock()
	under := g.under[stream]
	if len(under) == 0 {
		return nil
	}
	whole, participants := superseded(facts)
	for o := range under {
		if whole || participants[o.participant] {
			o.superseded = true
			waitFor = append(waitFor, o)
		} else if len(facts) == 0 && o.superseded {
			waitFor = append(waitFor, o)
		}
	}
	return waitFor
}

// settle waits until all have ended, for a second at the longest.
func settle(ctx context.Context, waitFor []*Handover) {
	if len(waitFor) == 0 {
		return
	}
	timeout := time.NewTimer(maxHandoverWait)
	defer timeout.Stop()
	for i, o := range waitFor {
		select {
		case <-o.ended:
			continue
		default:
		}
		select {
		case <-o.ended:
			continue
		case <-timeout.C:
		case <-ctx.Done():
		}
		for _, late := range waitFor[i:] {
			late.overtake()
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
		case events.ParticipantOptedOut:
			participants[f.ParticipantID] = true
		case events.ParticipantRemoved:
			participants[f.ParticipantID] = true
		case events.ParticipantContactChanged:
			participants[f.ParticipantID] = true
		}
	}
	return whole, participants
}
