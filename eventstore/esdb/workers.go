package esdb

import (
	"context"
	"sync/atomic"
)

// idleWorkers is how many goroutines wait for the next call.
const idleWorkers = 128

// workers run calls of the client, on goroutines that are kept: its calls need
// deep stacks, and growing one anew costs more than the rest of the call around it.
type workers struct {
	idle []*worker // the last one has rested the least
	busy map[*worker]struct{}
}

// worker runs one call at a time.
type worker struct {
	jobs chan func()
	done chan struct{} // holds one, so that it doesn't wait for its caller

	clock *atomic.Int64
	heard atomic.Int64 // when the server was heard of last, by clock

	// Of the present call, guarded by connection.mu:
	link   *link
	cancel context.CancelCauseFunc
}

func (w *worker) work() {
	for job := range w.jobs {
		job()
		w.done <- struct{}{}
	}
}

// alive notes that the server has been heard of.
func (w *worker) alive() { w.heard.Store(w.clock.Load()) }

// take gives one that is idle, or a new one.
func (ws *workers) take(clock *atomic.Int64) (w *worker) {
	if n := len(ws.idle) - 1; n >= 0 {
		w = ws.idle[n]
		ws.idle[n], ws.idle = nil, ws.idle[:n]
	} else {
		w = &worker{jobs: make(chan func(), 1), done: make(chan struct{}, 1), clock: clock}
		go w.work()
	}
	if ws.busy == nil {
		ws.busy = map[*worker]struct{}{}
	}
	ws.busy[w] = struct{}{}
	return w
}

// give takes one back whose call has ended, and keeps it unless it is the last one
// or enough are idle.
func (ws *workers) give(w *worker, last bool) {
	delete(ws.busy, w)
	if last || len(ws.idle) == idleWorkers {
		close(w.jobs)
		return
	}
	ws.idle = append(ws.idle, w)
}

// dismiss ends those that are idle.
func (ws *workers) dismiss() {
	for _, w := range ws.idle {
		close(w.jobs)
	}
	ws.idle = nil
}

// end ends the calls on a link that is given up.
func (ws *workers) end(l *link) {
	for w := range ws.busy {
		if w.link == l {
			w.cancel(errLinkLost)
		}
	}
}

// endSilent ends the calls of which nothing was heard since.
func (ws *workers) endSilent(since int64) {
	for w := range ws.busy {
		if w.heard.Load() <= since {
			w.cancel(errSilent)
		}
	}
}
