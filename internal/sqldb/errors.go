package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlitecodes "modernc.org/sqlite/lib"
)

// sqliteCode is SQLite's code of err; 0: it is of another kind.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// postgresCode is the SQLSTATE of err; empty: it is of another kind.
func postgresCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// mysqlCode is the number of err; 0: it is of another kind.
func mysqlCode(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// Unreachable tells whether err says that the database doesn't answer now: its
// server is down, starts, stops or has no connection left, the connection broke,
// or the disk under a SQLite file gives an error. What was being committed may
// have been or not. The same may succeed later.
func Unreachable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	switch code := postgresCode(err); {
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "58"),
		slices.Contains([]string{"57P01", "57P02", "57P03", "57P05", "25P03"}, code):
		return true
	case code != "":
		return false
	}
	switch code := mysqlCode(err); code {
	case 1040, 1053, 1077, 1080, 1158, 1159, 1160, 1161, 1203, 1317, 1836, 1290, 1927, 2006, 2013, 4031:
		return true
	case 0:
	default:
		return false
	}
	switch sqliteCode(err) {
	case sqlitecodes.SQLITE_IOERR, sqlitecodes.SQLITE_CANTOPEN, sqlitecodes.SQLITE_FULL:
		return true
	}
	var network net.Error
	var connecting *pgconn.ConnectError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, mysql.ErrInvalidConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &connecting) ||
		errors.As(err, &network) && !errors.Is(err, context.DeadlineExceeded) ||
		pgconn.SafeToRetry(err) || err != nil && strings.Contains(err.Error(), "conn closed")
}

// Conflict tells whether err says that another transaction was in the way, so
// that this one did nothing and may be tried again from its beginning.
func Conflict(err error) bool {
	if slices.Contains([]string{"40001", "40P01", "55P03"}, postgresCode(err)) {
		return true
	}
	if code := mysqlCode(err); code == 1205 || code == 1213 || code == 1020 {
		return true
	}
	code := sqliteCode(err)
	return code == sqlitecodes.SQLITE_BUSY || code == sqlitecodes.SQLITE_LOCKED
}

// Damaged tells whether err says that what is stored can't be read.
func Damaged(err error) bool {
	if slices.Contains([]string{"XX001", "XX002"}, postgresCode(err)) {
		return true
	}
	if slices.Contains([]uint16{126, 127, 134, 144, 145, 1034, 1035, 1194, 1195, 1712, 1877}, mysqlCode(err)) {
		return true
	}
	switch sqliteCode(err) {
	case sqlitecodes.SQLITE_CORRUPT, sqlitecodes.SQLITE_NOTADB, sqlitecodes.SQLITE_FORMAT:
		return true
	}
	return false
}

// NoTable tells whether err says that a table isn't there.
func NoTable(err error) bool {
	return postgresCode(err) == "42P01" || mysqlCode(err) == 1146 ||
		sqliteCode(err) == sqlitecodes.SQLITE_ERROR && strings.Contains(err.Error(), "no such table")
}

// Duplicate tells whether err says that a row with the same key, or a table of
// the same name, is there.
func Duplicate(err error) bool {
	code := mysqlCode(err)
	return postgresCode(err) == "23505" || postgresCode(err) == "42P07" || code == 1062 || code == 1050 ||
		sqliteCode(err) == sqlitecodes.SQLITE_CONSTRAINT ||
		sqliteCode(err) == sqlitecodes.SQLITE_ERROR && strings.Contains(err.Error(), "already exists")
}
