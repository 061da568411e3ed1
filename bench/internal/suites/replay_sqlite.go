package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/bench/internal/measure"
)

// insert inserts the rows of the read models into a database with the same
// tables and indexes, and with the settings that the read models have
// (synchronous=NORMAL, as they can be built anew). Only the inserts and commits
// are counted, not the reading of the rows.
func (r replaying) insert(ctx context.Context) (_ []measure.Figure, err error) {
	from, err := sqlite.OpenConn(filepath.Join(r.dir, "read.db"), sqlite.OpenReadWrite)
	if err != nil {
		return nil, fmt.Errorf("open the read models: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	dir, err := r.lab.Folder("rows")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	to, err := sqlite.OpenConn(filepath.Join(dir, "read.db"), sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return nil, fmt.Errorf("open a database: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for _, setting := range []string{"journal_mode = WAL", "synchronous = NORMAL"} {
		if err := sqlitex.ExecuteTransient(to, "PRAGMA "+setting, nil); err != nil {
			return nil, err
		}
	}
	tables, err := copySchema(from, to)
	if err != nil {
		return nil, fmt.Errorf("copy the schema: %w", err)
	}
	var took time.Duration
	rows := 0
	for _, table := range tables {
		n, of, err := copyRows(ctx, from, to, table)
		if err != nil {
			return nil, fmt.Errorf("copy the rows of %s: %w", table, err)
		}
		rows, took = rows+n, took+of
	}
	return append(r.rate(r.facts, took), measure.Figure{Name: "rows", Unit: "1/s", Value: float64(rows) / took.Seconds()}), nil
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// copySchema makes the tables and indexes of one database in another and gives the tables.
func copySchema(from, to *sqlite.Conn) (tables []string, err error) {
	err = sqlitex.Execute(from, "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			if row.ColumnText(0) == "table" {
				tables = append(tables, row.ColumnText(1))
			}
			return sqlitex.ExecuteTransient(to, row.ColumnText(2), nil)
		},
	})
	return tables, err
}

// copyRows copies a table, as many rows in a transaction as the read models fold
// facts in one, and gives the number of rows and how long inserting them took.
func copyRows(ctx context.Context, from, to *sqlite.Conn, table string) (rows int, took time.Duration, err error) {
	const together = 4096
	read := from.Prep("SELECT * FROM " + quoted(table))
	defer func() { err = errors.Join(err, read.Reset()) }()
	columns := read.ColumnCount()
	insert := to.Prep("INSERT INTO " + quoted(table) + " VALUES (?" + strings.Repeat(", ?", columns-1) + ")")
	batch := make([][]any, 0, together)
	for more := true; more; batch = batch[:0] {
		for len(batch) < together {
			// A step behind the last row would begin again with the first.
			if more, err = read.Step(); err != nil {
				return rows, took, err
			}
			if !more {
				break
			}
			batch = append(batch, values(read, columns))
		}
		began := time.Now()
		if err := insertRows(to, insert, batch); err != nil {
			return rows, took, err
		}
		took += time.Since(began)
		rows += len(batch)
		if err := ctx.Err(); err != nil {
			return rows, took, err
		}
	}
	return rows, took, nil
}

func values(row *sqlite.Stmt, columns int) []any {
	all := make([]any, columns)
	for i := range all {
		switch row.ColumnType(i) {
		case sqlite.TypeInteger:
			all[i] = row.ColumnInt64(i)
		case sqlite.TypeFloat:
			all[i] = row.ColumnFloat(i)
		case sqlite.TypeText:
			all[i] = row.ColumnText(i)
		case sqlite.TypeBlob:
			blob := make([]byte, row.ColumnLen(i))
			row.ColumnBytes(i, blob)
			all[i] = blob
		case sqlite.TypeNull:
		}
	}
	return all
}

func insertRows(to *sqlite.Conn, insert *sqlite.Stmt, batch [][]any) (err error) {
	end, err := sqlitex.ImmediateTransaction(to)
	if err != nil {
		return err
	}
	defer end(&err)
	for _, row := range batch {
		for i, v := range row {
			switch v := v.(type) {
			case int64:
				insert.BindInt64(i+1, v)
			case float64:
				insert.BindFloat(i+1, v)
			case string:
				insert.BindText(i+1, v)
			case []byte:
				insert.BindBytes(i+1, v)
			default:
				insert.BindNull(i + 1)
			}
		}
		if _, err := insert.Step(); err != nil {
			return err
		}
		if err := insert.Reset(); err != nil {
			return err
		}
	}
	return nil
}
