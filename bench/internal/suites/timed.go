package suites

import (
	"context"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/ours"
	"github.com/belltower/belltower/bench/internal/peers"
)

// Names of the peers in the tables.
const (
	riverDefault = "River"
	riverTuned   = "River, tuned"
	asynqDefault = "Asynq"
	asynqTuned   = "Asynq, tuned"
	poller       = "SKIP LOCKED poller"
)

// timing is many things done at their times, by the service and by its peers.
type timing struct {
	lab     *lab.Lab
	groups  []ours.Group
	lead    time.Duration
	fsync   string // of Redis
	figures func(peers.Outcome) []measure.Figure
}

func (t timing) contenders() []measure.Contender {
	all := []measure.Contender{{Name: ourName, Run: func(ctx context.Context) ([]measure.Figure, error) {
		o, err := ours.Timed(ctx, t.lab, t.groups, t.lead)
		if err != nil {
			return nil, err
		}
		return t.figures(o), nil
	}}}
	var offsets []time.Duration
	for _, g := range t.groups {
		for range g.Participants {
			offsets = append(offsets, g.Offset)
		}
	}
	for _, p := range []struct {
		name string
		open peers.Open
	}{
		{riverDefault, peers.RiverDefault.Open},
		{riverTuned, peers.RiverTuned.Open},
		{asynqDefault, peers.AsynqDefault.Open(t.fsync)},
		{asynqTuned, peers.AsynqTuned.Open(t.fsync)},
		{poller, peers.PollerOf500.Open},
	} {
		all = append(all, measure.Contender{Name: p.name, Run: func(ctx context.Context) ([]measure.Figure, error) {
			o, err := peers.Run(ctx, t.lab, p.open, offsets, t.lead)
			if err != nil {
				return nil, err
			}
			return t.figures(o), nil
		}})
	}
	return all
}

const (
	// River makes jobs available up to 5 s ahead; a reminder is known for longer
	// than that, so loading ends well before the first is due.
	usualLead = 15 * time.Second
	shortLead = 2 * time.Second
	aboutLead = "how long before the first due time loading and planning end, at least"

	aboutFsync = "when Redis syncs its append-only file: everysec, which may lose a second, or always, as the others do"
)

// burst is many reminders that are due at the same moment.
var burst = Suite{
	Name:  "burst",
	About: "reminders due at the same moment, to a channel that does nothing, each SENT durably, beside River, Asynq and a poller",
	Sizes: func(z *Sizes) Begin {
		size := z.count("reminders", 50_000, 200, "reminders due at once")
		audience := z.count("audience", 100, 20, "participants of an event")
		lead := z.span("lead", usualLead, shortLead, aboutLead)
		fsync := z.choice("redis-fsync", aboutFsync, "everysec", "always")
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			t := timing{lab: l, lead: *lead, fsync: *fsync, figures: func(o peers.Outcome) []measure.Figure {
				return append([]measure.Figure{{Name: "done", Unit: "1/s", Value: float64(len(o.Late)) / o.Took.Seconds()}}, lateFigures(o.Late)...)
			}}
			for left := *size; left > 0; left -= *audience {
				t.groups = append(t.groups, ours.Group{Participants: min(left, *audience)})
			}
			return t.contenders(), []measure.Goal{
				{Figure: "done", Beside: riverDefault, Must: 2, Aim: 5},
				{Figure: "done", Beside: riverTuned, Must: 2, Aim: 5},
				{Figure: "late, p99", Beside: riverDefault, AtMost: true, Must: 0.5, Aim: 0.2},
				{Figure: "late, p99", Beside: riverTuned, AtMost: true, Must: 0.5, Aim: 0.2},
				{Figure: "early", AtMost: true},
			}, nil
		}
	},
}

// steady is reminders that are due one after another.
var steady = Suite{
	Name:  "steady",
	About: "reminders due one after another, beside River, Asynq and a poller that looks every 100 ms",
	Sizes: func(z *Sizes) Begin {
		rate := z.count("rate", 125, 50, "reminders due a second")
		long := z.span("for", time.Minute, 2*time.Second, "for how long")
		lead := z.span("lead", usualLead, shortLead, aboutLead)
		fsync := z.choice("redis-fsync", aboutFsync, "everysec", "always")
		return func(_ context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error) {
			t := timing{lab: l, lead: *lead, fsync: *fsync, figures: func(o peers.Outcome) []measure.Figure { return lateFigures(o.Late) }}
			for n := range max(1, int(float64(*rate)*long.Seconds())) {
				t.groups = append(t.groups, ours.Group{Offset: time.Duration(n) * time.Second / time.Duration(*rate), Participants: 1})
			}
			return t.contenders(), []measure.Goal{
				{Figure: "late, p99", Beside: poller, AtMost: true, Must: 1, Aim: 0.25},
				{Figure: "late, p99", AtMost: true, Must: 100, Aim: 25},
				{Figure: "early", AtMost: true},
			}, nil
		}
	},
}
