package reminders

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
)

// slices does the next part of the work on each event.
func (p *planner) slices(ctx context.Context, works []work) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, w := range works {
		group.Go(func() error { return p.setAside(w.event, p.slice(groupCtx, w)) })
	}
	return group.Wait()
}

// slice does the next part of the work on one event. Where it had to leave
// something out, it says so, and the event is begun with again at its end.
func (p *planner) slice(ctx context.Context, w work) error {
	var finished bool
	var left leftOut
	var err error
	if !w.checked {
		err = p.checkSlice(ctx, &w, &left)
	}
	if err == nil && w.checked { // a small event is planned in one go
		finished, err = p.rosterSlice(ctx, &w, &left)
	}
	if err != nil {
		return err
	}
	err = p.table.change(func(c change) error {
		if err := c.advance(w, finished); err != nil || left.err == nil {
			return err
		}
		return c.addWork(w.event)
	})
	if err != nil {
		return fmt.Errorf("keep what is planned: %w", err)
	}
	p.update(func() {
		if left.err == nil {
			delete(p.aside, w.event)
		} else {
			p.ask([]string{w.event})
		}
	})
	if finished {
		p.planned(w.event)
	}
	return left.err
}

// checkSlice cancels what is scheduled and no longer wanted.
func (p *planner) checkSlice(ctx context.Context, w *work, left *leftOut) error {
	rows, err := p.table.openAfter(ctx, *w, sliceSize)
	if err != nil {
		return fmt.Errorf("read what is open: %w", err)
	}
	if len(rows) == 0 {
		w.checked = true
		return nil
	}
	cancel, err := commands.View(ctx, p.commands, commands.EventStream(w.event), func(e *aggregates.Event, _ int64) (cancel []commands.CancelNotification) {
		for _, r := range rows {
			who, _ := e.Participant(r.Participant)
			_, unwanted := Plan(Wanted(e, who, p.kinds), []Open{{NotificationID: r.ID, ParticipantID: r.Participant}}, whyNot(e, who))
			cancel = append(cancel, unwanted...)
		}
		return cancel
	})
	if err != nil {
		return err
	}
	last := rows[len(rows)-1]
	w.participant, w.notification, w.checked = last.Participant, last.ID, len(rows) < sliceSize
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, c := range cancel {
		group.Go(func() error { return p.do(groupCtx, c, left) })
	}
	return group.Wait()
}

// rosterSlice schedules what is wanted and not scheduled yet.
func (p *planner) rosterSlice(ctx context.Context, w *work, left *leftOut) (finished bool, err error) {
	type seen struct {
		ids     []string
		next    int
		total   int
		promote bool
	}
	now, err := commands.View(ctx, p.commands, commands.EventStream(w.event), func(e *aggregates.Event, _ int64) seen {
		s := seen{total: e.ParticipantCount(), promote: canPromote(e)}
		for who := range e.ParticipantsFrom(w.ordinal) {
			if len(s.ids) == sliceSize {
				break
			}
			s.ids, s.next = append(s.ids, who.ID), who.Ordinal+1
		}
		return s
	})
	if err != nil {
		return false, err
	}
	if err := p.planThese(ctx, w.event, now.ids, left); err != nil {
		return false, err
	}
	if finished = len(now.ids) < sliceSize; finished {
		if now.promote {
			err = p.promote(ctx, w.event)
		}
		p.progress(w.event, 0, 0, true)
		return err == nil, err
	}
	w.ordinal = now.next
	p.progress(w.event, now.next, now.total, false)
	return false, nil
}

func (p *planner) progress(event string, done, total int, finished bool) {
	p.update(func() {
		kept := make([]Planning, 0, len(p.planning)+1)
		for _, q := range p.planning {
			if q.EventID != event {
				kept = append(kept, q)
			}
		}
		if !finished {
			kept = append(kept, Planning{EventID: event, Done: min(done, total), Total: total})
		}
		p.planning = kept
	})
}
