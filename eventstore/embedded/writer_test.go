package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// large are n records of a page each.
func large(n int) []eventstore.NewRecord {
	records := some(n)
	for i := range records {
		records[i].Data = fmt.Appendf(nil, "%q", bytes.Repeat([]byte{'x'}, pageSize))
	}
	return records
}

// The pages of a commit go to the write-ahead log together, and not in two calls each.
func TestACommitIsFewWrites(t *testing.T) {
	writes := func() (n int) {
		said, err := os.ReadFile("/proc/self/io")
		if err != nil {
			t.Skip("the kernel doesn't count calls here:", err)
		}
		_, after, _ := strings.Cut(string(said), "syscw:")
		_, err = fmt.Sscan(after, &n)
		require.NoError(t, err)
		return n
	}
	l := mustOpen(t, t.TempDir(), quiet())
	const pages = 200 // too few for a checkpoint
	before := writes()
	_, err := l.Append(t.Context(), "stream", eventstore.NoStream, large(pages))
	require.NoError(t, err)
	require.Less(t, writes()-before, pages/4)
	read, err := l.ReadStream(t.Context(), "stream", 0, pages)
	require.NoError(t, err)
	require.Len(t, read, pages)
	require.NoError(t, l.Close())
}

// A name that a URI would read otherwise is still the file's.
func TestNamesThatAreNoURI(t *testing.T) {
	for _, name := range []string{"a b", "50%41", "what?vfs=unix", "a#b", "a&mode=ro", "è"} {
		dir := filepath.Join(t.TempDir(), name)
		l := mustOpen(t, dir, quiet())
		_, err := l.Append(t.Context(), "stream", eventstore.NoStream, some(1))
		require.NoError(t, err, name)
		_, err = os.Stat(filepath.Join(dir, "events.db-wal"))
		require.NoError(t, err, name)
		require.NoError(t, l.Close())
		l = mustOpen(t, dir, quiet())
		end, err := l.End(t.Context())
		require.NoError(t, err)
		require.Equal(t, position(1), end, name)
		require.NoError(t, l.Close())
	}
}
