package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/belltower/belltower/internal/sqldb"
)

// ErrRights says that tables can't be made in the database.
var ErrRights = errors.New("projections: the user may not make tables")

// Examination is what Examine has found.
type Examination struct {
	Database    string // what it calls itself, such as PostgreSQL 15.2
	Generations []Generation
}

// Examine looks at the database of a server: whether it can be reached, has the
// right encoding, and lets tables be made, for which it makes one and drops it.
// In a SQLite file it changes nothing.
func Examine(ctx context.Context, target sqldb.Target) (x Examination, err error) {
	d := &Database{target: target, log: slog.New(slog.DiscardHandler)}
	options := sqldb.Options{Connections: 2, ReadOnly: true}
	if d.writing, err = sqldb.Open(ctx, target, options); err != nil {
		return x, err
	}
	d.reading = d.writing
	defer func() { err = errors.Join(err, d.writing.Close()) }()
	x.Database = d.writing.Version
	var scratch []string
	if target.Shared() {
		scratch = d.writing.DDL("probe_"+uuid.NewString()[:8]+"_", "CREATE TABLE {t} (id KEY(64) NOT NULL PRIMARY KEY, more TEXT); DROP TABLE {t};")
	}
	for _, s := range scratch {
		if _, err := d.writing.ExecContext(ctx, s); err != nil {
			if sqldb.Unreachable(err) {
				return x, err
			}
			return x, fmt.Errorf("%w: %w", ErrRights, err)
		}
	}
	if x.Generations, err = d.Generations(ctx); sqldb.NoTable(err) {
		return x, nil // it was never used
	}
	return x, err
}
