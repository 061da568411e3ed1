package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThreads(t *testing.T) {
	for _, c := range []struct{ processors, allowed, threads int }{
		{1, 1, 4},
		{2, 2, 8},
		{3, 3, 8},
		{8, 8, 8},
		{64, 64, 64},
		{4, 2, 2}, // of a container
		{64, 1, 1},
	} {
		require.Equal(t, c.threads, threads(c.processors, c.allowed), "%+v", c)
	}
}
