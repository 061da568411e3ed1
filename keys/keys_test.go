package keys_test

import (
	"bytes"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs a test on a ring of each kind.
func each(t *testing.T, test func(t *testing.T, r *keys.Ring)) {
	t.Run("file", func(t *testing.T) { test(t, open(t, t.TempDir())) })
	t.Run("memory", func(t *testing.T) {
		r := keys.InMemory()
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		test(t, r)
	})
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) { test(t, onServer(t, kind).ring(t)) })
	}
}

func open(t *testing.T, dir string, opts ...keys.Option) *keys.Ring {
	t.Helper()
	r, err := keys.Open(t.Context(), dir, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func take(t *testing.T, r *keys.Ring) int64 {
	t.Helper()
	number, err := r.Take(t.Context())
	require.NoError(t, err)
	return number
}

func TestWhatWasSealedOpens(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		key := take(t, r)
		for _, plain := range [][]byte{{}, []byte("Zoë"), bytes.Repeat([]byte{0}, 1<<20)} {
			sealed, err := r.Seal(key, plain, []byte("fact 1"))
			require.NoError(t, err)
			require.Len(t, sealed, len(plain)+28)
			for range 2 { // the key comes from the cache, then from the database
				opened, ok, err := r.Open(key, sealed, []byte("fact 1"))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, plain, opened)
				r.Forget()
			}
			again, err := r.Seal(key, plain, []byte("fact 1"))
			require.NoError(t, err)
			require.NotEqual(t, sealed, again, "a nonce was used twice")
		}
	})
}

func TestNothingElseOpens(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		key, other := take(t, r), take(t, r)
		sealed, err := r.Seal(key, []byte("ann@example.org"), []byte("here"))
		require.NoError(t, err)

		refused := func(key int64, sealed []byte, bound string, want error) {
			t.Helper()
			plain, ok, err := r.Open(key, sealed, []byte(bound))
			require.ErrorIs(t, err, want)
			require.False(t, ok)
			require.Nil(t, plain)
		}
		refused(key, sealed, "there", keys.ErrTampered)
		refused(key, sealed, "", keys.ErrTampered)
		refused(other, sealed, "here", keys.ErrTampered)
		for i := range sealed {
			bent := slices.Clone(sealed)
			bent[i] ^= 1
			refused(key, bent, "here", keys.ErrTampered)
			refused(key, sealed[:i], "here", keys.ErrTampered)
		}
		for _, unknown := range []int64{0, -1, key + 1_000_000, math.MinInt64, math.MaxInt64} {
			refused(unknown, sealed, "here", keys.ErrUnknownKey)
			_, err := r.Seal(unknown, nil, nil)
			require.ErrorIs(t, err, keys.ErrUnknownKey)
		}
	})
}

func TestTheCacheIsBounded(t *testing.T) {
	r := keys.InMemory()
	defer r.Close()
	r.Shrink(3)
	var sealed [10][]byte
	for i := range sealed {
		var err error
		sealed[i], err = r.Seal(take(t, r), []byte{byte(i)}, nil)
		require.NoError(t, err)
	}
	for range 2 {
		for i := range sealed {
			plain, ok, err := r.Open(int64(i+1), sealed[i], nil)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, []byte{byte(i)}, plain)
			require.Equal(t, 3, r.Cached())
		}
	}
}

func TestUsedByManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		r.Shrink(8)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for i := range 50 {
					key, err := r.Take(t.Context())
					if !noError(t, err) {
						return
					}
					sealed, err := r.Seal(key, []byte("x"), nil)
					noError(t, err)
					erase := i%10 == 0
					if erase {
						noError(t, r.Erase(t.Context(), key))
					}
					_, ok, err := r.Open(key, sealed, nil)
					noError(t, err)
					if ok == erase {
						t.Errorf("key %d: erased is %t, open says ok = %t", key, erase, ok)
					}
				}
			})
		}
		all.Wait()
	})
}

func noError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

func TestInABubble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for _, r := range []*keys.Ring{open(t, dir), keys.InMemory()} {
			for range keys.BatchSize + 1 {
				key := take(t, r)
				sealed, err := r.Seal(key, []byte("x"), nil)
				require.NoError(t, err)
				_, ok, err := r.Open(key, sealed, nil)
				require.NoError(t, err)
				require.True(t, ok)
			}
			synctest.Wait()
			require.NoError(t, r.Close())
		}
	})
}

func TestClosed(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		key := take(t, r)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close())
		r.Forget()
		_, err := r.Take(t.Context())
		require.ErrorIs(t, err, keys.ErrClosed)
		_, err = r.Seal(key, nil, nil)
		require.ErrorIs(t, err, keys.ErrClosed)
		_, _, err = r.Open(key, nil, nil)
		require.ErrorIs(t, err, keys.ErrClosed)
		require.ErrorIs(t, r.Erase(t.Context(), key), keys.ErrClosed)
	})
}
