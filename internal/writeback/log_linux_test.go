package writeback

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A commit that can't be written is none.
func TestACommitThatCantBeWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	db := connect(t, VFS(), path, "NORMAL")
	defer db.Close()
	_, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
	require.NoError(t, err)
	require.NoError(t, fill(db, 0, 10))
	info, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var usual unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &usual))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(info.Size()) + 32<<10, Max: usual.Max}))
	failed := fill(db, 10, 100)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &usual))
	require.ErrorContains(t, failed, "disk I/O error")
	require.Len(t, rowsOf(t, db), 10)
	require.Len(t, copied(t, dir, path), 10)
	require.NoError(t, fill(db, 10, 100))
	require.Len(t, copied(t, dir, path), 110)
}

// The pages of a commit go to the log together, and not in two calls each.
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
	db := openDB(t, VFS(), 0)
	before := writes()
	require.NoError(t, fill(db, 0, 800)) // 200 pages and more
	require.Less(t, writes()-before, 50)
}
