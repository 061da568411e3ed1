package commands

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// letIn has so many patient ones wait; those let in stay until leave is called.
func letIn(t *testing.T, p *patience, n int) (in func() int, leave func()) {
	var mu sync.Mutex
	var ends []func()
	for range n {
		go func() {
			end, err := p.wait(t.Context())
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, end)
		}()
	}
	in = func() int {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return len(ends)
	}
	return in, func() {
		in()
		mu.Lock()
		all := ends
		ends = nil
		mu.Unlock()
		for _, end := range all {
			end()
		}
	}
}

func TestPatientOnesAreManyWhileNobodyElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patience
		in, leave := letIn(t, &p, manyPatient+10)
		require.Equal(t, manyPatient, in())
		leave()
		require.Equal(t, 10, in())
		leave()
	})
}

func TestPatientOnesLetOthersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patience
		end := p.come()
		in, leave := letIn(t, &p, 40)
		require.Zero(t, in())
		end()
		require.Equal(t, fewPatient, in(), "somebody else may come again")
		leave()
		require.Equal(t, fewPatient, in())
		leave()
		require.Equal(t, 40-2*fewPatient, in())
		leave()
		for range attentive {
			end, err := p.wait(t.Context())
			require.NoError(t, err)
			end()
		}
		in, leave = letIn(t, &p, manyPatient)
		require.Equal(t, manyPatient, in(), "nobody came for long")
		leave()
	})
}

// However many others there are, a patient one comes to its turn.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p patience
		defer p.come()()
		in, leave := letIn(t, &p, fewPatient+1)
		time.Sleep(mostPatience - time.Nanosecond)
		require.Zero(t, in())
		time.Sleep(time.Nanosecond)
		require.Equal(t, fewPatient, in())
		leave()
		require.Equal(t, 1, in())
		leave()

		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, err := p.wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, p.waiting)
	})
}
