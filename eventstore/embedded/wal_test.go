package embedded

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// left is what a process that was ended leaves: a log with many appends, which
// are in the write-ahead log, begun anew once.
func left(t *testing.T) (file, wal []byte, appended []int) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	end := 0
	add := func(times int) {
		for i := range times {
			n := 1 + i%3
			_, err := l.Append(t.Context(), fmt.Sprint("stream-", end), eventstore.NoStream, some(n))
			require.NoError(t, err)
			end += n
			appended = append(appended, end)
		}
	}
	add(60)
	damage(t, filepath.Join(dir, "events.db"), "PRAGMA wal_checkpoint(RESTART)")
	add(30)
	var err error
	file, err = os.ReadFile(filepath.Join(dir, "events.db"))
	require.NoError(t, err)
	wal, err = os.ReadFile(filepath.Join(dir, "events.db-wal"))
	require.NoError(t, err)
	return file, wal, appended
}

func putBack(t *testing.T, file, wal []byte) (dir string) {
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "events.db"), file, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "events.db-wal"), wal, 0o600))
	return dir
}

// A bit that is lost in the write-ahead log is told from a commit that was cut
// off, unless it is in the last one.
func TestALostBitInTheWAL(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	file, was, appended := left(t)
	outcomes := map[string]int{}
	for i := range 150 {
		bit := rng.IntN(8 * len(was))
		if i < 32 {
			bit = 8*i + rng.IntN(8) // of its header
		}
		wal := slices.Clone(was)
		wal[bit/8] ^= 1 << (bit % 8)
		l, err := Open(t.Context(), putBack(t, file, wal), quiet())
		if err != nil {
			require.ErrorIs(t, err, eventstore.ErrCorrupt, "bit %d", bit)
			require.ErrorContains(t, err, "events.db-wal", "bit %d", bit)
			outcomes["refused"]++
			continue
		}
		end, err := l.End(t.Context())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		if int(end.Commit) == appended[len(appended)-1] {
			outcomes["all is there"]++
			continue
		}
		require.Equal(t, appended[len(appended)-2], int(end.Commit), "bit %d", bit)
		outcomes["the last is missing"]++
	}
	t.Log(outcomes)
	require.Greater(t, outcomes["refused"], outcomes["the last is missing"])
}

// Wherever it was cut off: it ends with a whole append.
func TestAWALThatWasCutOff(t *testing.T) {
	file, was, appended := left(t)
	for range 50 {
		n := walHeader + rand.IntN(len(was)-walHeader)
		for name, wal := range map[string][]byte{
			"short": was[:n],
			"zeros": append(slices.Clone(was[:n]), make([]byte, len(was)-n)...),
		} {
			l := mustOpen(t, putBack(t, file, wal), quiet())
			end, err := l.End(t.Context())
			require.NoError(t, err)
			require.Contains(t, append(appended, 0), int(end.Commit), "%s from %d", name, n)
			require.NoError(t, l.Close())
		}
	}
}
