package commands

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
)

// A state costs what it holds, not how many facts made it.
func TestLargeFactsCostMore(t *testing.T) {
	small, large := new(stream[aggregates.Event, *aggregates.Event]), new(stream[aggregates.Event, *aggregates.Event])
	small.state, large.state = new(aggregates.Event), new(aggregates.Event)
	small.evolve(nil, 0, small.latest, len("small"))
	large.evolve(nil, 0, large.latest, len(strings.Repeat("x", 100_000)))
	require.EqualValues(t, 1, small.folded())
	require.EqualValues(t, 1+100_000/unitBytes, large.folded())
}
