package measure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixed is a contender that comes to the given numbers, one a round.
func fixed(name string, seen *[]string, values ...float64) Contender {
	round := 0
	return Contender{name, func(context.Context) ([]Figure, error) {
		*seen = append(*seen, name)
		round++
		return []Figure{{Name: "rate", Unit: "1/s", Value: values[round-1]}}, nil
	}}
}

func quiet(string, ...any) {}

func TestRatiosAreThoseOfTheirRound(t *testing.T) {
	var seen []string
	// The machine is ten times slower in the second round, for both.
	ours, peer := fixed("ours", &seen, 200, 20, 210), fixed("peer", &seen, 100, 10, 70)
	rows, left, err := Rounds(t.Context(), []Contender{ours, peer}, 3, quiet)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Len(t, rows, 2)
	require.Equal(t, Row{Figure: "rate", Unit: "1/s", Contender: "ours", Min: 20, Median: 200, Max: 210, Rounds: []float64{200, 20, 210}}, rows[0])
	require.InDelta(t, 2, *rows[1].Ratio, 1e-9)
	require.Equal(t, []string{"ours", "peer", "peer", "ours", "ours", "peer"}, seen, "each round begins with another one")
}

func TestWhatIsMissingIsLeftOutAndSaid(t *testing.T) {
	var seen []string
	missing := Contender{"peer", func(context.Context) ([]Figure, error) { return nil, fmt.Errorf("PostgreSQL is %w", ErrMissing) }}
	rows, left, err := Rounds(t.Context(), []Contender{fixed("ours", &seen, 1, 2), missing}, 2, quiet)
	require.NoError(t, err)
	require.Equal(t, []string{"peer: PostgreSQL is not on this machine"}, left)
	require.Len(t, rows, 1)
	require.InDelta(t, 1.5, rows[0].Median, 1e-9)
}

func TestAFailureEndsTheSuite(t *testing.T) {
	broken := errors.New("refused")
	_, _, err := Rounds(t.Context(), []Contender{{"ours", func(context.Context) ([]Figure, error) { return nil, broken }}}, 2, quiet)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "ours: ")
}

func TestGoals(t *testing.T) {
	half, ms := 0.5, 30.0
	rows := []Row{
		{Figure: "rate", Contender: "ours", Median: 50},
		{Figure: "rate", Contender: "peer", Median: 100, Ratio: &half},
		{Figure: "late", Contender: "ours", Median: ms},
	}
	reached := Judge([]Goal{
		{Figure: "rate", Beside: "peer", Must: 0.5, Aim: 0.8},
		{Figure: "rate", Beside: "peer", AtMost: true, Must: 0.4},
		{Figure: "late", AtMost: true, Must: 25},
		{Figure: "late", Beside: "peer", AtMost: true, Must: 1},
	}, rows, "ours")
	require.True(t, reached[0].Met)
	require.False(t, reached[1].Met)
	require.False(t, reached[2].Met)
	require.InDelta(t, 30, *reached[2].Got, 1e-9)
	require.Nil(t, reached[3].Got)
	require.False(t, reached[3].Met)
	require.Contains(t, reached[0].String(), "0.50, reached")
	require.Contains(t, reached[3].String(), "not measured")
}

func TestTable(t *testing.T) {
	half := 0.5
	var text strings.Builder
	require.NoError(t, Result{Suite: "create", LeftOut: []string{"River: no"}, Rows: []Row{
		{Case: "one", Figure: "rate", Unit: "1/s", Contender: "ours", Min: 1, Median: 12345.6, Max: 0.01234},
		{Case: "one", Figure: "rate", Unit: "1/s", Contender: "peer", Min: 1, Median: 12.34, Max: 2, Ratio: &half},
	}}.Table(&text))
	for _, want := range []string{"12,346", "0.0123", "12.3", "0.50", "left out: River: no", "rate, 1/s"} {
		require.Contains(t, text.String(), want)
	}
	require.Equal(t, 1, strings.Count(text.String(), "rate, 1/s"))
}
