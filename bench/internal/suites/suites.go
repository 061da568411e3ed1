// Package suites has what is measured, a file for each suite.
package suites

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/load"
	"github.com/belltower/belltower/bench/internal/measure"
)

// Suite is one of the tables.
type Suite struct {
	Name  string
	About string
	// Sizes registers the suite's sizes and gives what begins it: the contenders,
	// ours first, and what is to be reached. What it starts is ended with the lab.
	Sizes func(*Sizes) Begin
}

// Begin makes what all rounds use, and the contenders.
type Begin func(ctx context.Context, l *lab.Lab) ([]measure.Contender, []measure.Goal, error)

// All are the suites in the order of the table of what must be reached.
var All = []Suite{create, appends, register, burst, steady, read, restart, footprint, replay, big}

// Find finds a suite by its name.
func Find(name string) (Suite, error) {
	for _, s := range All {
		if s.Name == name {
			return s, nil
		}
	}
	return Suite{}, fmt.Errorf("there is no suite %q", name)
}

// Run runs a suite with sizes that Sizes has parsed.
func Run(ctx context.Context, l *lab.Lab, s Suite, z *Sizes, begin Begin, rounds int) (r measure.Result, err error) {
	r = measure.Result{Suite: s.Name, Began: time.Now().UTC(), Machine: measure.Here(), Sizes: z.given()}
	r.Sizes["rounds"] = strconv.Itoa(rounds)
	contenders, goals, err := begin(ctx, l)
	if err != nil {
		return r, fmt.Errorf("%s: %w", s.Name, err)
	}
	if r.Rows, r.LeftOut, err = measure.Rounds(ctx, contenders, rounds, l.Progress); err != nil {
		return r, fmt.Errorf("%s: %w", s.Name, err)
	}
	r.Goals = measure.Judge(goals, r.Rows, contenders[0].Name)
	r.Took = time.Since(r.Began).Seconds()
	return r, nil
}

// ourName is how the service is called in all tables.
const ourName = "belltower"

// Sizes are a suite's flags. Each has a size for measuring and one that only
// shows that the suite works.
type Sizes struct {
	flags  *flag.FlagSet
	short  map[string]string
	chosen map[string]*string // of choices
}

// NewSizes registers sizes as flags.
func NewSizes(flags *flag.FlagSet) *Sizes {
	return &Sizes{flags, map[string]string{}, map[string]*string{}}
}

// Shorten sets what wasn't given to the short size.
func (z *Sizes) Shorten() error {
	given := map[string]bool{}
	z.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, size := range z.short {
		if given[name] {
			continue
		}
		if err := z.flags.Set(name, size); err != nil {
			return fmt.Errorf("-%s: %w", name, err)
		}
	}
	return nil
}

// Check refuses sizes that nothing can be measured with.
func (z *Sizes) Check() error {
	for name := range z.short {
		if v, ok := z.flags.Lookup(name).Value.(flag.Getter); ok {
			if n, ok := v.Get().(int); ok && n < 1 {
				return fmt.Errorf("-%s: must be at least 1", name)
			}
			if d, ok := v.Get().(time.Duration); ok && d <= 0 {
				return fmt.Errorf("-%s: must be more than 0", name)
			}
		}
	}
	return nil
}

// given are all sizes, for the result.
func (z *Sizes) given() map[string]string {
	all := map[string]string{}
	for name := range z.short {
		if word, ok := z.chosen[name]; ok {
			all[name] = *word
		} else {
			all[name] = z.flags.Lookup(name).Value.String()
		}
	}
	return all
}

func (z *Sizes) count(name string, full, short int, about string) *int {
	z.short[name] = strconv.Itoa(short)
	return z.flags.Int(name, full, about)
}

func (z *Sizes) span(name string, full, short time.Duration, about string) *time.Duration {
	z.short[name] = short.String()
	return z.flags.Duration(name, full, about)
}

// choice is one of a few words, the first of which is usual in both forms.
func (z *Sizes) choice(name, about string, words ...string) *string {
	z.short[name] = words[0]
	chosen := words[0]
	z.flags.Func(name, about+" (default "+words[0]+")", func(word string) error {
		if !slices.Contains(words, word) {
			return fmt.Errorf("must be %s", strings.Join(words, " or "))
		}
		chosen = word
		return nil
	})
	z.chosen[name] = &chosen
	return &chosen
}

// lateFigures are those of how late things were done. Early is how early the
// earliest was.
func lateFigures(late []time.Duration) []measure.Figure {
	sorted := slices.Sorted(slices.Values(late))
	early, earliest := 0, time.Duration(0)
	for _, d := range sorted {
		if d >= 0 {
			break
		}
		early, earliest = early+1, max(earliest, -d)
	}
	return []measure.Figure{
		{Name: "late, median", Unit: "ms", Value: load.Ms(load.Quantile(sorted, 0.5))},
		{Name: "late, p99", Unit: "ms", Value: load.Ms(load.Quantile(sorted, 0.99))},
		{Name: "late, the last", Unit: "ms", Value: load.Ms(sorted[len(sorted)-1])},
		{Name: "early", Value: float64(early)},
		{Name: "early, the first", Unit: "ms", Value: load.Ms(earliest)},
	}
}
