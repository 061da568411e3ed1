package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// ends is what became of all that was due, and what arrived at the providers.
type ends struct {
	due, accepted, rejected, failed, held, cancelled int
	calls, taken                                     int
	again                                            int // taken once more, after an unknown outcome
	recognised                                       int // repeats that the webhook's receiver knows by their id
	found                                            int // taken, as their provider told when it was asked
	done                                             map[doing]int
}

func (n ends) String() string {
	var done []string
	for what, times := range n.done {
		done = append(done, fmt.Sprintf("%d %s", times, what))
	}
	slices.Sort(done)
	return fmt.Sprintf("due %d = accepted %d + failed %d (%d of them rejected or suppressed) + held %d + cancelled %d; %d calls (%s); %d messages taken, "+
		"of them %d again after an unknown outcome, %d repeats recognised by the webhook's receiver; %d found by asking their provider",
		n.due, n.accepted, n.failed, n.rejected, n.held, n.cancelled, n.calls, strings.Join(done, ", "), n.taken, n.again, n.recognised, n.found)
}

// judge holds what arrived at the providers against the log, the API and what the clients were told.
func (p *providing) judge(all map[string]*story, told map[string]object) (n ends) {
	n.done = map[doing]int{}
	calls := map[string][]arrived{}
	var messages []message
	for i, a := range p.sim.all() {
		n.calls++
		n.done[a.what]++
		s := all[a.notification]
		if s == nil {
			p.ledger.blame(phantom, "%+v was sent and never scheduled", a)
			continue
		}
		if a.what == forged {
			p.ledger.blame(phantom, "%+v proves nothing of who sent it", a)
		}
		if a.attempt == 0 {
			a.attempt = during(s, a.at)
		}
		calls[a.notification] = append(calls[a.notification], a)
		m := message{Notification: a.notification, Channel: a.channel, To: a.to, Attempt: a.attempt, Text: a.text, at: moment{offset: int64(i)}, seen: a.at}
		messages = append(messages, m)
		if since, ok := p.cancelled[a.notification]; ok && !m.at.before(since) {
			p.ledger.blame(phantom, "%+v was sent after it was cancelled by hand: %+v", a, s.Log)
		}
		p.arrivedInTime(a, s)
	}
	for id, s := range all {
		p.counted(&n, id, s, calls[id])
		p.shown(id, s, told[id])
		p.repeated(&n, id, s, calls[id])
	}
	p.expected(all)
	p.stopped(all, calls)
	overtaken := unwanted(p.ledger, all, messages, p.happenings())
	p.ledger.note(func(t *tally) { t.delivered, t.inDoubt, t.overtaken = n.taken, n.again, overtaken })
	return n
}

// during is the attempt that was under way at a time.
func during(s *story, at time.Time) (attempt int) {
	for _, a := range s.Log {
		if !a.StartedAt.After(at) {
			attempt = a.Number
		}
	}
	return attempt
}

func (p *providing) arrivedInTime(a arrived, s *story) {
	switch {
	case a.attempt < 1 || a.attempt > len(s.Log):
		p.ledger.blame(phantom, "%+v was sent and never claimed: %+v", a, s.Log)
	case a.at.Before(s.ScheduledTime):
		p.ledger.blame(early, "%+v was due at %s", a, s.ScheduledTime)
	case a.at.After(s.Expires.Add(time.Second)): // it was on its way
		p.ledger.blame(phantom, "%+v expired at %s", a, s.Expires)
	}
}

// counted adds how a notification ended that was due.
func (p *providing) counted(n *ends, id string, s *story, calls []arrived) {
	if s.ScheduledTime.After(time.Now()) || (s.CancelReason != "" && s.Changed.At.Before(s.ScheduledTime)) {
		if len(calls) > 0 {
			p.ledger.blame(early, "%s was not due, and sent: %+v", id, calls)
		}
		return
	}
	n.due++
	taken := slices.ContainsFunc(calls, func(a arrived) bool { return a.what.takes() })
	final := slices.ContainsFunc(calls, func(a arrived) bool { return a.what.final() })
	switch s.Status {
	case aggregates.NotificationSent, aggregates.NotificationDelivered:
		n.accepted++
		if !taken {
			p.ledger.blame(lost, "%s is %s, and no provider has it: %+v; %+v", id, s.Status, calls, s.Log)
		}
	case aggregates.NotificationCancelled:
		n.cancelled++
	case aggregates.NotificationFailed:
		if s.LastError == events.FailedOutcomeUnknown {
			n.held++
			if len(s.Doubtful()) == 0 {
				p.ledger.blame(lost, "%s is held, and nothing is in doubt: %+v", id, s.Log)
			}
			return
		}
		n.failed++
		if final || strings.Contains(s.LastError, "nothing is sent to this address") {
			n.rejected++
		} else if s.LastError != events.FailedMissed {
			p.ledger.blame(lost, "%s is FAILED (%s), and no provider refused it: %+v; %+v", id, s.LastError, calls, s.Log)
		}
		if taken && s.Channel != "webhook" && len(s.Doubtful()) == 0 {
			p.ledger.blame(lost, "%s is FAILED (%s), and a provider has it: %+v; %+v", id, s.LastError, calls, s.Log)
		}
	default:
		p.ledger.blame(lost, "%s was due at %s and is %s: %+v", id, s.ScheduledTime, s.Status, s.Log)
	}
}

