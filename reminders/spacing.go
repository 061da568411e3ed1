package reminders

import "time"

// spacing leaves each recipient alone for a while after a message. It is guarded
// by sender.mu, and forgotten with the process.
type spacing struct {
	every time.Duration
	last  map[string]time.Time // when an address was last sent to
	next  map[string]time.Time // the first time at an address that nobody has been given
	turns map[string]spot      // of notifications that wait, so that they keep their order
	sweep int                  // so many addresses before those that are over are dropped
}

// spot is when a notification may go to an address.
type spot struct {
	to string
	at time.Time
}

func newSpacing(every time.Duration) *spacing {
	return &spacing{every: every, last: map[string]time.Time{}, next: map[string]time.Time{}, turns: map[string]spot{}, sweep: fetchSize}
}

// admit tells whether a notification may go to an address at now, and else when
// its turn is.
func (s *spacing) admit(id, to string, now time.Time) (at time.Time, ok bool) {
	free := now
	if last, known := s.last[to]; known {
		free = latest(free, last.Add(s.every))
	}
	mine, waits := s.turns[id]
	switch {
	case waits && mine.to == to && now.Before(mine.at):
		return mine.at, false
	case waits && mine.to == to && !free.After(now): // it is its turn
	default:
		if at = latest(free, s.next[to]); at.After(now) {
			s.next[to], s.turns[id] = at.Add(s.every), spot{to, at}
			return at, false
		}
	}
	delete(s.turns, id)
	s.last[to], s.next[to] = now, latest(s.next[to], now.Add(s.every))
	s.forget(now)
	return time.Time{}, true
}

// waits tells whether a notification is kept back for its recipient's sake, or
// was until a moment ago.
func (s *spacing) waits(id string, now time.Time) bool {
	t, ok := s.turns[id]
	return ok && now.Before(t.at.Add(grace))
}

// forget drops what is over, now and then.
func (s *spacing) forget(now time.Time) {
	if len(s.last) < s.sweep {
		return
	}
	for to, last := range s.last {
		if last.Add(s.every).Before(now) && !s.next[to].After(now) {
			delete(s.last, to)
			delete(s.next, to)
		}
	}
	for id, t := range s.turns {
		if t.at.Add(grace).Before(now) {
			delete(s.turns, id)
		}
	}
	s.sweep = max(fetchSize, 2*len(s.last))
}
