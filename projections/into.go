package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"

	"github.com/belltower/belltower/internal/sqldb"
)

// ErrNotOurs says that a database holds something else than an earlier replay.
var ErrNotOurs = errors.New("it holds something else than an earlier replay, and is left alone")

// BuildInto builds the read models in another database. It must be
// empty or hold what an earlier call has built, finished or not, which answers
// until this one is finished; a file is made where there is none. A service may
// then be started on it, and goes on from there.
func BuildInto(ctx context.Context, target sqldb.Target, s Source, progress func(BuildProgress)) (err error) {
	if err := takeable(ctx, target); err != nil {
		return fmt.Errorf("build the read models in %s: %w", nameOf(target), err)
	}
	d, err := OpenDatabase(ctx, target, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = d.rebuild(ctx, s, false, false, progress)
	if err == nil {
		err = d.dropOld(ctx)
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("build the read models in %s: %w", nameOf(target), err)
	}
	return nil
}

func nameOf(target sqldb.Target) string {
	if target.Shared() {
		return target.String()
	}
	return target.Path()
}

// takeable refuses a database that isn't empty and that nobody replayed into.
func takeable(ctx context.Context, target sqldb.Target) (err error) {
	if !target.Shared() {
		info, err := os.Stat(target.Path())
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case info.IsDir():
			return errors.New("it is a folder")
		case info.Size() == 0:
			return nil
		}
	}
	db, err := sqldb.Open(ctx, target, sqldb.Options{Connections: 1})
	if sqldb.Damaged(err) {
		return ErrNotOurs
	} else if err != nil {
		return err
	}
	d := &Database{target: target, writing: db}
	defer func() { err = errors.Join(err, d.Close()) }()
	tables, err := tablesOf(ctx, db)
	if err != nil || len(tables) == 0 {
		return err
	}
	leases, err := d.leases(ctx)
	if sqldb.NoTable(err) {
		return ErrNotOurs
	} else if err != nil {
		return err
	}
	if len(leases) == 0 {
		return ErrNotOurs // it was made for a service
	}
	for _, l := range leases {
		if !l.builders() {
			return fmt.Errorf("%w: it has the read models of a service", ErrNotOurs)
		}
	}
	for _, name := range tables {
		if !ofGeneration.MatchString(name) {
			return fmt.Errorf("%w: there is a table %s", ErrNotOurs, name)
		}
	}
	return nil
}

var ofGeneration = regexp.MustCompile(`^(generations|g\d+_\w+)$`)

// tablesOf names the tables of a database.
func tablesOf(ctx context.Context, db *sqldb.DB) (names []string, err error) {
	query := "SELECT table_name FROM information_schema.tables WHERE table_schema = " +
		map[sqldb.Kind]string{sqldb.PostgreSQL: "current_schema()", sqldb.MySQL: "database()"}[db.Kind()]
	if db.Kind() == sqldb.SQLite {
		query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	err = each(rows, func(row scanner) error {
		var name string
		err := row.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}
