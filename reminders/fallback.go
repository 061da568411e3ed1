package reminders

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// Fallback is a chain of channels that stand in for each other. Of the channels
// that a message is for, only the first one of the chain is used when it is due.
// The next one follows once that one has failed, or After it was sent without
// a receipt or an answer of the participant; and so on. The zero Fallback is
// none: all channels are used at once.
type Fallback struct {
	Chain []string // in order
	After time.Duration
}

// String names the chain; the same for the same one.
func (f Fallback) String() string {
	if len(f.Chain) == 0 {
		return ""
	}
	return strings.Join(f.Chain, ">") + " after " + f.After.String()
}

// hop is a message that is wanted, and those that go before it in the chain: none
// where it goes at its time.
type hop struct {
	events.NotificationScheduled
	before []string // ids, in order
}

// arrange says which of what a participant is to be sent goes before what.
func (f Fallback) arrange(wanted []events.NotificationScheduled) []hop {
	hops := make([]hop, len(wanted))
	for i, w := range wanted {
		hops[i] = hop{NotificationScheduled: w}
		rank := slices.Index(f.Chain, w.Channel)
		for _, channel := range f.Chain[:max(rank, 0)] {
			for _, other := range wanted {
				if other.Channel == channel && other.ReminderID == w.ReminderID && other.AnnouncementID == w.AnnouncementID {
					hops[i].before = append(hops[i].before, other.NotificationID)
				}
			}
		}
	}
	return hops
}

// follows tells when a message is due that the chain has behind others, as these
// stand, and as the participant answered at last. Where it is not wanted, why says so:
// one of them arrived or was answered, or it is not its turn.
func (f Fallback) follows(before []aggregates.Notification, answered time.Time) (due time.Time, why string) {
	for _, n := range before {
		sent := n.Status == aggregates.NotificationSent
		if n.Status == aggregates.NotificationDelivered || (sent && answered.After(n.SentTime)) {
			return time.Time{}, events.CancelledReceived
		}
	}
	switch last := before[len(before)-1]; last.Status {
	case aggregates.NotificationFailed:
		return last.Changed.At, ""
	case aggregates.NotificationSent:
		return last.SentTime.Add(f.After), ""
	}
	return time.Time{}, events.CancelledSuperseded
}

// turn is follows, for a message that is wanted.
func (f Fallback) turn(ctx context.Context, h *commands.Handler, one hop, answered time.Time) (due time.Time, why string, err error) {
	if len(one.before) == 0 {
		return one.ScheduledTime, "", nil
	}
	before := make([]aggregates.Notification, len(one.before))
	for i, id := range one.before {
		before[i], err = commands.View(ctx, h, commands.NotificationStream(id), func(n *aggregates.Notification, _ int64) aggregates.Notification { return *n })
		if err != nil {
			return time.Time{}, "", err
		}
	}
	due, why = f.follows(before, answered)
	return latest(due, one.ScheduledTime), why, nil
}

// settle leaves out of what is wanted of a participant what waits in the chain for
// its turn, or has lost it; out says why, by id.
func (f Fallback) settle(ctx context.Context, h *commands.Handler, wanted []events.NotificationScheduled, answered time.Time) (now []events.NotificationScheduled, out map[string]string, err error) {
	if len(f.Chain) == 0 {
		return wanted, nil, nil
	}
	out = map[string]string{}
	for _, one := range f.arrange(wanted) {
		due, why, err := f.turn(ctx, h, one, answered)
		switch {
		case err != nil:
			return nil, nil, err
		case why != "":
			out[one.NotificationID] = why
			continue
		case due.After(one.Expires):
			continue
		case len(one.before) > 0:
			one.ScheduledTime, one.FallbackOf = due, one.before[len(one.before)-1]
		}
		now = append(now, one.NotificationScheduled)
	}
	return now, out, nil
}

// lost tells, before a message is sent, why it must not be, as others of its chain
// stand.
func (f Fallback) lost(ctx context.Context, h *commands.Handler, id string, wanted []events.NotificationScheduled, answered time.Time) (why string, err error) {
	if len(f.Chain) == 0 {
		return "", nil
	}
	for _, one := range f.arrange(wanted) {
		if one.NotificationID == id {
			_, why, err = f.turn(ctx, h, one, answered)
		}
	}
	return why, err
}

// concluded tells of which notification a fact says how it ended, or that it
// arrived or didn't: others of its chain may have their turn then, or have lost it.
func concluded(f events.Fact) (id string, ok bool) {
	switch f := f.(type) {
	case events.NotificationSent:
		return f.NotificationID, true
	case events.NotificationFailed:
		return f.NotificationID, true
	case events.NotificationDelivered:
		return f.NotificationID, true
	case events.AttemptBounced:
		return f.NotificationID, true
	}
	return "", false
}

// answeredAt tells when somebody answered at last; zero for nobody.
func answeredAt(p *aggregates.Participant) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.Answered.At
}
