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

// TestAnswersAreSynced counts: with one client that waits for each answer, the log
// is synced at least once for each write that was acknowledged.
func TestAnswersAreSynced(t *testing.T) {
	needsTrace(t)
	seed := seeded(t)
	r := newRun(t, t.TempDir(), seed, 1)
	v, tr := r.launchTraced(nil, "trace="+syncs)
	require.True(t, v.up(t), v.logged())
	v.traced(t)
	r.served(v)
	require.NoError(t, r.clients[0].work(t.Context(), script))
	acknowledged := r.ledger.counts().acknowledged
	v.finish(t)
	synced := 0
	for _, c := range tr.calls(t) {
		if c.done && strings.HasSuffix(c.path, "/events.db-wal") {
			synced++
		}
	}
	t.Logf("%d acknowledged, %d syncs", acknowledged, synced)
	require.GreaterOrEqual(t, acknowledged, script/2)
	require.GreaterOrEqual(t, synced, acknowledged)
}
