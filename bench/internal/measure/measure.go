// Package measure runs contenders beside each other, round by round, and tells
// what came of it. On a machine where load and server share the processors, and
// where others may be at work, only what was measured within one round can be
// compared: so ratios are made in each round, and their median is shown.
package measure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrMissing says that something a contender needs isn't on this machine. Such
// a contender is left out, and the result says so.
var ErrMissing = errors.New("not on this machine")

// Figure is one number that a contender came to in a round.
type Figure struct {
	Case  string // what was measured; empty where a suite measures one thing
	Name  string
	Unit  string
	Value float64
}

// Contender is one of those that are measured beside each other.
type Contender struct {
	Name string
	// Run measures once, on a state of its own.
	Run func(ctx context.Context) ([]Figure, error)
}

// Goal is what the first contender has to reach in a figure: by itself, or as a
// multiple of Beside.
type Goal struct {
	Case   string  `json:"case,omitempty"`
	Figure string  `json:"figure"`
	Beside string  `json:"beside,omitempty"`
	AtMost bool    `json:"at_most"` // less is better
	Must   float64 `json:"must"`
	Aim    float64 `json:"aim"`
}

// Row is what one contender came to in a figure over all rounds.
type Row struct {
	Case      string    `json:"case,omitempty"`
	Figure    string    `json:"figure"`
	Unit      string    `json:"unit"`
	Contender string    `json:"contender"`
	Min       float64   `json:"min"`
	Median    float64   `json:"median"`
	Max       float64   `json:"max"`
	Rounds    []float64 `json:"rounds"`
	// Ratio is the median over the rounds of the first contender's figure divided
	// by this one's; nil for the first itself, and where it can't be told.
	Ratio *float64 `json:"ours_to_it,omitempty"`
}

// Reached is a goal and what was reached of it; Got is nil where it wasn't measured.
type Reached struct {
	Goal
	Got *float64 `json:"got"`
	Met bool     `json:"met"`
}

// Result is what a suite came to.
type Result struct {
	Suite   string            `json:"suite"`
	Began   time.Time         `json:"began"`
	Took    float64           `json:"took_seconds"`
	Sizes   map[string]string `json:"sizes"`
	Machine Machine           `json:"machine"`
	Rows    []Row             `json:"rows"`
	Goals   []Reached         `json:"goals"`
	LeftOut []string          `json:"left_out"` // contenders, with the reason
}

// Machine is where it was measured.
type Machine struct {
	OS         string  `json:"os"`
	Arch       string  `json:"arch"`
	Processors int     `json:"processors"`
	Go         string  `json:"go"`
	Load       float64 `json:"load_before"` // of the last minute; below 0: unknown
}

// what names a figure of a contender.
type what struct{ kase, figure, contender string }

// Rounds runs each contender once a round, every round beginning with another
// one, and gives rows and left out contenders in their order. The first contender is ours.
func Rounds(ctx context.Context, contenders []Contender, rounds int, progress func(format string, args ...any)) ([]Row, []string, error) {
	var order []what // of the first appearance
	got, units := map[what][]float64{}, map[what]string{}
	missing := map[string]error{}
	for round := range rounds {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			if missing[c.Name] != nil {
				continue
			}
			progress("round %d of %d: %s", round+1, rounds, c.Name)
			figures, err := c.Run(ctx)
			switch {
			case errors.Is(err, ErrMissing):
				missing[c.Name] = err
				progress("%s is left out: %v", c.Name, err)
				continue
			case err != nil:
				return nil, nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			for _, f := range figures {
				w := what{f.Case, f.Name, c.Name}
				if len(got[w]) == 0 {
					order = append(order, w)
				}
				got[w] = append(got[w], f.Value)
				units[w] = f.Unit
			}
		}
	}
	return rows(contenders, order, got, units), leftOut(contenders, missing), nil
}

func leftOut(contenders []Contender, missing map[string]error) (names []string) {
	for _, c := range contenders {
		if err := missing[c.Name]; err != nil {
			names = append(names, fmt.Sprintf("%s: %v", c.Name, err))
		}
	}
	return names
}

// rows brings figures of the same case and name together, contenders in their order.
func rows(contenders []Contender, order []what, got map[what][]float64, units map[what]string) (all []Row) {
	ours := contenders[0].Name
	done := map[what]bool{}
	for _, first := range order {
		if group := (what{first.kase, first.figure, ""}); done[group] {
			continue
		} else {
			done[group] = true
		}
		for _, c := range contenders {
			w := what{first.kase, first.figure, c.Name}
			values := got[w]
			if len(values) == 0 {
				continue
			}
			r := Row{Case: w.kase, Figure: w.figure, Unit: units[w], Contender: c.Name, Rounds: values,
				Min: slices.Min(values), Median: Median(values), Max: slices.Max(values)}
			if c.Name != ours {
				r.Ratio = ratio(got[what{w.kase, w.figure, ours}], values)
			}
			all = append(all, r)
		}
	}
	return all
}

// ratio is the median of a/b, round by round; nil where that can't be told in a round.
func ratio(a, b []float64) *float64 {
	if len(a) == 0 || len(a) != len(b) {
		return nil
	}
	ratios := make([]float64, len(a))
	for i := range a {
		if b[i] == 0 {
			return nil
		}
		ratios[i] = a[i] / b[i]
	}
	m := Median(ratios)
	return &m
}

// Median is the middle of values, of which there is at least one; of an even
// number of them the mean of the two in the middle.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Judge holds rows against goals. ours is the first contender's name.
func Judge(goals []Goal, rows []Row, ours string) []Reached {
	all := make([]Reached, 0, len(goals))
	for _, g := range goals {
		r := Reached{Goal: g}
		for _, row := range rows {
			if row.Case != g.Case || row.Figure != g.Figure {
				continue
			}
			switch {
			case g.Beside == "" && row.Contender == ours:
				r.Got = &row.Median
			case g.Beside != "" && row.Contender == g.Beside:
				r.Got = row.Ratio
			}
		}
		if r.Got != nil {
			r.Met = *r.Got >= g.Must
			if g.AtMost {
				r.Met = *r.Got <= g.Must
			}
		}
		all = append(all, r)
	}
	return all
}
