package commands

import (
	"context"
	"sync"
)

// saver writes snapshots, one after another, beside what is decided meanwhile.
type saver struct {
	ctx  context.Context
	end  context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	waiting []func(context.Context)
	closed  bool
	woken   *sync.Cond
}

// savesWaiting is how many snapshots may wait; what has no place is made later.
const savesWaiting = 16

func newSaver() *saver {
	s := &saver{}
	s.woken = sync.NewCond(&s.mu)
	s.ctx, s.end = context.WithCancel(context.Background())
	s.done.Go(s.run)
	return s
}

func (s *saver) run() {
	for {
		s.mu.Lock()
		for len(s.waiting) == 0 && !s.closed {
			s.woken.Wait()
		}
		if len(s.waiting) == 0 {
			s.mu.Unlock()
			return
		}
		task := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		task(s.ctx)
	}
}

// free tells whether one more may wait. Only what must be done is asked for where none may.
func (s *saver) free() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) < savesWaiting
}

func (s *saver) later(task func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, task)
	s.woken.Signal()
}

// close waits until nothing is written any more. Nobody may call later then.
func (s *saver) close() {
	s.end()
	s.mu.Lock()
	s.closed = true
	s.woken.Signal()
	s.mu.Unlock()
	s.done.Wait()
}

// keepSnapshot has a snapshot of the state made where one is due. All of the
// state is in the log.
func (s *stream[T, S]) keepSnapshot() {
	if s.h.saver == nil {
		return
	}
	state, ok := any(s.state).(frozen)
	if !ok {
		return
	}
	if state.Gone() {
		if s.keeps {
			s.keeps = false
			s.forgetSnapshots()
		}
		return
	}
	before := s.kept.Load()
	if s.saving.Load() || !before.due(s.since, int64(s.h.page)) || !s.h.saver.free() {
		return
	}
	m := making{
		stream: s.name, revision: s.last, id: s.lastID, latest: s.latest, cost: s.cost.Load(),
		event: state.Freeze(), notes: s.noted.frozen(),
	}
	s.since, s.distrusted = 0, false
	s.keeps = true
	s.saving.Store(true)
	s.h.saver.later(func(ctx context.Context) {
		defer s.saving.Store(false)
		k, err := m.save(ctx, s.h.o.Snapshots, before)
		if err == nil {
			s.kept.Store(k)
		} else if ctx.Err() == nil {
			s.h.o.Logger.Warn("a snapshot could not be kept; the log has all that is in it", "stream", s.name, "error", err)
		}
	})
}

// forgetSnapshots drops those of an event that is no more, behind what is being saved of it.
func (s *stream[T, S]) forgetSnapshots() {
	s.h.saver.later(func(ctx context.Context) {
		s.kept.Store(nil)
		if err := s.h.o.Snapshots.Drop(context.WithoutCancel(ctx), s.name); err != nil {
			s.h.o.Logger.Warn("snapshots of a deleted event could not be dropped", "stream", s.name, "error", err)
		}
	})
}
