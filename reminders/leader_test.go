package reminders

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore"
)

// played is a Leader as a test wants it.
type played struct {
	mu      sync.Mutex
	leads   bool
	planned eventstore.Position
	told    eventstore.Position
	changed chan struct{}
}

func (p *played) Leads() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leads
}

func (p *played) Planned() eventstore.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.planned.Before(p.told) {
		return p.told
	}
	return p.planned
}

func (p *played) Tell(position eventstore.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told.Before(position) {
		p.told = position
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// upTo is what it was told last.
func (p *played) upTo() eventstore.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

func (p *played) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *played) set(leads bool, planned eventstore.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads, p.planned = leads, planned
	close(p.changed)
	p.changed = make(chan struct{})
}

// putOff names the events that are put off.
func (w *world) putOff() []string {
	events, err := w.r.table.allPutOff()
	w.check(err)
	return events
}

func led(t *testing.T, test func(*testing.T, *world, *played)) {
	t.Helper()
	leader := &played{}
	inWorld(t, func(t *testing.T, w *world) { test(t, w, leader) }, func(w *world) {
		leader.changed = make(chan struct{}) // of the bubble
		w.leader = leader
	})
}

// Who waits for what another has to plan, waits for it too where it falls to this one.
func TestWhatIsTakenOverIsWaitedFor(t *testing.T) {
	led(t, func(t *testing.T, w *world, leader *played) {
		w.event(2*time.Hour, 0)
		w.register("a")
		w.reminder("r", 60)
		end, err := w.store.End(t.Context())
		require.NoError(t, err)
		planned := make(chan int)
		go func() {
			assert.NoError(t, w.r.planner.waitFor(t.Context(), end))
			planned <- len(w.notifications())
		}()
		time.Sleep(time.Minute)
		w.fail.set(func(int) error {
			time.Sleep(time.Second) // planning takes its time
			return nil
		})
		leader.set(true, eventstore.Start)
		require.Equal(t, 1, <-planned)
	})
}

// Who doesn't lead plans and sends nothing, and does what was left to do once it leads.
func TestWhoTakesOverPlansWhatWasLeft(t *testing.T) {
	led(t, func(t *testing.T, w *world, leader *played) {
		w.event(2*time.Hour, 0)
		w.register("a")
		w.reminder("r", 60)
		time.Sleep(time.Minute)
		require.Empty(t, w.notifications())
		require.Equal(t, []string{eventID}, w.putOff())
		require.Equal(t, eventstore.Start, leader.upTo(), "who doesn't plan says nothing of how far it is")

		leader.set(true, eventstore.Start)
		time.Sleep(time.Second)
		require.Equal(t, aggregates.NotificationPending, w.only().Status)
		require.Empty(t, w.putOff())
		end, err := w.store.End(t.Context())
		require.NoError(t, err)
		require.Equal(t, end, leader.upTo(), "all is planned")

		leader.set(false, eventstore.Start)
		time.Sleep(61 * time.Minute)
		require.Equal(t, aggregates.NotificationPending, w.only().Status, "nobody sends")
		leader.set(true, eventstore.Start)
		time.Sleep(2 * time.Second)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	})
}

// What the leader has planned is not planned again by who takes over.
func TestWhatIsPlannedIsForgotten(t *testing.T) {
	led(t, func(t *testing.T, w *world, leader *played) {
		w.event(2*time.Hour, 0)
		w.register("a")
		w.reminder("r", 60)
		time.Sleep(time.Second)
		planned, err := w.store.End(t.Context())
		require.NoError(t, err)
		w.another("later", 3*time.Hour)
		time.Sleep(time.Second)
		all := w.putOff()
		require.Contains(t, all, eventID)
		leader.set(false, planned)
		time.Sleep(time.Second)
		require.NotContains(t, w.putOff(), eventID)

		// Neither across a restart.
		w.restart()
		time.Sleep(time.Second)
		require.NotContains(t, w.putOff(), eventID)
		leader.set(true, planned)
		time.Sleep(time.Second)
		for _, n := range w.notifications() {
			require.NotEqual(t, eventID, n.EventID)
		}
	})
}

// Who ends while it plans leaves what it had still to plan to whoever leads next, itself too.
func TestWorkOutlivesLeading(t *testing.T) {
	led(t, func(t *testing.T, w *world, leader *played) {
		leader.set(true, eventstore.Start)
		time.Sleep(2 * time.Second)
		w.event(2*time.Hour, 0)
		w.register("a")
		time.Sleep(time.Second)
		leader.set(false, leader.upTo())
		time.Sleep(time.Second)
		w.reminder("r", 60)
		time.Sleep(time.Second)
		require.Equal(t, []string{eventID}, w.putOff())
		w.restart()
		time.Sleep(time.Second)
		require.Equal(t, []string{eventID}, w.putOff())
		require.Empty(t, w.notifications())
		leader.set(true, leader.upTo())
		time.Sleep(time.Second)
		require.Len(t, w.notifications(), 1)
	})
}

// send-due and stop, asked of an instance that doesn't lead, wait for the one that does.
func TestAskedOfAnother(t *testing.T) {
	led(t, func(t *testing.T, w *world, leader *played) {
		leader.set(true, eventstore.Start)
		w.event(2*time.Hour, 0)
		w.register("a")
		w.reminder("r", 60)
		time.Sleep(2 * time.Second)
		leader.set(false, leader.upTo())
		time.Sleep(61 * time.Minute)
		require.Equal(t, aggregates.NotificationPending, w.only().Status)

		done := make(chan Swept, 1)
		go func() {
			swept, err := w.r.SendDue(t.Context())
			if err == nil {
				done <- swept
			}
		}()
		time.Sleep(time.Minute)
		end, err := w.store.End(t.Context())
		require.NoError(t, err)
		for range 3 {
			leader.set(false, end)
			time.Sleep(time.Second)
			end, err = w.store.End(t.Context())
			require.NoError(t, err)
		}
		require.Equal(t, Swept{Sent: 1}, <-done)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	})
}
