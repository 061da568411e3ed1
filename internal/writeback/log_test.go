package writeback

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// connect opens one connection, with a cache of a few pages, so that a transaction
// that is no small one is written out, and written over, before its commit.
func connect(t rapid.TB, vfs, path, synchronous string) *sql.DB {
	t.Helper()
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"journal_mode(WAL)", "synchronous(" + synchronous + ")", "cache_size(10)", "wal_autocheckpoint(0)", "busy_timeout(5000)",
	}}
	if vfs != "" {
		query.Set("vfs", vfs)
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", u.String())
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	return db
}

// openDB is a database that is checkpointed when so many pages are in its log; 0: by hand.
func openDB(t testing.TB, vfs string, checkpoint int) *sql.DB {
	t.Helper()
	query := url.Values{"vfs": {vfs}, "_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint)}}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(t.TempDir(), "a.db"), RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", u.String())
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
	require.NoError(t, err)
	return db
}

func fill(db *sql.DB, from, rows int) error {
	_, err := db.Exec("WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"+
		" INSERT INTO t SELECT i, zeroblob(1000) FROM n", from, from+rows)
	return err
}

// copied gives the rows that are there after a crash at this moment: what a copy of the files has.
func copied(t rapid.TB, dir, path string) map[int]string {
	t.Helper()
	to := filepath.Join(dir, "copy.db")
	for _, ending := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + ending)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+ending, content, 0o600))
	}
	defer func() {
		for _, ending := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(to + ending)
		}
	}()
	db := connect(t, "", to, "NORMAL")
	defer db.Close()
	return rowsOf(t, db)
}

func rowsOf(t rapid.TB, db *sql.DB) map[int]string {
	t.Helper()
	rows, err := db.Query("SELECT id, hex(substr(body, 1, 4)) || length(body) FROM t")
	require.NoError(t, err)
	defer rows.Close()
	all := map[int]string{}
	for rows.Next() {
		var id int
		var body string
		require.NoError(t, rows.Scan(&id, &body))
		all[id] = body
	}
	require.NoError(t, rows.Err())
	return all
}

// Whatever connections of this VFS and of SQLite's own do in turn, each sees what was
// committed and nothing else, and so does who finds the files after a crash.
func TestWhatIsCommittedIsInTheFile(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(root, fmt.Sprint(n))
		require.NoError(t, os.Mkdir(dir, 0o700))
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "a.db")
		var all []*sql.DB
		for _, how := range [][2]string{{VFS(), "NORMAL"}, {VFS(), "NORMAL"}, {LogVFS(), "FULL"}, {"", "NORMAL"}} {
			db := connect(t, how[0], path, how[1])
			defer db.Close()
			all = append(all, db)
		}
		_, err := all[0].Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
		require.NoError(t, err)
		want := map[int]string{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			db := all[rapid.IntRange(0, len(all)-1).Draw(t, "connection")]
			if rapid.IntRange(0, 5).Draw(t, "checkpoint") == 0 {
				mode := rapid.SampledFrom([]string{"PASSIVE", "RESTART", "TRUNCATE"}).Draw(t, "mode")
				_, err := db.Exec("PRAGMA wal_checkpoint(" + mode + ")")
				require.NoError(t, err)
			}
			tx, err := db.Begin()
			require.NoError(t, err)
			inside := map[int]string{}
			change := func(into map[int]string) {
				for range rapid.IntRange(1, 60).Draw(t, "rows") {
					id := rapid.IntRange(0, 99).Draw(t, "id")
					first, size := rapid.IntRange(0, 255).Draw(t, "byte"), rapid.SampledFrom([]int{4, 500, 3000, 9000}).Draw(t, "size")
					body := []byte(strings.Repeat(string(rune(first%128)), size))
					_, err := tx.Exec("INSERT OR REPLACE INTO t VALUES (?, ?)", id, body)
					require.NoError(t, err)
					into[id] = fmt.Sprintf("%X%d", body[:4], size)
				}
			}
			change(inside)
			if rapid.Bool().Draw(t, "savepoint") {
				_, err := tx.Exec("SAVEPOINT s")
				require.NoError(t, err)
				change(map[int]string{})
				_, err = tx.Exec("ROLLBACK TO s")
				require.NoError(t, err)
				change(inside)
			}
			if rapid.IntRange(0, 3).Draw(t, "give up") == 0 {
				require.NoError(t, tx.Rollback())
			} else {
				require.NoError(t, tx.Commit())
				for id, body := range inside {
					want[id] = body
				}
			}
			require.Equal(t, want, copied(t, dir, path))
		}
		for i, db := range all {
			require.Equal(t, want, rowsOf(t, db), i)
			var verdict string
			require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&verdict))
			require.Equal(t, "ok", verdict)
		}
	})
}

// A commit is in the file with its last page, however many it has.
func TestCommitsOfAllSizes(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, VFS(), 0)
	var path string
	require.NoError(t, db.QueryRow("SELECT file FROM pragma_database_list").Scan(&path))
	rows := 0
	for pages := 1; pages < 100; pages++ {
		tx, err := db.Begin()
		require.NoError(t, err)
		for range pages {
			_, err := tx.Exec("INSERT INTO t VALUES (?, zeroblob(3500))", rows) // a page each
			require.NoError(t, err)
			rows++
		}
		require.NoError(t, tx.Commit())
		require.Equal(t, rows, len(copied(t, dir, path)), pages)
	}
}

// What was written out and given up doesn't come back over what another has committed since.
func TestWhatWasGivenUpIsNeverWritten(t *testing.T) {
	for rows := 10; rows < 30; rows++ {
		path := filepath.Join(t.TempDir(), "a.db")
		one, other := connect(t, VFS(), path, "NORMAL"), connect(t, VFS(), path, "NORMAL")
		_, err := one.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
		require.NoError(t, err)
		_, err = one.Exec("PRAGMA wal_checkpoint(TRUNCATE)") // giving up then reads nothing from the log
		require.NoError(t, err)

		tx, err := one.Begin()
		require.NoError(t, err)
		for id := range rows { // some of their pages are written out
			_, err = tx.Exec("INSERT INTO t VALUES (?, zeroblob(3500))", id)
			require.NoError(t, err)
		}
		require.NoError(t, tx.Rollback())
		require.NoError(t, fill(other, 100, 200))
		require.NoError(t, fill(one, 300, 1))
		want := rowsOf(t, other)
		require.Len(t, want, 201)
		require.Equal(t, want, copied(t, t.TempDir(), path), rows)
		require.NoError(t, one.Close())
		require.NoError(t, other.Close())
	}
}
