package projections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/belltower/belltower/events"
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
		case <-advanced:
		case <-m.closing:
			return fmt.Errorf("wait for %v: %w", p, ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("wait for %v: %w", p, ctx.Err())
		}
	}
}

// reached tells that everything up to p is shown.
func (m *Models) reached(p eventstore.Position, atEnd bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Err = nil
	m.status.Facts = m.writer.checkpoint.facts
	m.created = timeOf(m.writer.checkpoint.created)
	m.atEnd = atEnd
	if atEnd {
		m.status.CaughtUp = true
	}
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

// Follow folds the log into the rows until ctx ends or the Models are closed.
// What goes wrong is told by Status and tried again, later and later: a fact
// that can't be applied stops the rows before it until it can.
func (m *Models) Follow(ctx context.Context) error {
	if !m.running.TryLock() {
		select {
		case <-m.closing: // it may be Close that holds it
			return nil
		default:
			return errors.New("projections: followed already")
		}
	}
	defer m.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-m.closing:
			cancel()
		case <-ended:
		}
	}()
	for failures := 0; ; failures++ {
		select {
		case <-m.closing:
			return nil
		default:
		}
		progressed, err := m.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if progressed {
			failures = 0
		}
		if m.stopped(err) {
			m.log.ErrorContext(ctx, "read models stand still", "position", m.writer.checkpoint.position.String(), "error", err)
		}
		m.pause(ctx, failures)
	}
}

// backoff waits for up to half a minute.
func backoff(ctx context.Context, failures int) {
	wait := min(100*time.Millisecond<<min(failures, 10), 30*time.Second)
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow folds one subscription until it ends.
func (m *Models) follow(ctx context.Context) (progressed bool, err error) {
	// What became of a transaction that failed is in the database alone.
	if err := m.writer.load(); err != nil {
		return false, err
	}
	sub, err := m.options.Store.Subscribe(ctx, m.writer.checkpoint.position)
	if err != nil {
		return false, fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	decoded := make(chan batch, 4)
	var pump sync.WaitGroup
	pump.Go(func() { decode(ctx, sub, m.options.Keys, decoded) })
	defer func() {
		cancel()
		err = errors.Join(err, sub.Close())
		pump.Wait()
	}()

	sweeping := true
	for {
		b, ok := m.next(decoded, &sweeping)
		if !ok {
			more, err := m.writer.sweep()
			if err != nil {
				return progressed, fmt.Errorf("sweep: %w", err)
			}
			sweeping = more
			continue
		}
		before := m.writer.checkpoint.position
		err := m.foldBatch(b.facts)
		if err == nil && b.err == nil {
			m.reached(b.position, b.caughtUp)
			progressed, sweeping = true, true
			continue
		}
		if before.Before(m.writer.checkpoint.position) {
			m.reached(m.writer.checkpoint.position, false)
			progressed = true
		}
		return progressed, errors.Join(err, b.err)
	}
}

// next takes what has come, up to maxFacts at once. With nothing there, it
// waits, or returns false when there may be something to sweep instead.
func (m *Models) next(decoded <-chan batch, sweeping *bool) (b batch, ok bool) {
	var more bool
	select {
	case b, more = <-decoded:
	default:
		m.mu.Lock()
		idle := m.atEnd
		m.mu.Unlock()
		if *sweeping && idle {
			return batch{}, false
		}
		b, more = <-decoded
	}
	for more && len(b.facts) < m.maxFacts && b.err == nil {
		var then batch
		select {
		case then, more = <-decoded:
			if more {
				b.facts = append(b.facts, then.facts...)
				b.position, b.caughtUp, b.err = then.position, then.caughtUp, then.err
			}
		default:
			return b, true
		}
	}
	if !more && b.err == nil {
		b.err = errEnded
	}
	return b, true
}

// foldBatch folds facts in one transaction. Where that fails, it goes as far as it can.
func (m *Models) foldBatch(facts []fact) error {
	for len(facts) > m.maxFacts {
		if err := m.foldBatch(facts[:m.maxFacts]); err != nil {
			return err
		}
		facts = facts[m.maxFacts:]
	}
	if len(facts) == 0 {
		return nil
	}
	err := m.writer.fold(facts)
	if err == nil || len(facts) == 1 {
		return err
	}
	if err := m.writer.load(); err != nil {
		return err
	}
	for i := range facts {
		if err := m.writer.fold(facts[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// batch is what was decoded of a batch. With err, facts are those before what failed.
type batch struct {
	facts    []fact
	position eventstore.Position
	caughtUp bool
	err      error
}

// leaseStream is no part of what is shown.
const leaseStream = "lease"

// errEnded says that nothing more comes, as the subscription's context has ended.
var errEnded = errors.New("the subscription has ended")

// decode decodes what sub delivers, until something fails or ctx ends.
func decode(ctx context.Context, sub eventstore.Subscription, keys events.Keys, decoded chan<- batch) {
	defer close(decoded)
	for {
		var b batch
		got, err := sub.Next(ctx)
		if err != nil {
			b.err = fmt.Errorf("subscription: %w", err)
		}
		b.position, b.caughtUp = got.Position, got.CaughtUp
		for _, r := range got.Records {
			if r.Stream == leaseStream {
				continue
			}
			f, err := read(keys, r)
			if err != nil {
				b.err = err
				break
			}
			b.facts = append(b.facts, f)
		}
		select {
		case decoded <- b:
		case <-ctx.Done():
			return
		}
		if b.err != nil {
			return
		}
	}
}
