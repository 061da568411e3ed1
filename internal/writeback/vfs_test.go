package writeback

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
)

func TestURI(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("data/a", 0o700))
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, name := range []string{"a.db", "data/a.db", "./data/a/b.db", "with a space", "100%", "%41", "a?b=c", "a#b", "a:b", "&vfs=none", "é"} {
		for _, path := range []string{name, filepath.Join(here, name)} {
			conn, err := sqlite.OpenConn(URI(path, VFS()), sqlite.OpenReadWrite|sqlite.OpenCreate|sqlite.OpenURI)
			require.NoError(t, err, path)
			require.NoError(t, conn.Close())
			require.FileExists(t, path)
			require.NoError(t, os.Remove(path))
		}
	}
	require.Equal(t, "a?b", URI("a?b", ""))
}
