package torture

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNamesAreSynced looks at how a data folder is begun: no fact is taken before
// the names of the folder and of its files are on disk. A power cut shows that on
// few file systems, since most write the names of a file with its content.
func TestNamesAreSynced(t *testing.T) {
	needsTrace(t)
	r := newRun(t, t.TempDir(), 0, 1)
	v, tr := r.launchTraced(nil, "trace="+syncs+",mkdirat,renameat")
	require.True(t, v.up(t), v.logged())
	v.traced(t)
	v.finish(t)
	said, err := os.ReadFile(tr.path)
	require.NoError(t, err)
	lines := slices.DeleteFunc(strings.Split(string(said), "\n"), func(line string) bool {
		return !strings.Contains(line, r.folder) && !strings.Contains(line, "sync(")
	})
	synced := func(dir string) *regexp.Regexp {
		return regexp.MustCompile(`fsync\(\d+<` + regexp.QuoteMeta(dir) + `>`)
	}
	next := func(what, after string, want *regexp.Regexp) {
		t.Helper()
		n := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, after) })
		require.GreaterOrEqual(t, n, 0, "%s: %s", what, said)
		require.Less(t, n+1, len(lines), what)
		require.Regexp(t, want, lines[n+1], what)
	}
	next("the folder in its parent", `mkdirat(`, synced(filepath.Dir(r.folder)))
	next("the log in the folder", `events.db.new", `, synced(r.folder))
}
