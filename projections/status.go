package projections

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/belltower/belltower/eventstore"
)

// Status tells how far the rows are.
type Status struct {
	Position eventstore.Position // up to here the rows show everything
	// CaughtUp is set once the end of the log was reached, and unset when the
	// rows fall seconds behind it or can't go on.
	CaughtUp bool
	Lag      time.Duration // 0 at the end of the log, else the age of the last fact shown
	Err      error         // why the rows don't go on now; nil when they do
	Facts    int64         // that the rows were built from
}

// behind is how old the last fact may be before rows that were caught up no longer are.
const behind = 5 * time.Second

// progress is what Follow tells others.
type progress struct {
	mu       sync.Mutex
	status   Status
	atEnd    bool
	created  time.Time     // of the last fact
	advanced chan struct{} // closed when the position moves on
}

func (p *progress) begin(c checkpoint) {
	p.status = Status{Position: c.position, Facts: c.facts}
	p.created = timeOf(c.created)
	p.advanced = make(chan struct{})
}

// Status tells how far the rows are.
func (m *Models) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	if age := m.options.Now().Sub(m.created); !m.atEnd {
		if m.status.Position != eventstore.Start {
			s.Lag = max(age, 0)
		}
		s.CaughtUp = s.CaughtUp && age < behind
	}
	return s
}

// WaitFor returns when the rows show everything up to p.
func (m *Models) WaitFor(ctx context.Context, p eventstore.Position) error {
	for {
		m.mu.Lock()
		at, advanced := m.status.Position, m.advanced
		m.mu.Unlock()
		if !at.Before(p) {
			return nil
		}
		select {
		case m.hurry <- struct{}{}:
		default:
		}
		select {
		case <-advanced:
		case <-m.closing:
			return fmt.Errorf("wait for %v: %w", p, ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("wait for %v: %w", p, ctx.Err())
		}
	}
}

// reached tells that the rows of a generation show everything up to p, and that c
// is their checkpoint. Queries go over to it once that takes nothing from them
// that they have shown.
func (m *Models) reached(generation int64, p eventstore.Position, c checkpoint, atEnd bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Err = nil
	m.atEnd = atEnd
	if atEnd {
		m.status.CaughtUp = true
	}
	if p.Before(m.status.Position) && m.current.Load() != generation {
		return
	}
	m.current.Store(generation)
	m.status.Facts = c.facts
	m.created = timeOf(c.created)
	if m.status.Position.Before(p) {
		m.status.Position = p
		close(m.advanced)
		m.advanced = make(chan struct{})
	}
}

// stopped tells why the rows don't go on, and whether that is news.
func (m *Models) stopped(err error) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	news = m.status.Err == nil || m.status.Err.Error() != err.Error()
	m.status.Err, m.status.CaughtUp, m.atEnd = err, false, false
	return news
}
