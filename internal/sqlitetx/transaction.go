// Package sqlitetx runs transactions of SQLite. Those of package sqlitex panic where a
// transaction can't be rolled back, which is what a failing disk may lead to; here that
// is an error.
package sqlitetx

import (
	"errors"
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Immediate does something in a transaction that may write from its beginning, and
// commits it. Where do or the commit fails it is rolled back; the error is theirs, joined
// with that of a rollback that failed, which the next transaction tries again. conn is used
// by nobody else meanwhile.
func Immediate(conn *sqlite.Conn, do func() error) (err error) {
	if err := rollback(conn); err != nil { // an earlier one
		return err
	}
	if err := sqlitex.Execute(conn, "BEGIN IMMEDIATE", nil); err != nil {
		return err
	}
	defer func() { // also where do panics
		if failed := rollback(conn); failed != nil {
			err = errors.Join(err, failed)
		}
	}()
	if err := do(); err != nil {
		return err
	}
	return sqlitex.Execute(conn, "COMMIT", nil)
}

// rollback ends a transaction, where there is one, although conn may be interrupted.
func rollback(conn *sqlite.Conn) error {
	if conn.AutocommitEnabled() {
		return nil
	}
	defer conn.SetInterrupt(conn.SetInterrupt(nil))
	if err := sqlitex.Execute(conn, "ROLLBACK", nil); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// Script runs statements one after another, up to the first that fails. It begins no
// transaction.
func Script(conn *sqlite.Conn, statements string) error {
	for statements = strings.TrimSpace(statements); statements != ""; {
		stmt, rest, err := conn.PrepareTransient(statements)
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			more, err = stmt.Step()
		}
		if err := errors.Join(err, stmt.Finalize()); err != nil {
			return err
		}
		statements = strings.TrimSpace(statements[len(statements)-rest:])
	}
	return nil
}
