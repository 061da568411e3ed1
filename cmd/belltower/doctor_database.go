package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/reminders"
)

// databaseTime is how long a server that is well takes to be looked at.
const databaseTime = 15 * time.Second

// database looks at what instances keep in a database that they share.
func (e *examination) database(ctx context.Context) {
	database := e.settings.sharedDatabase()
	if database == (sqldb.Target{}) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	db, err := sqldb.Open(ctx, database, sqldb.Options{Connections: 1})
	if err != nil {
		e.add("database", failing, err.Error(), "see that its server runs, can be reached from here and lets this user in: nothing is planned or sent until then")
		return
	}
	careless, err := carelessCommits(ctx, db)
	err = errors.Join(err, db.Close())
	switch {
	case err != nil:
		e.add("database", failing, err.Error(), "look at the server's log")
		return
	case careless != "":
		e.add("database", warning, fmt.Sprintf("%s (%s): %s", database, db.Version, careless), "turn it on: after a power cut, keys that facts were sealed with may be gone")
	default:
		e.add("database", good, fmt.Sprintf("%s (%s)", database, db.Version), "")
	}
	e.sharedKeys(ctx)
	e.sharedTable(ctx, database)
}

// carelessCommits says what lets the server answer that something is on disk which
// isn't; empty where nothing does.
func carelessCommits(ctx context.Context, db *sqldb.DB) (what string, err error) {
	query, careful := "SELECT current_setting('fsync')", "on"
	name := "fsync"
	if db.Kind() == sqldb.MySQL {
		name = "innodb_flush_log_at_trx_commit"
		query, careful = "SELECT CAST(@@"+name+" AS CHAR)", "1"
	}
	var is string
	if err := db.QueryRowContext(ctx, query).Scan(&is); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if is != careful {
		return fmt.Sprintf("its %s is %s and not %s", name, is, careful), nil
	}
	return "", nil
}

// sharedKeys looks at the keys, where the database has them.
func (e *examination) sharedKeys(ctx context.Context) {
	database := e.settings.keysDatabase()
	if database == (sqldb.Target{}) {
		return // they are among the files
	}
	ring, err := keys.OpenDatabase(ctx, database, keys.Existing())
	if err == nil {
		err = ring.Close()
	}
	switch {
	case errors.Is(err, keys.ErrMissing):
		e.add("keys", warning, fmt.Sprintf("they are to be in %s, and are not there", database), "'belltower serve' makes them at its first start; if this store has facts, move their keys.db there with 'belltower keys move --keys FOLDER', or put back the database's backup")
	case err != nil:
		e.add("keys", failing, err.Error(), "put back the backup of the database")
	default:
		e.add("keys", good, fmt.Sprintf("in %s; their secret is as it was written", database), "")
	}
}

// sharedTable looks at the planner's table.
func (e *examination) sharedTable(ctx context.Context, database sqldb.Target) {
	found, err := reminders.LookAtTable(ctx, database)
	switch {
	case errors.Is(err, reminders.ErrNoTable):
		e.add("planner's table", good, fmt.Sprintf("it is to be in %s; 'belltower serve' makes it", database), "")
	case err != nil:
		e.add("planner's table", failing, err.Error(), "stop all instances and drop the tables planner…: they are made anew from the log")
	default:
		e.add("planner's table", good, fmt.Sprintf("in %s; planned up to position %s, %d notifications open", database, found.Planned, found.Open), "")
	}
}
