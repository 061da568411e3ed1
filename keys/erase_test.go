package keys_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/keys"
)

func TestErase(t *testing.T) {
	each(t, func(t *testing.T, r *keys.Ring) {
		key, kept := take(t, r), take(t, r)
		sealed, err := r.Seal(key, []byte("Ann"), nil)
		require.NoError(t, err)
		stays, err := r.Seal(kept, []byte("Bob"), nil)
		require.NoError(t, err)

		for range 2 {
			require.NoError(t, r.Erase(t.Context(), key))
			for range 2 {
				plain, ok, err := r.Open(key, sealed, nil)
				require.NoError(t, err)
				require.False(t, ok)
				require.Nil(t, plain)
				_, err = r.Seal(key, []byte("Ann"), nil)
				require.ErrorIs(t, err, keys.ErrErased)
				r.Forget()
			}
		}
		_, ok, err := r.Open(kept, stays, nil)
		require.NoError(t, err)
		require.True(t, ok)

		require.ErrorIs(t, r.Erase(t.Context(), kept+1), keys.ErrUnknownKey, "a key that was not taken yet")
		require.ErrorIs(t, r.Erase(t.Context(), kept+1_000_000), keys.ErrUnknownKey)
		require.ErrorIs(t, r.Erase(t.Context(), 0), keys.ErrUnknownKey)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.Erase(ctx, kept), context.Canceled)
		_, ok, err = r.Open(kept, stays, nil)
		require.NoError(t, err)
		require.True(t, ok)
	})
}

// Half of several batches are erased, so that whatever SQLite does with emptied
// pages would show.
func TestErasedKeysAreInNoFile(t *testing.T) {
	const total = 3 * keys.BatchSize
	dir := t.TempDir()
	r := open(t, dir)
	plain, sealed := map[int64][]byte{}, map[int64][]byte{}
	for range total {
		number := take(t, r)
		key, err := r.Key(number)
		require.NoError(t, err)
		plain[number] = key
		sealed[number], err = r.Seal(number, []byte("Ann"), nil)
		require.NoError(t, err)
	}
	stored := func() []byte {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		var all []byte
		for _, f := range files {
			content, err := os.ReadFile(filepath.Join(dir, f.Name()))
			require.NoError(t, err)
			all = append(all, content...)
		}
		return all
	}
	require.True(t, bytes.Contains(stored(), plain[1]), "the search finds a key that is there")

	for number := range plain {
		if number%2 == 0 || number > total/2 {
			require.NoError(t, r.Erase(t.Context(), number))
		}
	}
	check := func() {
		t.Helper()
		files := stored()
		for number, key := range plain {
			erased := number%2 == 0 || number > total/2
			_, ok, err := r.Open(number, sealed[number], nil)
			require.NoError(t, err)
			require.Equal(t, erased, !ok, number)
			if number%8 < 2 { // a search is slow
				require.Equal(t, erased, !bytes.Contains(files, key), number)
			}
		}
	}
	check()
	require.NoError(t, r.Close())
	r = open(t, dir)
	check()
	require.Greater(t, take(t, r), int64(total), "an erased number is not given out again")
}

func TestEraseSaysWhenAReaderKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	key := take(t, r)
	require.NoError(t, r.Exec("PRAGMA busy_timeout = 1"))
	reader, err := sqlite.OpenConn(filepath.Join(dir, keys.FileName), sqlite.OpenReadOnly)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, sqlitex.ExecuteTransient(reader, "BEGIN", nil))
	require.NoError(t, sqlitex.ExecuteTransient(reader, "SELECT count(*) FROM keys", nil))

	require.ErrorIs(t, r.Erase(t.Context(), key), keys.ErrUnavailable)
	require.NoError(t, sqlitex.ExecuteTransient(reader, "COMMIT", nil))
	require.NoError(t, r.Erase(t.Context(), key))
}
