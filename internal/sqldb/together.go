package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Statement is one of several; its text is what the database takes, as Bind gives it.
type Statement struct {
	Text string
	Args []any
}

// Together executes statements on a connection in their order, up to the first
// that fails, and tells how many rows the last one changed. A server is asked once
// for all; one of MySQL's must have been opened for that.
func (d Dialect) Together(ctx context.Context, conn *sql.Conn, statements []Statement) (affected int64, err error) {
	switch d.kind {
	case PostgreSQL:
		err = conn.Raw(func(driverConn any) error {
			c, ok := driverConn.(*stdlib.Conn)
			if !ok {
				return fmt.Errorf("a connection of type %T", driverConn)
			}
			affected, err = pipelined(ctx, c.Conn(), statements)
			return err
		})
		return affected, err
	case MySQL:
		var text strings.Builder
		var args []any
		for i, s := range statements {
			if i > 0 {
				text.WriteString("; ")
			}
			text.WriteString(s.Text)
			args = append(args, s.Args...)
		}
		r, err := conn.ExecContext(ctx, text.String(), args...)
		if err != nil {
			return 0, err
		}
		return r.RowsAffected()
	}
	for _, s := range statements {
		r, err := conn.ExecContext(ctx, s.Text, s.Args...)
		if err != nil {
			return 0, err
		}
		if affected, err = r.RowsAffected(); err != nil {
			return 0, err
		}
	}
	return affected, nil
}

func pipelined(ctx context.Context, conn *pgx.Conn, statements []Statement) (affected int64, err error) {
	batch := &pgx.Batch{}
	for _, s := range statements {
		batch.Queue(s.Text, s.Args...)
	}
	results := conn.SendBatch(ctx, batch)
	for range statements {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close() // it tells the same
			return 0, err
		}
		affected = tag.RowsAffected()
	}
	return affected, results.Close()
}
