package sqldb_test

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/internal/freeport"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

var bg = context.Background()

func open(t *testing.T, target sqldb.Target) *sqldb.DB {
	db, err := sqldb.Open(bg, target, sqldb.Options{Pragmas: []string{"journal_mode(WAL)"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func exec(t require.TestingT, db *sqldb.DB, query string, args ...any) int64 {
	r, err := db.ExecContext(bg, db.Bind("g1_", query), args...)
	require.NoError(t, err, query)
	n, err := r.RowsAffected()
	require.NoError(t, err)
	return n
}

func strings(t require.TestingT, db *sqldb.DB, query string, args ...any) []string {
	rows, err := db.QueryContext(bg, db.Bind("g1_", query), args...)
	require.NoError(t, err, query)
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		out = append(out, s)
	}
	require.NoError(t, rows.Err())
	return out
}

const tables = `
CREATE TABLE {words} (a KEY(64) NOT NULL, b KEY(64) NOT NULL, n BIGINT NOT NULL, more TEXT NOT NULL, raw BYTES, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE INDEX {words_n} ON {words} (n, b);
`

func withTables(t *testing.T, target sqldb.Target) *sqldb.DB {
	db := open(t, target)
	for _, s := range db.DDL("g1_", tables) {
		exec(t, db, s)
	}
	return db
}

// Text comes back as it was, and stands in the order of its bytes.
func TestTextIsBytes(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		db := withTables(t, target)
		text := rapid.StringOfN(rapid.OneOf(rapid.SampledFrom([]rune("aAbB éÉe\u0301'\"\\%_?{}ßs\t\n\U0010FFFF\uffff😀")), rapid.Rune().Filter(func(r rune) bool { return r != 0 })), 0, 60, -1)
		rapid.Check(t, func(r *rapid.T) {
			exec(r, db, "DELETE FROM {words}")
			all := rapid.SliceOfNDistinct(text, 1, 20, func(s string) string { return s }).Draw(r, "texts")
			for _, s := range all {
				exec(r, db, "INSERT INTO {words} VALUES (?, '', 0, ?, ?)", s, s, []byte(s))
			}
			slices.Sort(all)
			require.Equal(r, all, strings(r, db, "SELECT a FROM {words} ORDER BY a"))
			require.Equal(r, all, strings(r, db, "SELECT more FROM {words} ORDER BY a"))
			middle := all[len(all)/2]
			require.Equal(r, []string{middle}, strings(r, db, "SELECT a FROM {words} WHERE a = ? AND more = ? AND raw = ?", middle, middle, []byte(middle)))
			require.Equal(r, all[len(all)/2:], strings(r, db, "SELECT a FROM {words} WHERE a >= ? ORDER BY a", middle))
		})
	})
}

func TestDialect(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		db := withTables(t, target)
		exec(t, db, "INSERT INTO {words} VALUES "+sqldb.Values(3, 5), "a", "x", 1, "", nil, "b", "x", 2, "", nil, "b", "y", 2, "", nil)
		key := []string{"a", "b"}

		exec(t, db, "INSERT INTO {words} VALUES (?, ?, ?, '', NULL)"+db.OnConflict("{words}", key, "n = old.n + new.n"), "b", "y", 5)
		exec(t, db, "INSERT INTO {words} VALUES (?, ?, ?, '', NULL)"+db.OnConflict("{words}", key), "b", "y", 99)
		require.Equal(t, []string{"1", "2", "7"}, strings(t, db, "SELECT n FROM {words} ORDER BY n"))

		after := "SELECT " + db.Greatest("n", "2") + " FROM {words} WHERE " + db.After("n", "b") + " ORDER BY n, b"
		require.Equal(t, []string{"2", "7"}, strings(t, db, after, db.AfterArgs(1, "x")...))
		require.Equal(t, []string{"7"}, strings(t, db, after, db.AfterArgs(2, "x")...))

		require.EqualValues(t, 1, exec(t, db, "UPDATE {words} SET n = ? WHERE a = ?", 1, "a"), "rows that are found count, changed or not")
		require.EqualValues(t, 1, exec(t, db, db.DeleteSome("{words}", key, "a = ?"), "b", 1))
		require.EqualValues(t, 1, exec(t, db, db.DeleteSome("{words}", key, "a = ?"), "b", 5))
		require.Len(t, strings(t, db, "SELECT a FROM {words}"), 1)

		var now int64
		require.NoError(t, db.QueryRowContext(bg, "SELECT "+db.Now()).Scan(&now))
		require.WithinDuration(t, time.Now(), time.UnixMicro(now), time.Hour)
	})
}

func TestIndexes(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		db := withTables(t, target)
		require.Contains(t, strings(t, db, db.Indexes()), "g1_words_n")
		exec(t, db, map[bool]string{false: "DROP INDEX {words_n}", true: "DROP INDEX {words_n} ON {words}"}[db.Kind() == sqldb.MySQL])
		require.NotContains(t, strings(t, db, db.Indexes()), "g1_words_n")
	})
}

