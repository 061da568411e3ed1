package commands

import (
	"context"
	"sync"
)

// saver writes snapshots, one after another, beside what is decided meanwhile.
type saver struct {
	ctx   context.Context
	end   context.CancelFunc
	tasks chan func(context.Context)
	done  sync.WaitGroup
}

// savesWaiting is how many snapshots may wait; what has no place is made later.
const savesWaiting = 16

func newSaver() *saver {
	s := &saver{tasks: make(chan func(context.Context), savesWaiting)}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.done.Go(func() {
		for task := range s.tasks {
			task(s.ctx)
		}
	})
	return s
}

// later has a task done, unless too many wait.
func (s *saver) later(task func(context.Context)) bool {
	select {
	case s.tasks <- task:
		return true
	default:
		return false
	}
}

// close waits until nothing is written any more. Nobody may call later then.
func (s *saver) close() {
	s.end()
	close(s.tasks)
	s.done.Wait()
}

// keepSnapshot has a snapshot of the state made where one is due. All of the
// state is in the log.
func (s *stream[T, S]) keepSnapshot() {
	if s.h.saver == nil || s.saving.Load() {
		return
	}
	state, ok := any(s.state).(frozen)
	if !ok {
		return
	}
	before := s.kept.Load()
	if state.Gone() {
		if before != nil || s.fromSnapshot {
			s.forgetSnapshots()
		}
		return
	}
	if !before.due(s.since, int64(s.h.page)) {
		return
	}
	m := making{
		stream: s.name, revision: s.last, id: s.lastID, latest: s.latest, cost: s.cost.Load(),
		event: state.Freeze(), notes: s.noted.list[:len(s.noted.list):len(s.noted.list)],
	}
	s.saving.Store(true)
	if !s.h.saver.later(func(ctx context.Context) {
		defer s.saving.Store(false)
		k, err := m.save(ctx, s.h.o.Snapshots, before)
		if err != nil {
			if ctx.Err() == nil {
				s.h.o.Logger.Warn("a snapshot could not be kept; the log has all that is in it", "stream", s.name, "error", err)
			}
			return
		}
		s.kept.Store(k)
	}) {
		s.saving.Store(false)
		return
	}
	s.since, s.distrusted = 0, false
}

// forgetSnapshots drops those of an event that is no more.
func (s *stream[T, S]) forgetSnapshots() {
	s.saving.Store(true)
	if !s.h.saver.later(func(ctx context.Context) {
		defer s.saving.Store(false)
		if err := s.h.o.Snapshots.Drop(ctx, s.name); err != nil && ctx.Err() == nil {
			s.h.o.Logger.Warn("snapshots of a deleted event could not be dropped", "stream", s.name, "error", err)
			return
		}
		s.kept.Store(nil)
	}) {
		s.saving.Store(false)
		return
	}
	s.fromSnapshot = false
}
