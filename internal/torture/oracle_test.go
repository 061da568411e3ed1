package torture

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

// story is a notification as the log tells it.
type story struct {
	aggregates.Notification
	overtaken map[int]bool // attempts during which a change was acknowledged
}

// stories folds every notification from the log, deleted events' too, and
// counts positions and revisions. It closes the keys.
func stories(t *testing.T, l *ledger, folder string, ring *keys.Ring) map[string]*story {
	defer ring.Close()
	log, err := embedded.Open(t.Context(), folder, embedded.Options{})
	require.NoError(t, err)
	defer log.Close()
	sub, err := log.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	all := map[string]*story{}
	position, revisions := uint64(0), map[string]int64{}
	for caughtUp := false; !caughtUp; {
		batch, err := sub.Next(t.Context())
		require.NoError(t, err)
		caughtUp = batch.CaughtUp
		for _, r := range batch.Records {
			if position++; r.Position.Commit != position {
				l.blame(gap, "position %v comes after %d", r.Position, position-1)
				position = r.Position.Commit
			}
			if r.Revision != revisions[r.Stream] {
				l.blame(gap, "%s has revision %d at position %v, and had %d records before", r.Stream, r.Revision, r.Position, revisions[r.Stream])
			}
			revisions[r.Stream] = r.Revision + 1
			tell(t, all, ring, r)
		}
	}
	return all
}

// ringIn gives the keys of a folder.
func ringIn(t *testing.T, folder string) *keys.Ring {
	ring, err := keys.Open(t.Context(), folder, keys.Existing())
	require.NoError(t, err)
	return ring
}

func tell(t *testing.T, all map[string]*story, ring *keys.Ring, r eventstore.Record) {
	id, ok := strings.CutPrefix(r.Stream, commands.NotificationStream(""))
	if !ok {
		return
	}
	fact, err := events.Decode(ring, r.ID, r.Type, r.Data)
	require.NoError(t, err)
	var meta events.Metadata
	require.NoError(t, json.Unmarshal(r.Metadata, &meta))
	s := all[id]
	if s == nil {
		require.NoError(t, uuid.Validate(id))
		s = &story{overtaken: map[int]bool{}}
		all[id] = s
	}
	s.Evolve(fact, aggregates.Stamp{Revision: r.Revision, At: meta.OccurredAt})
	if sent, ok := fact.(events.NotificationSent); ok && sent.Overtaken {
		s.overtaken[sent.Attempt] = true
	}
}

// judge holds what was delivered against what the log says of it and what the
// clients were told.
func judge(l *ledger, all map[string]*story, delivered []message, happenings []*happening) {
	attempts := map[string][]int{}
	for _, m := range delivered {
		s := all[m.Notification]
		switch {
		case s == nil:
			l.blame(phantom, "%+v was delivered and never scheduled", m)
			continue
		case slices.Contains(attempts[m.Notification], m.Attempt):
			l.blame(duplicate, "%+v was delivered twice by one attempt", m)
		case m.Attempt > len(s.Log):
			l.blame(phantom, "%+v was delivered and never claimed: %+v", m, s.Log)
		default:
			if outcome := s.Log[m.Attempt-1].Outcome; outcome != aggregates.OutcomeSent && outcome != aggregates.OutcomeUnknown {
				l.blame(lost, "%+v was delivered, and its attempt is said to be %s: %+v", m, outcome, s.Log)
			}
		}
		attempts[m.Notification] = append(attempts[m.Notification], m.Attempt)
		if !m.seen.IsZero() && m.seen.Before(s.ScheduledTime) {
			l.blame(early, "%+v was delivered by %s, and was due at %s", m, m.seen, s.ScheduledTime)
		}
	}
	inDoubt := 0
	for id, numbers := range attempts {
		if len(numbers) == 1 {
			continue
		}
		s := all[id]
		slices.Sort(numbers) // of instances side by side
		doubt := true
		for _, number := range numbers[:len(numbers)-1] {
			doubt = doubt && number <= len(s.Log) && s.Log[number-1].Outcome == aggregates.OutcomeUnknown
		}
		if doubt && s.InDoubt {
			inDoubt++
		} else {
			l.blame(duplicate, "%s was delivered by attempts %v: %+v", id, numbers, s.Log)
		}
	}
	for id, s := range all {
		concluded(l, id, s, attempts[id])
	}
	overtaken := unwanted(l, all, delivered, happenings)
	l.note(func(t *tally) { t.delivered, t.inDoubt, t.overtaken = len(delivered), inDoubt, overtaken })
}

// concluded looks whether a notification ended as it has to.
func concluded(l *ledger, id string, s *story, attempts []int) {
	if !s.SentTime.IsZero() && s.SentTime.Before(s.ScheduledTime) {
		l.blame(early, "%s was sent at %s, and was due at %s", id, s.SentTime, s.ScheduledTime)
	}
	switch s.Status {
	case aggregates.NotificationSent:
		made := slices.IndexFunc(s.Log, func(a aggregates.Attempt) bool { return a.Outcome == aggregates.OutcomeSent })
		if made < 0 || !slices.Contains(attempts, s.Log[made].Number) {
			l.blame(lost, "%s is SENT and was not delivered: %+v", id, s.Log)
		}
	case aggregates.NotificationPending:
		if !s.ScheduledTime.After(time.Now()) {
			l.blame(lost, "%s is due and waits: %+v", id, s.Notification)
		}
	case aggregates.NotificationCancelled:
	default:
		l.blame(lost, "%s is not where it should be: %+v", id, s.Notification)
	}
}

// unwanted finds what was delivered after what makes it unwanted had been
// acknowledged, and counts what was overtaken.
func unwanted(l *ledger, all map[string]*story, delivered []message, happenings []*happening) (overtaken int) {
	type about struct {
		h *happening
		p *person
	}
	people := map[string]about{}
	for _, h := range happenings {
		for _, p := range h.people {
			people[p.id] = about{h, p}
		}
	}
	for _, m := range delivered {
		s := all[m.Notification]
		if s == nil {
			continue
		}
		a, ok := people[s.ParticipantID]
		if !ok {
			continue // of the hall, or of a registration that was never answered
		}
		for _, why := range a.h.against(s, a.p, m.at) {
			if s.overtaken[m.Attempt] {
				overtaken++
			} else {
				l.blame(phantom, "%+v, and %s: %+v", m, why, s.Notification)
			}
		}
	}
	return overtaken
}

// against gives the reasons for which s was not to be delivered to p at a moment.
func (h *happening) against(s *story, p *person, m moment) (reasons []string) {
	after := func(what string, since, until span) {
		if since.covers(m, until) {
			reasons = append(reasons, fmt.Sprintf("%s, which was acknowledged at %+v", what, since.acked))
		}
	}
	after("the event was deleted", h.deleted, span{})
	after("the event was cancelled", h.cancelled, span{})
	after("the participant was removed", p.removed, span{})
	for _, a := range p.away {
		after("the participant had declined", a.declined, a.accepted)
	}
	if s.ReminderID == "" {
		return reasons
	}
	for _, r := range h.reminders {
		if r.id != s.ReminderID {
			continue
		}
		after("the reminder was removed", r.removed, span{})
		for _, start := range h.starts {
			// A reminder expires a minute after the start that it is of.
			if start.at.Add(time.Minute).Equal(s.Expires) {
				after("the event was moved", start.replaced, span{})
			}
		}
	}
	return reasons
}
