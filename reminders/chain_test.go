package reminders

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/internal/model"
)

// verifyChains holds messages that stand in for each other against what a chain is.
// From wanted it takes those whose turn has not come or is over, and moves the others
// to their turn.
func (p *player) verifyChains(log []commands.Entry, wanted map[string]model.Expected, all map[string]*aggregates.Notification) error {
	if len(p.fallback.Chain) == 0 {
		return nil
	}
	if err := p.verifyHops(log); err != nil {
		return err
	}
	answered := map[string]time.Time{}
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.ParticipantResponded:
			answered[f.ParticipantID] = entry.Metadata.OccurredAt
		case events.ParticipantRemoved:
			delete(answered, f.ParticipantID)
		}
	}
	chains := map[[2]string][]string{} // ids in the order of the chain
	for _, channel := range p.fallback.Chain {
		for id, w := range wanted {
			if w.Channel == channel {
				chains[[2]string{w.For, w.To}] = append(chains[[2]string{w.For, w.To}], id)
			}
		}
	}
	for who, ids := range chains {
		for i := len(ids) - 1; i > 0; i-- {
			w := wanted[ids[i]]
			due, turn := p.turnOf(all, ids[:i], answered[who[1]])
			if !turn || due.After(w.Expires) {
				delete(wanted, ids[i])
				continue
			}
			if due.After(w.Due) {
				w.Due = due
			}
			if n := all[ids[i]]; n != nil && n.Final() && n.Status != aggregates.NotificationCancelled {
				w.Due = p.now() // it had its turn before
			}
			wanted[ids[i]] = w
			p.note("hop")
		}
	}
	return nil
}

// turnOf says when a message follows on those before it, as they stand at last.
func (p *player) turnOf(all map[string]*aggregates.Notification, before []string, answered time.Time) (due time.Time, turn bool) {
	for _, id := range before {
		n := all[id]
		if n == nil {
			return due, false
		}
		if n.Status == aggregates.NotificationDelivered || (n.Status == aggregates.NotificationSent && answered.After(n.SentTime)) {
			return due, false
		}
	}
	switch last := all[before[len(before)-1]]; last.Status {
	case aggregates.NotificationFailed:
		return last.Changed.At, true
	case aggregates.NotificationSent:
		return last.SentTime.Add(p.fallback.After), true
	}
	return due, false
}

// verifyHops: at most one message of a chain is under way; each that follows says on
// what, and is sent only once that has failed, or was sent long enough ago; none is
// sent after it was told that one before it arrived.
func (p *player) verifyHops(log []commands.Entry) error {
	all := map[string]*aggregates.Notification{}
	byHand := map[string]bool{} // by event, as it lets one be sent beside another
	before := map[string]string{}
	began := map[string]bool{} // attempts that began while the one before stood otherwise
	key := func(id string, attempt int) string { return fmt.Sprint(id, " ", attempt) }
	for _, entry := range log {
		id, ok := strings.CutPrefix(entry.Record.Stream, commands.NotificationStream(""))
		if !ok {
			continue
		}
		if all[id] == nil {
			all[id] = &aggregates.Notification{}
		}
		n := all[id]
		n.Evolve(entry.Fact, aggregates.Stamp{Revision: entry.Record.Revision, At: entry.Metadata.OccurredAt})
		switch f := entry.Fact.(type) {
		case events.NotificationScheduled:
			if before[id] = f.FallbackOf; f.FallbackOf != "" && all[f.FallbackOf] == nil {
				return fmt.Errorf("%s follows on %s, of which there is nothing", id, f.FallbackOf)
			}
		case events.NotificationRetried:
			byHand[n.ReminderID+n.AnnouncementID+n.ParticipantID] = true
		case events.SendingStarted:
			for _, other := range all {
				beside := other.ID != id && other.Status == aggregates.NotificationSending && slices.Contains(p.fallback.Chain, other.Channel) &&
					other.ParticipantID == n.ParticipantID && other.ReminderID == n.ReminderID && other.AnnouncementID == n.AnnouncementID && other.Expires.Equal(n.Expires)
				if beside && slices.Contains(p.fallback.Chain, n.Channel) && !byHand[n.ReminderID+n.AnnouncementID+n.ParticipantID] {
					return fmt.Errorf("%s is under way beside %s:%s%s", id, other.ID, told(log, id), told(log, other.ID))
				}
			}
			if last := all[before[id]]; last != nil && last.Status != aggregates.NotificationSent && last.Status != aggregates.NotificationFailed {
				began[key(id, f.Attempt)] = true
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sends {
		if before[s.ID] == "" {
			continue
		}
		p.seen["hop sent"] = true
		for id := before[s.ID]; id != ""; id = before[id] {
			if p.arrivedBefore(id, s.at.Add(-maxLookAge)) {
				return fmt.Errorf("%s was sent at %s, though %s had arrived:%s%s", s.ID, s.at, id, told(log, id), told(log, s.ID))
			}
		}
		if began[key(s.ID, s.Attempt)] {
			return fmt.Errorf("%s was sent at %s, and it was not its turn:%s%s", s.ID, s.at, told(log, before[s.ID]), told(log, s.ID))
		}
	}
	return nil
}

// arrivedBefore tells whether those who were told by then that a message arrived were
// told nothing else up to the end.
func (p *player) arrivedBefore(id string, then time.Time) (arrived bool) {
	for _, n := range p.news {
		if n.id != id {
			continue
		}
		if !n.arrived {
			return false
		}
		arrived = arrived || n.at.Before(then)
	}
	return arrived
}
