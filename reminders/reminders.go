// Package reminders is the process manager: it keeps what is scheduled equal to
// what the events want, and sends what is due. Replaying facts sends nothing:
// only the clock does, and only what the log says is open.
package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/projections"
)

// Options is what Reminders need of the world.
type Options struct {
	Commands *commands.Handler
	Store    eventstore.Store
	Models   *projections.Models // for the auditor alone; without them nothing is audited
	Channels []channels.Registration
	Fallback Fallback
	Leader   Leader // nil: this instance alone uses the store
	Dir      string // where planner.db stands
	// Database keeps the planner's table in place of planner.db, where instances
	// share it. The zero Target: it doesn't.
	Database sqldb.Target
	// OptOut gives the link by which a participant ends the messages about an
	// event; nil, or an empty link: messages have none.
	OptOut func(eventID, participantID string) string
	Boot   string // names this process in its claims; a random one where empty
	Now    func() time.Time
	Logger *slog.Logger
}

// Reminders plans and sends. Its methods may be called concurrently.
type Reminders struct {
	o       Options
	table   *table
	planner *planner
	sender  *sender
	auditor *auditor

	steering sync.Mutex
	ended    atomic.Bool     // the time for concluding what is in flight is over
	run      context.Context // ends when sending is to end; set by Run
	ready    chan struct{}   // closed once run is set
	// unsteered holds one while the processor's state could not be read.
	unsteered chan struct{}
}

// Kinds gives the kind of address that each channel needs.
func Kinds(registered []channels.Registration) map[string]aggregates.AddressKind {
	kinds := make(map[string]aggregates.AddressKind, len(registered))
	for _, r := range registered {
		kinds[r.Name] = aggregates.AddressKind(r.Kind)
	}
	return kinds
}

// New opens the planner's table. Run does the work, Close ends the table.
func New(o Options) (*Reminders, error) {
	if o.OptOut == nil {
		o.OptOut = func(string, string) string { return "" }
	}
	t, err := o.openTable()
	if err != nil {
		return nil, err
	}
	if o.Boot == "" {
		o.Boot = uuid.NewString()
	}
	r := &Reminders{o: o, table: t, ready: make(chan struct{}), unsteered: make(chan struct{}, 1)}
	r.sender = &sender{
		commands: o.Commands, store: o.Store, table: t, boot: o.Boot, exclusive: o.Store.Exclusive(),
		kinds: Kinds(o.Channels), fallback: o.Fallback, disused: newDisused(o.Logger),
		now: o.Now, logger: o.Logger, wake: make(chan struct{}, 1), ended: r.ended.Load,
		optOut:   o.OptOut,
		interval: time.Second, busy: map[string]bool{}, skip: map[string]skip{},
		watched: map[string]claimSeen{}, sweeps: map[*sweep]struct{}{}, leads: leads(o.Leader),
		measures: newMeasures(o.Channels),
	}
	r.sender.lanes = newLanes(o.Channels, o.Logger)
	r.planner = &planner{
		commands: o.Commands, store: o.Store, table: t, kinds: Kinds(o.Channels), fallback: o.Fallback, now: o.Now, logger: o.Logger,
		leader: o.Leader, leads: o.Leader == nil, applied: r.sender.applied, untold: r.sender.recall,
		whole: map[string]asked{}, aside: map[string]aside{}, changed: make(chan struct{}), hurry: make(chan struct{}, 1),
	}
	r.auditor = newAuditor(o, r.planner, r.sender)
	return r, nil
}

func (o Options) openTable() (*table, error) {
	if o.Database != (sqldb.Target{}) {
		return openShared(context.Background(), o.Database)
	}
	return openTable(o.Dir, o.Logger)
}

