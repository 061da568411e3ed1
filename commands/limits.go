package commands

import (
	"context"
	"sync"
	"time"
)

// limitsApart is within which time those who ask for a limit share one.
const limitsApart = time.Second

// limits hands out contexts that end by themselves. Each has a timer, which is too
// much for every append of thousands a second.
type limits struct {
	mu     sync.Mutex
	made   time.Time
	ctx    context.Context
	cancel context.CancelFunc
}

// limited gives a context for one append and what is read before it: it ends after
// appendTimeout, or up to limitsApart before that.
func (h *Handler) limited() context.Context {
	l := &h.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.ctx == nil || now.Sub(l.made) >= limitsApart {
		l.made = now
		l.ctx, l.cancel = context.WithTimeout(context.Background(), appendTimeout) // the one before ends in its time
	}
	return l.ctx
}

// close lets go of the last timer, once nobody uses it.
func (l *limits) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel()
		l.ctx = nil
	}
}