// shown holds what the API tells against the log.
func (p *providing) shown(id string, s *story, told object) {
	if told == nil {
		p.ledger.blame(lost, "%s is not shown", id)
		return
	}
	p.ledger.note(func(t *tally) { t.checked++ })
	var have, want []string
	for _, a := range told.list("attempt_log") {
		have = append(have, fmt.Sprint(a.number("number"), " ", a.text("outcome")))
	}
	for _, a := range s.Log {
		want = append(want, fmt.Sprint(a.Number, " ", a.Outcome))
	}
	if told.text("status") != string(s.Status) || !slices.Equal(have, want) || told.number("attempts") != s.Attempts {
		p.ledger.blame(diverged, "%s is %s after %v, and shown as %s after %v", id, s.Status, want, told.text("status"), have)
	}
}

// repeated looks whether each attempt is what the log says of it, and whether what
// was sent again was in doubt, or certainly not taken before.
func (p *providing) repeated(n *ends, id string, s *story, calls []arrived) {
	taken, made := 0, map[int]bool{}
	for i, a := range calls {
		if a.attempt < 1 || a.attempt > len(s.Log) {
			continue
		}
		said := s.Log[a.attempt-1].Outcome
		if made[a.attempt] {
			p.ledger.blame(duplicate, "%s was sent twice by attempt %d: %+v; %+v", id, a.attempt, calls, s.Log)
		}
		made[a.attempt] = true
		knows := a.channel == "webhook" // its receiver, what it has
		switch {
		case a.what.takes() && said != aggregates.OutcomeSent && said != aggregates.OutcomeUnknown && (!knows || a.what.says()):
			p.ledger.blame(lost, "%+v has it, and its attempt is said to be %s: %+v", a, said, s.Log)
		case !a.what.takes() && said == aggregates.OutcomeSent:
			p.ledger.blame(lost, "%+v hasn't it, and its attempt is said to be sent: %+v", a, s.Log)
		case said == aggregates.OutcomeSent && !a.what.says() && a.channel != "sms":
			p.ledger.blame(lost, "nobody told that %+v was taken, and its attempt is said to be sent: %+v", a, s.Log)
		case said == aggregates.OutcomeSent && !a.what.says():
			n.found++
		}
		if i > 0 && calls[i-1].what.final() && !unheard(s, calls[i-1].attempt) {
			p.ledger.blame(duplicate, "%s was refused for good, and sent again: %+v; %+v", id, calls, s.Log)
		}
		if !a.what.takes() {
			continue
		}
		n.taken++
		if taken++; taken == 1 {
			continue
		}
		before := slices.IndexFunc(calls, func(b arrived) bool { return b.what.takes() })
		switch {
		case unclear(s, calls[before].attempt):
			n.again++
			if !s.InDoubt {
				p.ledger.blame(duplicate, "%s was sent again, and not in doubt: %+v; %+v", id, calls, s.Log)
			}
		case knows && s.Log[calls[before].attempt-1].Outcome == aggregates.OutcomeFailed:
			n.recognised++
		default:
			p.ledger.blame(duplicate, "%s was taken twice, and nothing explains it: %+v; %+v", id, calls, s.Log)
		}
	}
}

// unclear tells whether the outcome of an attempt is unknown, as the service says.
func unclear(s *story, attempt int) bool {
	return attempt >= 1 && attempt <= len(s.Log) && s.Log[attempt-1].Outcome == aggregates.OutcomeUnknown
}

// unheard tells whether the answer to an attempt didn't reach the service: its
// outcome is unknown, or was until its provider was asked.
func unheard(s *story, attempt int) bool {
	return unclear(s, attempt) || (attempt >= 1 && attempt <= len(s.Log) && s.Log[attempt-1].Asked > 0)
}

// expected finds those who were to be reminded, whatever happened, and of whom there is nothing.
func (p *providing) expected(all map[string]*story) {
	there := map[string]*story{}
	for _, s := range all {
		if !s.ScheduledTime.After(time.Now()) {
			there[s.ReminderID+s.AnnouncementID+" "+s.ParticipantID+" "+s.Channel] = s
		}
	}
	look := func(what string, who *person, channels []string) {
		for _, channel := range channels {
			p.ledger.note(func(t *tally) { t.checked++ })
			if there[what+" "+who.id+" "+channel] == nil {
				p.ledger.blame(lost, "%s of participant %s on %s was never due", what, who.id, channel)
			}
		}
	}
	for _, h := range p.happenings() {
		if h.cancelled.is() || h.start().at.After(time.Now().Add(time.Hour)) {
			continue
		}
		for _, who := range h.coming() {
			for _, r := range h.rules() {
				look(r.id, who, channelsOfAll)
			}
			for _, a := range h.announcements {
				if slices.Contains(a.to, who) {
					look(a.id, who, []string{"sms"})
				}
			}
		}
	}
}

// stopped looks whether those who have said stop were left alone afterwards.
func (p *providing) stopped(all map[string]*story, calls map[string][]arrived) {
	since := map[string]time.Time{} // by number: recorded by then
	for id, s := range all {
		for _, a := range calls[id] {
			if (a.what == stopped || a.what == nobody) && s.Status == aggregates.NotificationFailed && !unheard(s, a.attempt) {
				if before, ok := since[a.to]; !ok || s.Changed.At.Before(before) {
					since[a.to] = s.Changed.At
				}
			}
		}
	}
	for id, s := range all {
		for _, a := range calls[id] {
			if at, ok := since[a.to]; ok && a.attempt >= 1 && a.attempt <= len(s.Log) && s.Log[a.attempt-1].StartedAt.After(at) {
				p.ledger.blame(phantom, "%+v was sent to who had said stop at %s", a, at)
			}
		}
	}
}