// Run plans, sends and audits until ctx ends. It returns once sends in flight
// are concluded, after drain at the latest.
func (r *Reminders) Run(ctx context.Context, drain time.Duration) error {
	r.run = ctx
	close(r.ready)
	r.planner.steered = func() { r.steerOrLater(ctx) }
	if err := r.steer(ctx); err != nil {
		return fmt.Errorf("read the processor's state: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { r.planner.run(ctx) })
	running.Go(func() { r.auditor.run(ctx) })
	running.Go(func() { r.steerLater(ctx) })
	if r.o.Leader != nil {
		running.Go(func() { r.heed(ctx) })
	}
	r.sender.run(ctx)
	r.drain(drain, &running)
	running.Wait()
	return nil
}

// drain waits for what is in flight, once those have ended who may begin more of it.
// Whoever is late doesn't conclude any more.
func (r *Reminders) drain(most time.Duration, running *sync.WaitGroup) {
	concluded := make(chan struct{})
	go func() {
		defer close(concluded)
		running.Wait()
		r.sender.inFlight.Wait()
	}()
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-concluded:
	case <-timeout.C:
		r.ended.Store(true)
	}
}

// Close closes the planner's table, after Run.
func (r *Reminders) Close() error { return r.table.close() }

// steerPause is between tries to read the processor's state.
const steerPause = time.Second

// steer hands the processor's state to the sender.
func (r *Reminders) steer(ctx context.Context) error {
	r.steering.Lock() // so that no older state comes after a newer one
	defer r.steering.Unlock()
	p, err := r.processor(ctx)
	if err != nil {
		return err
	}
	r.sender.steer(!p.Stopped, time.Duration(p.Interval())*time.Second)
	r.auditor.steer(!p.Stopped && r.sender.leads(), time.Duration(p.Interval())*time.Second)
	return nil
}

// steerOrLater steers now, or as soon as the processor's state can be read.
func (r *Reminders) steerOrLater(ctx context.Context) {
	err := r.steer(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	r.o.Logger.Warn("the processor's state can't be read, and is tried again", "error", err)
	select {
	case r.unsteered <- struct{}{}:
	default:
	}
}

// steerLater tries again what steerOrLater could not do.
func (r *Reminders) steerLater(ctx context.Context) {
	for {
		select {
		case <-r.unsteered:
		case <-ctx.Done():
			return
		}
		for r.steer(ctx) != nil {
			select {
			case <-time.After(steerPause):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (r *Reminders) processor(ctx context.Context) (aggregates.Processor, error) {
	return commands.View(ctx, r.o.Commands, commands.ProcessorStream, func(p *aggregates.Processor, _ int64) aggregates.Processor { return *p })
}

// Start lets notifications be sent; a nil interval (in seconds) keeps the present one.
func (r *Reminders) Start(ctx context.Context, by commands.Caller, interval *int) (eventstore.Position, error) {
	answer, err := commands.Do(ctx, r.o.Commands, commands.StartProcessor{CheckIntervalSeconds: interval}, by, nothing[*aggregates.Processor])
	if err != nil {
		return eventstore.Start, err
	}
	return answer.Position, r.steer(ctx)
}

// Stop ends sending, not planning, and returns once nothing is in flight.
func (r *Reminders) Stop(ctx context.Context, by commands.Caller) (eventstore.Position, error) {
	answer, err := commands.Do(ctx, r.o.Commands, commands.StopProcessor{}, by, nothing[*aggregates.Processor])
	if err != nil {
		return eventstore.Start, err
	}
	if err := r.steer(ctx); err != nil {
		return answer.Position, err
	}
	if err := r.sender.quiet(ctx); err != nil {
		return answer.Position, err
	}
	return answer.Position, r.quietElsewhere(ctx, answer.Position)
}

// Swept is what came of SendDue.
type Swept struct{ Sent, Failed, StillDue int }

// SendDue tries all that is due now, also while the processor is stopped. What
// was asked for before the call is planned before it looks.
func (r *Reminders) SendDue(ctx context.Context) (Swept, error) {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return Swept{}, ctx.Err()
	}
	if err := r.planned(ctx); err != nil {
		return Swept{}, err
	}
	sent, failed, err := r.sender.sendDue(ctx, r.run)
	if err != nil {
		return Swept{}, err
	}
	if err := r.planned(ctx); err != nil {
		return Swept{}, err
	}
	due, _, err := r.backlog()
	return Swept{Sent: sent, Failed: failed, StillDue: due}, err
}

// planned waits until what follows from the log's present end is planned, and
// what was planned is in the table.
func (r *Reminders) planned(ctx context.Context) error {
	for range 2 {
		end, err := r.o.Store.End(ctx)
		if err != nil {
			return fmt.Errorf("read the log's end: %w", err)
		}
		if err := r.planner.waitFor(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reminders) backlog() (due int, oldest time.Time, err error) {
	now := r.o.Now()
	for _, l := range r.sender.lanes {
		n, since, laneErr := r.table.backlog(l.Name, now)
		due += n
		oldest = earliest(oldest, since)
		err = errors.Join(err, laneErr)
	}
	return due, oldest, err
}
