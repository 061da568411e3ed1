package keys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/keys"
)

func TestNoKeyIsTakenTwice(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		var (
			all   sync.WaitGroup
			mu    sync.Mutex
			taken = map[int64]bool{}
		)
		for range 64 {
			all.Go(func() {
				for range 3 * keys.BatchSize / 64 {
					key, err := r.Take(t.Context())
					noError(t, err)
					mu.Lock()
					if taken[key] {
						t.Errorf("key %d was taken twice", key)
					}
					taken[key] = true
					mu.Unlock()
				}
			})
		}
		all.Wait()
		r.Forget()
		for key := range taken {
			_, err := r.Seal(key, nil, nil)
			require.NoError(t, err, "a key was taken that is not on disk")
		}
	})
}

func TestAFullDiskPasses(t *testing.T) {
	r := open(t, t.TempDir())
	last := take(t, r)
	require.NoError(t, r.Exec("PRAGMA max_page_count = 1")) // SQLite takes the present size for it
	for {
		key, err := r.Take(t.Context())
		if err != nil {
			require.ErrorIs(t, err, keys.ErrUnavailable)
			require.ErrorContains(t, err, "full")
			break
		}
		last = key
	}
	_, err := r.Seal(last, nil, nil)
	require.NoError(t, err, "what was taken goes on to work")

	require.NoError(t, r.Exec("PRAGMA max_page_count = 1000000"))
	require.Greater(t, take(t, r), last)
}

func TestTakesAgainOnceTheFileCanBeWritten(t *testing.T) {
	for _, tt := range []struct {
		code    sqlite.ResultCode
		renewed bool
	}{
		{sqlite.ResultFull, false},
		{sqlite.ResultBusy, false},
		{sqlite.ResultIOErrWrite, false},
		{sqlite.ResultIOErrFsync, true},
		{sqlite.ResultIOErrDirFsync, true},
	} {
		dir := t.TempDir()
		r := open(t, dir)
		before := r.Conn()
		r.FailBatches(tt.code)
		for range 2 {
			_, err := r.Take(t.Context())
			require.ErrorIs(t, err, keys.ErrUnavailable)
		}
		r.HealBatches()
		key := take(t, r)
		require.Equal(t, tt.renewed, r.Conn() != before, "%v: no connection writes after a failed sync", tt.code)
		require.NoError(t, r.Close())
		require.Greater(t, take(t, open(t, dir)), key)
	}
}

func TestTakeGivesUpWithItsContext(t *testing.T) {
	r := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	release := make(chan struct{})
	held := make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() { r.Hold(held, release) })
	<-held
	_, err := r.Take(ctx)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	holder.Wait()
	take(t, r)
}

func TestCloseWaitsForARefill(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		r, err := keys.Open(t.Context(), t.TempDir())
		require.NoError(t, err)
		r.Take(cancelled) // begins a refill and leaves
		var taker sync.WaitGroup
		taker.Go(func() {
			var err error
			for err == nil {
				_, err = r.Take(t.Context())
			}
			if !errors.Is(err, keys.ErrClosed) {
				t.Error(err)
			}
		})
		require.NoError(t, r.Close())
		require.False(t, r.Refilling())
		taker.Wait()
	}
}

func BenchmarkTake(b *testing.B) {
	r, err := keys.Open(b.Context(), b.TempDir())
	require.NoError(b, err)
	defer r.Close()
	for b.Loop() {
		_, err := r.Take(b.Context())
		require.NoError(b, err)
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, known := range []int{1 << 10, 1 << 17} {
		b.Run(fmt.Sprintf("keys=%d", known), func(b *testing.B) {
			r, err := keys.Open(b.Context(), b.TempDir())
			require.NoError(b, err)
			defer r.Close()
			sealed := make([][]byte, known)
			for i := range sealed {
				key, err := r.Take(b.Context())
				require.NoError(b, err)
				require.Equal(b, int64(i+1), key)
				sealed[i], err = r.Seal(key, make([]byte, 200), nil)
				require.NoError(b, err)
			}
			i := 0
			for b.Loop() {
				if _, ok, err := r.Open(int64(i+1), sealed[i], nil); err != nil || !ok {
					b.Fatal(ok, err)
				}
				i = (i + 1) % known
			}
		})
	}
}
