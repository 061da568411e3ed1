package reminders

import (
	"context"
	"errors"
	"fmt"
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
	later := map[string]bool{}
	for event, t := range touch {
		if t.whole || behind {
			wholes = append(wholes, event)
			continue
		}
		for participant := range t.participants {
			group.Go(func() error {
				var left leftOut
				err := p.planOne(groupCtx, event, participant, &left)
				if err == nil {
					err = left.err
				}
				if unreadable(err) {
					mu.Lock()
					defer mu.Unlock()
					later[event] = true
				}
				return p.setAside(event, err)
			})
		}
	}
	err = group.Wait()
	for event := range later {
		wholes = append(wholes, event)
	}
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

// planOne plans one participant.
func (p *planner) planOne(ctx context.Context, event, participant string, left *leftOut) error {
	type seen struct {
		wanted  []events.NotificationScheduled
		reason  string
		promote bool
	}
	now, err := commands.View(ctx, p.commands, commands.EventStream(event), func(e *aggregates.Event, _ int64) seen {
		who, _ := e.Participant(participant)
		return seen{Wanted(e, who, p.kinds), whyNot(e, who), canPromote(e)}
	})
	if err != nil {
		return err
	}
	open, err := p.table.openOf(ctx, event, participant)
	if err != nil {
		return fmt.Errorf("read what is open: %w", err)
	}
	schedule, cancel := Plan(now.wanted, open, now.reason)
	for _, c := range cancel {
		if err := p.do(ctx, c, left); err != nil {
			return err
		}
	}
	for _, c := range schedule {
		if err := p.do(ctx, c, left); err != nil {
			return err
		}
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
