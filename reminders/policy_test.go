package reminders

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Attempts that failed together are spread evenly, and to the same times in
// every run.
func TestJitter(t *testing.T) {
	var tenths [10]int
	for i := range 10_000 {
		j := jitter(fmt.Sprint("n", i), 1)
		require.Equal(t, j, jitter(fmt.Sprint("n", i), 1))
		require.NotEqual(t, j, jitter(fmt.Sprint("n", i), 2))
		tenths[int(j*10)]++
	}
	for _, n := range tenths {
		require.InDelta(t, 1000, n, 200)
	}
}
