package reminders

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// verify holds what is against what is to be.
func (p *player) verify(log []commands.Entry) error {
	if problem := p.r.planner.status().Error; problem != "" {
		return fmt.Errorf("the planner stands still: %s", problem)
	}
	now, wanted := p.now(), modelOf(log, 1<<40).wants()
	all := p.notifications()
	for id, w := range wanted {
		n := all[id]
		switch {
		case n == nil:
			return fmt.Errorf("%s is wanted at %s, and nowhere", id, w.due)
		case n.Status == aggregates.NotificationCancelled && n.CancelReason == events.CancelledByHand:
		case w.due.After(now) && (n.Status != aggregates.NotificationPending || !n.ScheduledTime.Equal(w.due) || !n.Expires.Equal(w.expires)):
			return fmt.Errorf("%s is wanted at %s until %s, and is %s, due at %s, until %s", id, w.due, w.expires, n.Status, n.ScheduledTime, n.Expires)
		case !w.due.After(now) && !n.Final() && !n.NextAttempt.After(now):
			return fmt.Errorf("%s was due at %s, and is %s", id, w.due, n.Status)
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
			w, wanted := modelOf(log, revision).wants()[s.ID]
			ok = wanted && !s.at.Before(w.due) && !s.at.After(w.expires)
		}
		if !ok {
			return fmt.Errorf("%s was sent at %s to a state (%d to %d) that doesn't want it then", s.ID, s.at, s.from, s.to)
		}
		if due := scheduledFor(log, s.ID, s.Attempt); s.at.Before(due) {
			return fmt.Errorf("%s was sent at %s, before %s", s.ID, s.at, due)
		}
		if before[s.ID] > 0 && !allowedAgain(log, s.ID, s.Attempt) {
			return fmt.Errorf("%s was sent twice, and not in doubt:%s", s.ID, told(log, s.ID))
		}
		if s.taken {
			before[s.ID]++
		}
	}
	return nil
}

// scheduledFor gives the time that an attempt's notification was scheduled for when it began.
func scheduledFor(log []commands.Entry, id string, attempt int) (due time.Time) {
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.NotificationScheduled:
			if f.NotificationID == id {
				due = f.ScheduledTime
			}
		case events.SendingStarted:
			if f.NotificationID == id && f.Attempt == attempt {
				return due
			}
		}
	}
	return due
}

// allowedAgain tells whether an attempt was rightly made though an earlier one
// may have been sent: in doubt, before anything was known to be sent, or by hand
// after it had bounced.
func allowedAgain(log []commands.Entry, id string, attempt int) bool {
	known := false
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.NotificationSent:
			known = known || f.NotificationID == id
		case events.NotificationRetried:
			if f.NotificationID == id && known {
				return true
			}
		case events.SendingStarted:
			if f.NotificationID == id && f.Attempt == attempt {
				return f.InDoubt && !known
			}
		}
	}
	return false
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
