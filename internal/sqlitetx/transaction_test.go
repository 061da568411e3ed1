package sqlitetx

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

func open(t *testing.T) *sqlite.Conn {
	conn, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenMemory)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	require.NoError(t, Script(conn, "CREATE TABLE t (a); -- a comment\nINSERT INTO t VALUES (1);\n"))
	return conn
}

func count(t *testing.T, conn *sqlite.Conn) (n int) {
	stmt, _, err := conn.PrepareTransient("SELECT count(*) FROM t")
	require.NoError(t, err)
	n, err = sqlitex.ResultInt(stmt)
	require.NoError(t, errors.Join(err, stmt.Finalize()))
	return n
}

func TestImmediate(t *testing.T) {
	conn := open(t)
	insert := func() error { return Script(conn, "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)") }
	require.NoError(t, Immediate(conn, insert))
	require.Equal(t, 3, count(t, conn))

	failed := errors.New("failed")
	err := Immediate(conn, func() error { return errors.Join(insert(), failed) })
	require.ErrorIs(t, err, failed)
	require.Equal(t, 3, count(t, conn))

	require.ErrorContains(t, Immediate(conn, func() error { return Script(conn, "INSERT INTO t VALUES (4); INSERT INTO none VALUES (5)") }), "none")
	require.Equal(t, 3, count(t, conn))

	require.PanicsWithValue(t, "in the middle", func() {
		_ = Immediate(conn, func() error {
			require.NoError(t, insert())
			panic("in the middle")
		})
	})
	require.Equal(t, 3, count(t, conn))
	require.True(t, conn.AutocommitEnabled())
}

// SQLite itself may have ended a transaction that has failed.
func TestATransactionThatHasEnded(t *testing.T) {
	conn := open(t)
	failed := errors.New("failed")
	require.Equal(t, failed, Immediate(conn, func() error {
		require.NoError(t, Script(conn, "INSERT INTO t VALUES (2); ROLLBACK"))
		return failed
	}))
	require.Equal(t, 1, count(t, conn))
}

// What can't be rolled back is an error, and no panic, and is rolled back before the next.
func TestARollbackThatFails(t *testing.T) {
	conn := open(t)
	refused := true
	require.NoError(t, conn.SetAuthorizer(sqlite.AuthorizeFunc(func(a sqlite.Action) sqlite.AuthResult {
		if refused && a.Type() == sqlite.OpTransaction && a.Operation() == "ROLLBACK" {
			return sqlite.AuthResultDeny
		}
		return sqlite.AuthResultOK
	})))
	failed := errors.New("failed")
	err := Immediate(conn, func() error { return errors.Join(Script(conn, "INSERT INTO t VALUES (2)"), failed) })
	require.ErrorIs(t, err, failed)
	require.ErrorContains(t, err, "roll back")
	require.Error(t, Immediate(conn, func() error { return nil }))
	refused = false
	require.NoError(t, Immediate(conn, func() error { return Script(conn, "INSERT INTO t VALUES (3)") }))
	require.Equal(t, 2, count(t, conn))
}
