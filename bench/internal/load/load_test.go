package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEachIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make([]atomic.Int32, 100)
		a, err := Times(t.Context(), 4, 100, func(_ context.Context, _, n int) error {
			asked[n].Add(1)
			time.Sleep(time.Second)
			return nil
		})
		require.NoError(t, err)
		for n := range asked {
			require.EqualValues(t, 1, asked[n].Load(), n)
		}
		require.Len(t, a.Took, 100)
		require.Equal(t, 25*time.Second, a.Elapsed)
		figures := a.Figures("c")
		require.InDelta(t, 4, figures[0].Value, 1e-9)
		require.InDelta(t, 1000, figures[2].Value, 1e-9)
	})
}

func TestDuring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := During(t.Context(), 2, 10*time.Second, func(context.Context, int, int) error {
			time.Sleep(time.Second)
			return nil
		})
		require.NoError(t, err)
		require.Len(t, a.Took, 20)
	})
}

func TestAFailureEndsAllCallers(t *testing.T) {
	broken := errors.New("refused")
	_, err := Times(t.Context(), 4, 1_000_000, func(_ context.Context, _, n int) error {
		if n == 10 {
			return broken
		}
		return nil
	})
	require.ErrorIs(t, err, broken)
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	require.Equal(t, time.Duration(99), Quantile(hundred, 0.99))
	require.Equal(t, time.Duration(50), Quantile(hundred, 0.5))
	require.Equal(t, time.Duration(100), Quantile(hundred, 1))
	require.Equal(t, time.Duration(7), Quantile([]time.Duration{7}, 0.99))
	require.Zero(t, Quantile(nil, 0.99))
}
