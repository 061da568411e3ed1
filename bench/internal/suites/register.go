package suites

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/commands"
)

const oneWriteEach = "one write for each"

// register is registrations on one event, which all go to one stream. Those that
// wait for it are decided together and appended as one write. Beside it callers
// queue up before the handler, so that it never has more than one to decide,
// and each is a write with a sync of its own.
var register = Suite{
	Name:  "register",
	About: "registrations on one event by many callers, beside one write for each",
	Sizes: func(z *Sizes) Begin {
		callers := z.count("callers", 64, 64, "callers at once")
		long := z.span("each", 5*time.Second, 100*time.Millisecond, "how long each is measured")
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			r := registering{l, *callers, *long}
			return []measure.Contender{
				{Name: ourName, Run: func(ctx context.Context) ([]measure.Figure, error) { return r.run(ctx, unlocked{}) }},
				{Name: oneWriteEach, Run: func(ctx context.Context) ([]measure.Figure, error) { return r.run(ctx, &sync.Mutex{}) }},
			}, []measure.Goal{{Figure: "answered", Beside: oneWriteEach, Must: 5, Aim: 10}}, nil
		}
	},
}

type registering struct {
	lab     *lab.Lab
	callers int
	long    time.Duration
}

// unlocked is a lock that holds up nobody.
type unlocked struct{}

func (unlocked) Lock()   {}
func (unlocked) Unlock() {}

func (r registering) run(ctx context.Context, before sync.Locker) (_ []measure.Figure, err error) {
	core, err := openCore(ctx, r.lab)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, core.close()) }()
	if err := core.schedule(ctx, "event", time.Now().Add(24*time.Hour)); err != nil {
		return nil, err
	}
	syncs := core.log.Stats().Syncs
	a, err := load.During(ctx, r.callers, r.long, func(ctx context.Context, _, n int) error {
		before.Lock()
		defer before.Unlock()
		return core.register(ctx, "event", n)
	})
	if err != nil {
		return nil, err
	}
	figures := a.Figures("")
	return append(figures, measure.Figure{Name: "to a sync", Value: float64(len(a.Took)) / float64(max(1, core.log.Stats().Syncs-syncs))}), nil
}

// register registers the n-th participant of all. A second one of that number is refused.
func (c *core) register(ctx context.Context, event string, n int) error {
	return do[aggregates.Event](ctx, c, commands.RegisterParticipant{
		EventID: event, ParticipantID: stableID(fmt.Sprint(event, " participant ", n)), Contact: aggregates.ContactFields{
			UserID: fmt.Sprint("ringer-", n), Name: fmt.Sprint("Ringer ", n), Email: fmt.Sprintf("ringer-%d@example.org", n),
		},
	})
}
