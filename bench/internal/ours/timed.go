package ours

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/peers"
)

// Group is participants of one event, who are reminded at the same moment.
type Group struct {
	Offset       time.Duration // from the first due time
	Participants int
}

// minutesBefore is the longest time before its event at which a timed reminder can be due.
const minutesBefore = 60

// Timed has the service remind the participants of each group at its moment.
// Events and participants are there first; a reminder's due time is so many
// minutes before its event, so that the moment is chosen, on a grid of minutes,
// once they are loaded. Where planning takes longer than until then, it begins
// anew with twice the time.
//
// A notification's lateness is from its scheduled_time to its sent_time, "when
// the provider call that succeeded began". The console channel's lines must be one
// for each notification, and none may be there before the first due time.
func Timed(ctx context.Context, l *lab.Lab, groups []Group, lead time.Duration) (peers.Outcome, error) {
	for ; ; lead *= 2 {
		o, err := timed(ctx, l, groups, lead)
		if !errors.Is(err, peers.ErrNotLoaded) {
			return o, err
		}
		l.Progress("%v: again, with %v", err, 2*lead)
	}
}

func timed(ctx context.Context, l *lab.Lab, groups []Group, lead time.Duration) (o peers.Outcome, err error) {
	s, end, err := Fresh(ctx, l)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, end()) }()
	total := 0
	for _, g := range groups {
		total += g.Participants
	}
	// Loading takes less than that as a rule; where it takes longer, the first is due a minute later.
	usual := 2*time.Second + time.Duration(total+len(groups))*time.Second/1000
	base := time.Now().Add(minutesBefore*time.Minute + usual + lead).Truncate(time.Second).Add(time.Second)
	events, err := s.loadGroups(ctx, groups, base)
	if err != nil {
		return o, err
	}
	before := min(minutesBefore, int(time.Until(base.Add(-lead))/time.Minute))
	if before < 2 {
		return o, fmt.Errorf("loading took %d minutes: load less", minutesBefore)
	}
	first := base.Add(-time.Duration(before) * time.Minute)
	l.Progress("loaded; the first of %d is due in %v", total, time.Until(first).Round(time.Millisecond))
	if _, err := load.Times(ctx, 64, len(events), func(ctx context.Context, _, n int) error { return s.Remind(ctx, events[n], before) }); err != nil {
		return o, fmt.Errorf("add reminders: %w", err)
	}
	for planned := false; !planned; {
		got, err := s.Stats(ctx)
		if err != nil {
			return o, err
		}
		planned = got.Notifications.ByStatus["PENDING"] == total
		if time.Until(first) < 200*time.Millisecond {
			return o, peers.ErrNotLoaded
		}
		if !planned {
			time.Sleep(100 * time.Millisecond)
		}
	}
	return s.watch(ctx, first, groups[len(groups)-1].Offset, total)
}

// loadGroups makes the events of groups, which start at base and their offset, with their participants.
func (s *Service) loadGroups(ctx context.Context, groups []Group, base time.Time) ([]string, error) {
	events := make([]string, len(groups))
	var of []int // group of each participant
	for g := range groups {
		for range groups[g].Participants {
			of = append(of, g)
		}
	}
	if _, err := load.Times(ctx, 64, len(groups), func(ctx context.Context, _, n int) (err error) {
		events[n], err = s.Schedule(ctx, base.Add(groups[n].Offset))
		return err
	}); err != nil {
		return nil, fmt.Errorf("schedule events: %w", err)
	}
	if _, err := load.Times(ctx, 64, len(of), func(ctx context.Context, _, n int) error { return s.Register(ctx, events[of[n]], n) }); err != nil {
		return nil, fmt.Errorf("register participants: %w", err)
	}
	return events, nil
}

// watch waits until all are sent, and checks and gives what became of them.
func (s *Service) watch(ctx context.Context, first time.Time, last time.Duration, total int) (o peers.Outcome, err error) {
	if err := sleepUntil(ctx, first.Add(-50*time.Millisecond)); err != nil {
		return o, err
	}
	delivered, err := s.Delivered()
	if err != nil {
		return o, err
	}
	if len(delivered) > 0 && time.Now().Before(first) {
		return o, fmt.Errorf("%d were delivered before the first was due", len(delivered))
	}
	// How many are due is counted one by one, so it isn't asked for before all were delivered.
	if err := s.awaitDelivered(ctx, total); err != nil {
		return o, err
	}
	var done time.Time
	err = s.Until(ctx, 10*time.Millisecond, func() (bool, error) {
		if time.Since(first) < last {
			return false, nil
		}
		var p struct {
			Due      int `json:"due"`
			InFlight int `json:"in_flight"`
		}
		asked := time.Now()
		if err := s.Ask(ctx, 200, "GET", "/v1/processor", nil, &p); err != nil || p.Due > 0 || p.InFlight > 0 {
			done = time.Time{}
			return false, err
		}
		if done.IsZero() {
			done = asked
		}
		got, err := s.Stats(ctx)
		return got.Notifications.ByStatus["SENT"] == total, err
	})
	if err != nil {
		return o, err
	}
	o.Took = done.Sub(first)
	o.Late, err = s.late(ctx, total)
	return o, err
}

// awaitDelivered waits until the console channel has begun so many lines.
func (s *Service) awaitDelivered(ctx context.Context, total int) (err error) {
	out, err := os.Open(filepath.Clean(s.Out))
	if err != nil {
		return fmt.Errorf("read what was delivered: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	lines, before, chunk := 0, byte('\n'), make([]byte, 64<<10)
	return s.Until(ctx, 10*time.Millisecond, func() (bool, error) {
		for {
			n, err := out.Read(chunk)
			for _, b := range chunk[:n] {
				if b == '{' && before == '\n' {
					lines++
				}
				before = b
			}
			if errors.Is(err, io.EOF) {
				return lines >= total, nil
			} else if err != nil {
				return false, fmt.Errorf("read what was delivered: %w", err)
			}
		}
	})
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// late reads all notifications, each of which must be sent, in one attempt, and
// delivered once.
func (s *Service) late(ctx context.Context, total int) ([]time.Duration, error) {
	all, err := s.Notifications(ctx)
	if err != nil {
		return nil, err
	}
	delivered, err := s.Delivered()
	if err != nil {
		return nil, err
	}
	late := make([]time.Duration, 0, total)
	for _, n := range all {
		if n.Status != "SENT" || n.Attempts != 1 || delivered[n.ID] != 1 {
			return nil, fmt.Errorf("notification %s is %s, after %d attempts, and was delivered %d times", n.ID, n.Status, n.Attempts, delivered[n.ID])
		}
		late = append(late, n.Sent.Sub(n.Scheduled))
	}
	if len(late) != total || len(delivered) != total {
		return nil, fmt.Errorf("%d notifications are there and %d were delivered; wanted %d", len(late), len(delivered), total)
	}
	return late, nil
}
