package reminders

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/internal/model"
)

// verify holds what is against what is to be.
func (p *player) verify(log []commands.Entry) error {
	if problem := p.r.planner.status().Error; problem != "" {
		return fmt.Errorf("the planner stands still: %s", problem)
	}
	now, wanted := p.now(), model.Of(log, eventID, 1<<40).Wants()
	all := p.notifications()
	if err := p.verifyChains(log, wanted, all); err != nil {
		return err
	}
	for id, w := range wanted {
		n := all[id]
		switch {
		case n == nil:
			return fmt.Errorf("%s is wanted at %s, and nowhere", id, w.Due)
		case n.Status == aggregates.NotificationCancelled && n.CancelReason == events.CancelledByHand:
		case w.Due.After(now) && (n.Status != aggregates.NotificationPending || !n.ScheduledTime.Equal(w.Due) || !n.Expires.Equal(w.Expires)):
			return fmt.Errorf("%s is wanted at %s until %s, and is %s, due at %s, until %s", id, w.Due, w.Expires, n.Status, n.ScheduledTime, n.Expires)
		case !w.Due.After(now) && !n.Final() && !n.NextAttempt.After(now):
			return fmt.Errorf("%s was due at %s, and is %s", id, w.Due, n.Status)
		case n.Status == aggregates.NotificationCancelled:
			return fmt.Errorf("%s is wanted, and was cancelled as %s", id, n.CancelReason)
		}
	}
	for id, n := range all {
		if _, ok := wanted[id]; !ok && !n.Final() {
			return fmt.Errorf("%s is %s, and nobody wants it", id, n.Status)
		}
	}
	if err := p.verifySends(log); err != nil {
		return err
	}
	if err := p.verifyTexts(log, all); err != nil {
		return err
	}
	return p.verifyTable(all)
}

// verifySends: nothing for an old state, nothing early or past its end, nothing
// twice but in doubt.
func (p *player) verifySends(log []commands.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := map[string]int{}
	for _, s := range p.sends {
		ok := false
		for revision := s.from; revision <= s.to && !ok; revision++ {
			w, wanted := model.Of(log, eventID, revision).Wants()[s.ID]
			ok = wanted && !s.at.Before(w.Due) && !s.at.After(w.Expires)
		}
		if !ok {
			return fmt.Errorf("%s was sent at %s to a state (%d to %d) that doesn't want it then", s.ID, s.at, s.from, s.to)
		}
		if due := model.ScheduledFor(log, s.ID, s.Attempt); s.at.Before(due) {
			return fmt.Errorf("%s was sent at %s, before %s", s.ID, s.at, due)
		}
		if before[s.ID] > 0 && !model.AllowedAgain(log, s.ID, s.Attempt) {
			return fmt.Errorf("%s was sent twice, and not in doubt:%s", s.ID, told(log, s.ID))
		}
		if s.taken {
			before[s.ID]++
		}
	}
	return nil
}

// verifyTexts: what a provider took that can be asked went to it once, whatever
// happened in between, unless somebody asked for more; and what was sent it has.
func (p *player) verifyTexts(log []commands.Entry, all map[string]*aggregates.Notification) error {
	byHand, taken := map[string]bool{}, map[string]int{}
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.NotificationRetried:
			byHand[f.NotificationID] = true
		case events.ProviderAsked:
			p.note("asked")
		case events.NotificationSent:
			if f.Found {
				p.note("found")
			}
		}
	}
	for _, d := range p.texts.taken {
		if taken[d.ID]++; taken[d.ID] > 1 && !byHand[d.ID] {
			return fmt.Errorf("%s was taken twice by who can be asked:%s", d.ID, told(log, d.ID))
		}
	}
	for id, n := range all {
		if n.Channel == "sms" && n.Status == aggregates.NotificationSent && taken[id] == 0 {
			return fmt.Errorf("%s counts as sent, and was not taken:%s", id, told(log, id))
		}
	}
	return nil
}

// told tells all about a notification.
func told(log []commands.Entry, id string) string {
	var all strings.Builder
	for _, entry := range log {
		if entry.Record.Stream == commands.NotificationStream(id) {
			fmt.Fprintf(&all, "\n%s %T%+v", entry.Metadata.OccurredAt.Format("15:04:05.999999"), entry.Fact, entry.Fact)
		}
	}
	return all.String()
}

// verifyTable holds the planner's table against the notification streams.
func (p *player) verifyTable(all map[string]*aggregates.Notification) error {
	rows, err := p.r.table.rows(context.Background(), "true")
	if err != nil {
		return err
	}
	for _, r := range rows {
		n := all[r.ID]
		if n == nil || n.Final() || r.Revision != n.Changed.Revision || r.Boot != n.Boot || !r.Due.Equal(latest(n.ScheduledTime, n.NextAttempt)) || !r.Expires.Equal(n.Expires) {
			return fmt.Errorf("the table has %+v, the stream %+v", r, n)
		}
		delete(all, r.ID)
	}
	for id, n := range all {
		if !n.Final() {
			return fmt.Errorf("%s is %s, and not in the table", id, n.Status)
		}
	}
	return nil
}

// verifyRebuild: planning all that happened once more gives the same table and appends nothing.
func (p *player) verifyRebuild(log []commands.Entry) error {
	ask(p, commands.StopProcessor{})
	synctest.Wait()
	before, err := p.r.table.rows(context.Background(), "true ORDER BY id")
	if err != nil {
		return err
	}
	p.restartAfter(p.loseTable)
	synctest.Wait()
	after, err := p.r.table.rows(context.Background(), "true ORDER BY id")
	if err != nil {
		return err
	}
	for i := range before {
		before[i].Attempt, before[i].Claim, before[i].InDoubt = 0, 0, false // of attempts that are over
	}
	for i := range after {
		after[i].Attempt, after[i].Claim, after[i].InDoubt = 0, 0, false
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("the table was %+v and is, built anew, %+v", before, after)
	}
	for _, entry := range p.log()[len(log):] {
		if entry.Record.Stream != commands.ProcessorStream {
			return fmt.Errorf("planning again appended %+v", entry.Fact)
		}
	}
	return nil
}
