package aggregates_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func TestProcessor(t *testing.T) {
	type processor = aggregates.Processor
	begin := func(n ...int) func(*processor) (facts, error) {
		return func(p *processor) (facts, error) {
			if len(n) == 0 {
				return p.Start(nil)
			}
			return p.Start(&n[0])
		}
	}
	started := func(n int) events.Fact { return events.ProcessorStarted{CheckIntervalSeconds: n} }
	stopped := events.ProcessorStopped{}
	outOfRange := invalid{"check_interval_seconds:out_of_range"}
	cleared := events.NotificationsCleared{Before: noon}
	for name, tt := range map[string]struct {
		given facts
		when  func(*processor) (facts, error)
		then  facts
		err   error
	}{
		"it runs at first":       {nil, begin(), nil, nil},
		"it runs every 30 s":     {nil, begin(30), nil, nil},
		"another interval":       {nil, begin(1), facts{started(1)}, nil},
		"the same interval":      {facts{started(5)}, begin(5), nil, nil},
		"none keeps":             {facts{started(5), stopped}, begin(), facts{started(5)}, nil},
		"none keeps, running":    {facts{started(5)}, begin(), nil, nil},
		"start after stop":       {facts{stopped}, begin(), facts{started(30)}, nil},
		"0":                      {nil, begin(0), nil, outOfRange},
		"an hour":                {nil, begin(3600), facts{started(3600)}, nil},
		"more than an hour":      {nil, begin(3601), nil, outOfRange},
		"more, while stopped":    {facts{stopped}, begin(-1), nil, outOfRange},
		"stop":                   {nil, (*processor).Stop, facts{stopped}, nil},
		"stop again":             {facts{stopped}, (*processor).Stop, nil, nil},
		"stop after start":       {facts{stopped, started(1)}, (*processor).Stop, facts{stopped}, nil},
		"clear":                  {nil, func(p *processor) (facts, error) { return p.Clear(noon.Add(999)) }, facts{cleared}, nil},
		"clearing is no stop":    {facts{started(5), cleared}, begin(5), nil, nil},
		"a noted request is not": {facts{stopped, events.RequestNoted{}}, (*processor).Stop, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var p, same processor
			for i, f := range tt.given {
				p.Evolve(f, stamp(i))
				same.Evolve(f, stamp(i))
			}
			got, err := tt.when(&p)
			requireErr(t, tt.err, err)
			require.Equal(t, tt.then, got)
			require.Equal(t, same, p)
		})
	}
}
