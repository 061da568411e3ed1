package reminders

import "context"

// sweep is one call of send-due: it waits for all that was due when it began,
// whoever sends it.
type sweep struct {
	waiting      map[string]bool
	sent, failed int
	done         chan struct{}
}

// left hears that a try is over. sender.mu is held.
func (w *sweep) left(id string, v verdict) {
	if !w.waiting[id] {
		return
	}
	delete(w.waiting, id)
	switch v {
	case wasSent:
		w.sent++
	case hasFailed:
		w.failed++
	}
	w.check()
}

func (w *sweep) check() {
	if len(w.waiting) == 0 {
		select {
		case <-w.done:
		default:
			close(w.done)
		}
	}
}

// everything is more rows than a table holds.
const everything = 1 << 40

// sendDue tries all that is due now, whether the processor runs or not, and
// tells how many were sent and how many failed.
func (s *sender) sendDue(ctx context.Context, run context.Context) (sent, failed int, err error) {
	now := s.now()
	w := &sweep{waiting: map[string]bool{}, done: make(chan struct{})}
	s.mu.Lock()
	s.sweeps[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sweeps, w)
		if !s.running && len(s.sweeps) == 0 {
			for _, l := range s.lanes {
				s.flush(l)
			}
		}
	}()
	for _, l := range s.lanes {
		rows, err := s.table.due(ctx, l.Name, now, everything)
		if err != nil {
			return 0, 0, err
		}
		s.mu.Lock()
		for _, r := range rows {
			if k, ok := s.skip[r.ID]; ok && (r.Revision < k.revision || now.Before(k.until)) {
				continue
			}
			w.waiting[r.ID] = true
			if s.take(r, now) {
				l.queue = append(l.queue, r)
			}
		}
		if now.Before(l.openAt()) {
			s.flush(l)
		}
		s.mu.Unlock()
		s.begin(run, l, now)
	}
	s.poke() // who waits for a token is waited for by run
	s.mu.Lock()
	w.check()
	s.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-run.Done():
		return 0, 0, run.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.sent, w.failed, nil
}