// Statements that are sent together are executed in their order, up to one that fails.
func TestTogether(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		withTables(t, target)
		db, err := sqldb.Open(bg, target, sqldb.Options{Together: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		conn, err := db.Conn(bg)
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close()) }()
		statement := func(query string, args ...any) sqldb.Statement {
			return sqldb.Statement{Text: db.Bind("g1_", query), Args: args}
		}
		insert := func(a string) sqldb.Statement {
			return statement("INSERT INTO {words} VALUES (?, ?, 1, 'is it; or isn''t it', NULL)", a, "a; DROP TABLE g1_words; --'\"\\")
		}
		begin, commit := statement(db.BeginWriting()), statement("COMMIT")

		n, err := db.Together(bg, conn, []sqldb.Statement{begin, insert("x"), insert("y"), statement("UPDATE {words} SET n = n + ?", 1)})
		require.NoError(t, err)
		require.EqualValues(t, 2, n)
		n, err = db.Together(bg, conn, []sqldb.Statement{insert("z"), commit, statement("UPDATE {words} SET n = 7 WHERE a = 'z' AND b LIKE ?", "a; DROP%")})
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Equal(t, []string{"2", "2", "7"}, strings(t, db, "SELECT n FROM {words} ORDER BY n"))

		_, err = db.Together(bg, conn, []sqldb.Statement{begin, insert("w"), insert("x"), insert("v"), commit})
		require.True(t, sqldb.Duplicate(err), err)
		_, err = db.Together(bg, conn, []sqldb.Statement{statement("ROLLBACK")})
		require.NoError(t, err)
		require.Equal(t, []string{"x", "y", "z"}, strings(t, db, "SELECT a FROM {words} ORDER BY a"))
	})
}

func TestSnapshot(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		db := withTables(t, target)
		count := func(tx *sql.Tx) (n int) {
			require.NoError(t, tx.QueryRowContext(bg, db.Bind("g1_", "SELECT count(*) FROM {words}")).Scan(&n))
			return n
		}
		require.NoError(t, db.Snapshot(bg, func(tx *sql.Tx) error {
			require.Zero(t, count(tx))
			exec(t, db, "INSERT INTO {words} VALUES ('a', 'b', 1, '', NULL)")
			require.Zero(t, count(tx))
			return nil
		}))
	})
}

func TestErrors(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		db := withTables(t, target)
		_, err := db.ExecContext(bg, "SELECT * FROM missing")
		require.True(t, sqldb.NoTable(err), err)
		insert := db.Bind("g1_", "INSERT INTO {words} VALUES ('a', 'b', 1, '', NULL)")
		exec(t, db, insert)
		_, err = db.ExecContext(bg, insert)
		require.True(t, sqldb.Duplicate(err), err)
		_, err = db.ExecContext(bg, db.DDL("g1_", tables)[0])
		require.True(t, sqldb.Duplicate(err), err)
		require.False(t, sqldb.Unreachable(err) || sqldb.Conflict(err) || sqldb.Damaged(err) || sqldb.NoTable(err))
	})
}

func TestAServerThatIsDownIsUnreachable(t *testing.T) {
	at := freeport.Address(t)
	for _, scheme := range []string{"postgres", "mysql"} {
		target, err := sqldb.Parse(scheme + "://ann:s3cret@" + at + "/bells")
		require.NoError(t, err)
		_, err = sqldb.Open(bg, target, sqldb.Options{})
		require.Error(t, err)
		require.True(t, sqldb.Unreachable(err), err)
		require.ErrorContains(t, err, target.String())
		require.NotContains(t, err.Error(), "s3cret")
	}
}

// Of two transactions that wait for each other, one is told to try again.
func TestDeadlock(t *testing.T) {
	for _, kind := range []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL} {
		t.Run(string(kind), func(t *testing.T) {
			db := withTables(t, sqldbtest.Fresh(t, kind))
			exec(t, db, "INSERT INTO {words} VALUES ('a', '', 1, '', NULL), ('b', '', 1, '', NULL)")
			update := db.Bind("g1_", "UPDATE {words} SET n = n + 1 WHERE a = ?")
			failed := make(chan error, 2)
			var txs [2]*sql.Tx
			for i, row := range []string{"a", "b"} {
				tx, err := db.BeginTx(bg, nil)
				require.NoError(t, err)
				_, err = tx.ExecContext(bg, update, row)
				require.NoError(t, err)
				txs[i] = tx
			}
			for i, row := range []string{"b", "a"} {
				go func() {
					_, err := txs[i].ExecContext(bg, update, row)
					failed <- err
					_ = txs[i].Rollback()
				}()
			}
			one, two := <-failed, <-failed
			require.True(t, sqldb.Conflict(one) != sqldb.Conflict(two), "%v and %v", one, two)
		})
	}
}
