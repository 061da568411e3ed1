package esdb

import "sync"

// idleWorkers is how many goroutines wait for the next call.
const idleWorkers = 128

// workers run calls of the client, on goroutines that are kept: its calls need
// deep stacks, and growing one anew costs more than the rest of the call around it.
type workers struct {
	jobs    chan func()
	closing chan struct{}

	mu   sync.Mutex
	idle int
}

func newWorkers() *workers { return &workers{jobs: make(chan func()), closing: make(chan struct{})} }

// run begins job at once.
func (w *workers) run(job func()) {
	select {
	case w.jobs <- job:
	default:
		go w.work(job)
	}
}

func (w *workers) work(job func()) {
	for {
		job()
		if !w.rest(1) {
			return
		}
		select {
		case job = <-w.jobs:
			w.rest(-1)
		case <-w.closing:
			return
		}
	}
}

// rest counts who waits; false says that enough do.
func (w *workers) rest(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle+n > idleWorkers {
		return false
	}
	w.idle += n
	return true
}

// close ends those who wait; who works ends after it.
func (w *workers) close() { close(w.closing) }
