package reminders

import (
	"context"
	"errors"
	"fmt"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqldb"
)

// ErrNoTable says that a database has no planner's table yet.
var ErrNoTable = errors.New("there is no planner's table yet")

// TableFound is what LookAtTable found.
type TableFound struct {
	Planned eventstore.Position // up to here all is planned
	Open    int                 // notifications that are not final
}

// LookAtTable looks at the planner's table in a database that instances share, and
// changes nothing. The error matches ErrNoTable where there is none.
func LookAtTable(ctx context.Context, target sqldb.Target) (found TableFound, err error) {
	db, err := sqldb.Open(ctx, target, sqldb.Options{Connections: 1})
	if err != nil {
		return found, fmt.Errorf("look at the planner's table: %w", err)
	}
	s := &server{db: db}
	s.ended, s.end = context.WithCancel(ctx)
	t := newTable(s, db.Dialect, 1)
	defer func() { err = errors.Join(err, t.close()) }()
	found.Planned, _, err = t.mark(markPlanned)
	if err == nil {
		err = t.query(ctx, "SELECT count(*) FROM {open}", nil, func(c columns) { found.Open = int(c.int(0)) })
	}
	if sqldb.NoTable(err) {
		return found, fmt.Errorf("%w in %s", ErrNoTable, target)
	} else if err != nil {
		return found, fmt.Errorf("look at the planner's table in %s: %w", target, err)
	}
	return found, nil
}
