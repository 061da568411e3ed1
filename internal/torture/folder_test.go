package torture

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// compare builds what is derived from the log anew, in a copy of the folder, and
// finds the rows that differ. The service has ended in order.
func (r *run) compare(folder string) {
	t := r.t
	anew := filepath.Join(t.TempDir(), "anew")
	require.NoError(t, os.CopyFS(anew, os.DirFS(folder)))
	for _, derived := range []string{"read.db", "planner.db"} {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(filepath.Join(anew, derived+suffix)); err != nil {
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		}
	}
	p := newProvider(t)
	p.env = r.provider.env
	v := p.serve(t, anew)
	v.swept(t, anew)
	v.finish(t)
	require.Empty(t, v.out.messages(t), "building anew sends nothing")
	for _, file := range []string{"read.db", "planner.db"} {
		r.ledger.differ(file, rows(t, filepath.Join(folder, file)), rows(t, filepath.Join(anew, file)))
	}
}

// differ blames the rows of a database that differ from those of a rebuild.
func (l *ledger) differ(file string, have, want map[string][]string) {
	for _, table := range slices.Sorted(maps.Keys(want)) {
		missing, extra := difference(want[table], have[table])
		if len(missing)+len(extra) > 0 {
			l.blame(diverged, "%s, table %s: %d rows are missing, %d are not in a rebuild, such as\n    - %s\n    + %s",
				file, table, len(missing), len(extra), strings.Join(first(missing), "\n    - "), strings.Join(first(extra), "\n    + "))
		}
	}
}

// caughtUp waits until all that is derived has caught up.
func (v *service) caughtUp(t *testing.T) {
	v.ready(t)
	within(t, v, 10*time.Minute, "all is built", func() bool {
		stats := v.does(t, 200, "GET", "/v1/stats", nil)
		end := stats.inner("store").text("position")
		for _, reader := range stats.list("projections") {
			if reader.text("position") != end {
				return false
			}
		}
		return stats.inner("planner").text("position") == end && len(stats.inner("planner").list("planning")) == 0
	})
}

// swept waits until all that is derived has caught up and nothing is left to be swept.
func (v *service) swept(t *testing.T, folder string) {
	v.caughtUp(t)
	until(t, v, "deleted events are swept", func() bool {
		return empty(t, filepath.Join(folder, "read.db"), "gone") && empty(t, filepath.Join(folder, "planner.db"), "work")
	})
}

// empty tells whether a table is there and has no rows.
func empty(t *testing.T, path, table string) bool {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	require.NoError(t, err)
	defer conn.Close()
	name := tables(t, conn)[table]
	if name == "" {
		return false
	}
	stmt, err := conn.Prepare("SELECT count(*) FROM " + name)
	require.NoError(t, err)
	n, err := sqlitex.ResultInt64(stmt)
	require.NoError(t, err)
	return n == 0
}

// tables are the names in the file of its tables, by what they are called without the
// number of their generation: it is another one where the first couldn't be built.
func tables(t *testing.T, conn *sqlite.Conn) map[string]string {
	names := map[string]string{}
	require.NoError(t, sqlitex.Execute(conn, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY length(name), name", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			name := row.ColumnText(0)
			names[generation.ReplaceAllString(name, "")] = name // the last generation's
			return nil
		},
	}))
	return names
}

var generation = regexp.MustCompile(`^g\d+_`)

func first(of []string) []string { return of[:min(3, len(of))] }

// rows reads all tables but those about the reading itself.
func rows(t *testing.T, path string) map[string][]string {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	require.NoError(t, err)
	defer conn.Close()
	all := map[string][]string{}
	for table, name := range tables(t, conn) {
		if table == "checkpoint" || table == "generations" || table == "meta" || strings.HasPrefix(table, "sqlite_") {
			continue
		}
		lines := []string{}
		require.NoError(t, sqlitex.Execute(conn, "SELECT * FROM "+name, &sqlitex.ExecOptions{
			ResultFunc: func(row *sqlite.Stmt) error {
				var line []string
				for i := range row.ColumnCount() {
					line = append(line, fmt.Sprintf("%s=%q", row.ColumnName(i), row.ColumnText(i)))
				}
				lines = append(lines, strings.Join(line, " "))
				return nil
			},
		}))
		slices.Sort(lines)
		all[table] = lines
	}
	return all
}

// difference compares two sorted lists.
func difference(want, have []string) (missing, extra []string) {
	there := map[string]int{}
	for _, line := range have {
		there[line]++
	}
	for _, line := range want {
		if there[line] == 0 {
			missing = append(missing, line)
		}
		there[line]--
	}
	for _, line := range have {
		if there[line] > 0 {
			extra = append(extra, line)
			there[line]--
		}
	}
	return missing, extra
}
