package projections

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// fileExecs are prepared statements of one connection to a file that are executed by
// the driver itself: what database/sql does around each of them took a third of the
// memory that writing rows took.
type fileExecs struct {
	prepared map[string]driver.Stmt
	args     []driver.NamedValue
}

// exec executes a statement, which text gives when it isn't prepared yet, and returns how
// many rows it changed.
func (e *fileExecs) exec(conn *sql.Conn, query string, text func() string, args []any) (n int64, err error) {
	e.args = e.args[:0]
	for i, a := range args {
		switch a.(type) {
		case string, int64, nil:
		default:
			if a, err = driver.DefaultParameterConverter.ConvertValue(a); err != nil {
				return 0, fmt.Errorf("argument %d of %q: %w", i+1, query, err)
			}
		}
		e.args = append(e.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	err = conn.Raw(func(c any) error {
		s, ok := e.prepared[query]
		if !ok {
			if s, err = c.(driver.ConnPrepareContext).PrepareContext(context.Background(), text()); err != nil {
				return err
			}
			if e.prepared == nil {
				e.prepared = map[string]driver.Stmt{}
			}
			e.prepared[query] = s
		}
		r, err := s.(driver.StmtExecContext).ExecContext(context.Background(), e.args)
		if err == nil {
			n, err = r.RowsAffected()
		}
		return err
	})
	return n, err
}

func (e *fileExecs) close() error {
	var errs []error
	for query, s := range e.prepared {
		if err := s.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %q: %w", query, err))
		}
	}
	return errors.Join(errs...)
}
