package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
	"github.com/belltower/belltower/eventstore"
)

// longHistory is a data folder with many facts, and with many pending
// notifications among them, which the service itself has planned.
type longHistory struct {
	dir     string
	facts   int
	pending int
	most    float64 // bytes of memory that the service had while it planned
}

// shape parts so many notifications into events, participants and reminders.
func shape(notifications int) (events, participants, reminders int) {
	reminders = min(20, notifications)
	participants = min(250, notifications/reminders)
	return notifications / reminders / participants, participants, reminders
}

// makeHistory makes one with about so many facts and notifications. The folder
// is removed with the lab.
func makeHistory(ctx context.Context, l *lab.Lab, facts, notifications int) (h longHistory, err error) {
	c, err := openCore(ctx, l)
	if err != nil {
		return h, err
	}
	c.keep, h.dir = true, c.dir
	events, participants, reminders := shape(notifications)
	h.pending = events * participants * reminders
	l.Progress("making a history of %d facts and %d notifications", facts, h.pending)
	start := time.Now().Add(30 * 24 * time.Hour)
	const others = 9 // participants of events that nobody is reminded of
	rest := max(0, facts-h.pending-events*(1+participants+reminders)) / (1 + others)
	err = c.history(ctx, "plain", rest, others, 0, start)
	if err == nil {
		err = c.history(ctx, "reminded", events, participants, reminders, start)
	}
	if err = errors.Join(err, c.close()); err != nil {
		return h, err
	}
	l.OnClose(func() error { return os.RemoveAll(h.dir) })
	if err := h.plan(ctx, l); err != nil {
		return h, err
	}
	h.facts, err = countFacts(ctx, h.dir, func(eventstore.Record) error { return nil })
	return h, err
}

// plan has the service plan all that is to be sent, and fold it.
func (h *longHistory) plan(ctx context.Context, l *lab.Lab) (err error) {
	l.Progress("the service plans it")
	s, err := ours.Start(ctx, l, h.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	if err := s.CountsUntil(ctx, "PENDING", h.pending); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := s.Until(ctx, 50*time.Millisecond, func() (bool, error) { return s.Ready(ctx) }); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	if _, h.most, err = s.Memory(); errors.Is(err, measure.ErrMissing) {
		err = nil // who needs it finds that out
	}
	return err
}
