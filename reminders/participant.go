package reminders

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// planTouched plans the participants that were touched, and gives the events
// that are to be planned as a whole.
func (p *planner) planTouched(ctx context.Context, touch touches, behind bool) (wholes []string, err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	var mu sync.Mutex
	for event, t := range touch {
		if t.whole || behind {
			mu.Lock()
			wholes = append(wholes, event)
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			var left leftOut
			err := p.planThese(groupCtx, event, slices.Collect(maps.Keys(t.participants)), &left)
			if err == nil {
				err = left.err
			}
			if unreadable(err) {
				mu.Lock()
				defer mu.Unlock()
				wholes = append(wholes, event)
			}
			return p.setAside(event, err)
		})
	}
	err = group.Wait()
	return wholes, err
}

// leftOut is what could not be planned, as a notification can't be read. The
// event is planned as a whole once more, later.
type leftOut struct {
	mu  sync.Mutex
	err error // of the first
}

func (l *leftOut) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// planThese plans some participants of an event, as they are at one moment.
func (p *planner) planThese(ctx context.Context, event string, participants []string, left *leftOut) error {
	type seen struct {
		wanted   [][]events.NotificationScheduled
		answered []time.Time
		reason   []string
		promote  bool
	}
	now, err := commands.View(ctx, p.commands, commands.EventStream(event), func(e *aggregates.Event, _ int64) seen {
		s := seen{promote: canPromote(e)}
		for _, id := range participants {
			who, _ := e.Participant(id)
			s.wanted, s.reason = append(s.wanted, Wanted(e, who, p.kinds)), append(s.reason, whyNot(e, who))
			s.answered = append(s.answered, answeredAt(who))
		}
		return s
	})
	if err != nil {
		return err
	}
	open, err := p.table.openOfThese(ctx, event, participants)
	if err != nil {
		return fmt.Errorf("read what is open: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i := range participants {
		if len(now.wanted[i])+len(open[i]) == 0 {
			continue
		}
		group.Go(func() error {
			wanted, out, err := p.fallback.settle(groupCtx, p.commands, now.wanted[i], now.answered[i])
			if unreadable(err) {
				left.note(err)
				return nil
			}
			if err != nil {
				return err
			}
			schedule, cancel := Plan(wanted, open[i], now.reason[i])
			for _, c := range cancel {
				if why := out[c.NotificationID]; why != "" {
					c.Reason = why
				}
				if err := p.do(groupCtx, c, left); err != nil {
					return err
				}
			}
			for _, c := range schedule {
				if err := p.do(groupCtx, c, left); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if now.promote {
		return p.promote(ctx, event)
	}
	return nil
}

func canPromote(e *aggregates.Event) bool {
	return e.Exists() && e.WaitingCount() > 0 && (e.Capacity == 0 || e.ConfirmedCount() < e.Capacity)
}

// promote gives away seats that are still free after a write was full.
func (p *planner) promote(ctx context.Context, event string) error {
	for {
		answer, err := commands.Do(ctx, p.commands, commands.PromoteWaiting{EventID: event}, system(event), nothing[*aggregates.Event])
		if errors.Is(err, aggregates.ErrEventNotFound) {
			return nil
		}
		if err != nil || answer.Appended == 0 {
			return err
		}
	}
}

// do asks for a change to a notification. One that can't be read is left out: it
// holds up no other.
func (p *planner) do(ctx context.Context, c commands.Command[*aggregates.Notification], left *leftOut) error {
	_, err := commands.Do(ctx, p.commands, c, system(strings.TrimPrefix(c.Stream(), "notification-")), nothing[*aggregates.Notification])
	if unreadable(err) {
		left.note(err)
		return nil
	}
	return err
}

// system is the caller of what Belltower does by itself.
func system(about string) commands.Caller {
	return commands.Caller{Actor: "belltower", CorrelationID: about, CausationID: about}
}

func nothing[S any](S, time.Time) struct{} { return struct{}{} }
