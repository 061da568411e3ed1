package reminders

import (
	"context"
	"time"
)

// expire concludes what was not sent in time, and tells when to look again where that
// may not have been all; it goes on while the processor is stopped.
func (s *sender) expire(ctx context.Context, now time.Time) (again time.Time, err error) {
	s.mu.Lock()
	most := fetchSize + len(s.busy) + len(s.skip)
	s.mu.Unlock()
	rows, err := s.table.expired(ctx, now, most)
	if err != nil {
		return again, err
	}
	for _, r := range rows {
		s.mu.Lock()
		mine := s.take(r, now)
		s.mu.Unlock()
		if !mine {
			continue
		}
		// Nobody waits: one that can't be concluded holds up no other.
		s.inFlight.Go(func() {
			verdict, left := s.miss(ctx, r)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.leave(r, verdict, left)
			if verdict == notTried {
				s.poke() // so that somebody knows when to try again
			}
		})
	}
	if len(rows) == most {
		again = now.Add(expiredPause)
	}
	return again, nil
}

// takeOver claims what another process had claimed when it ended: at once where
// the store is ours alone, else after watching the claim for as long as it holds.
func (s *sender) takeOver(ctx context.Context, now time.Time) (next time.Time, err error) {
	rows, err := s.table.claimedByOthers(ctx, s.boot, fetchSize)
	if err != nil {
		return next, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crowded = false
	seen := make(map[string]claimSeen, len(rows))
	for _, r := range rows {
		c := s.lane(r.Channel).carriers[0]
		w, ok := s.watched[r.ID]
		if !ok || w.attempt != r.Attempt {
			w = claimSeen{attempt: r.Attempt, since: now}
		}
		seen[r.ID] = w
		if over := w.since.Add(r.Claim); !s.exclusive && now.Before(over) {
			next = earliest(next, over)
			continue
		}
		if c.free == 0 {
			s.crowded = true
			continue
		}
		if s.take(r, now) {
			var report func(error)
			if s.running && !c.pausedUntil().After(now) && c.lane.admits(c, now) {
				report, _ = c.permit(now)
			}
			s.launch(ctx, c, r, func() (verdict, skip) { return s.resume(ctx, c, r, report) })
		}
	}
	s.watched = seen
	return next, nil
}

// giveBack settles claims of ours that nobody here works on: one that came to be
// after we had been told that nobody knows, or whose outcome could not be
// recorded. No other process takes them over while this one lives. They are rare, so
// this is done now and then.
func (s *sender) giveBack(ctx context.Context, now time.Time) error {
	if since := now.Sub(s.gaveBack); since >= 0 && since < grace {
		return nil
	}
	rows, err := s.table.claimedBy(ctx, s.boot)
	if err != nil {
		return err
	}
	s.gaveBack = now
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		if c := s.lane(r.Channel).carriers[0]; c.free > 0 && s.take(r, now) {
			s.launch(ctx, c, r, func() (verdict, skip) { return s.resume(ctx, c, r, nil) })
		}
	}
	return nil
}

// lane gives the lane of a channel. One that isn't configured any more has a
// lane that lets nothing be sent, so that what was claimed for it is concluded.
func (s *sender) lane(channel string) *lane {
	for _, l := range s.lanes {
		if l.Name == channel {
			return l
		}
	}
	return s.disused
}
