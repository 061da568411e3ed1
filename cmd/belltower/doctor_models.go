package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/projections"
)

// readModels looks at where the read models are kept.
func (e *examination) readModels(ctx context.Context, inUse bool) {
	rows := e.settings.rows
	if !rows.Shared() {
		rows = rows.In(e.data, "read.db")
		switch _, err := os.Stat(rows.Path()); {
		case errors.Is(err, fs.ErrNotExist):
			return // there is no folder yet, or the service makes it
		case !inUse && e.has("read.db-wal"):
			e.add("read models", good, "read.db was not closed, as after a power cut: 'belltower serve' looks at each page of it, or builds it anew", "")
			return
		}
	}
	x, err := projections.Examine(ctx, rows)
	switch {
	case err != nil && !rows.Shared():
		e.add("read models", warning, fmt.Sprintf("read.db can't be read: %v", err), "restart the service: it builds them anew from the log")
		return
	case sqldb.Unreachable(err):
		e.add("read models", failing, err.Error(), "start the database, or correct --read-models; until then queries are answered with 503, and reminders go on")
		return
	case errors.Is(err, projections.ErrRights):
		e.add("read models", failing, err.Error(), "give the user the right to make and drop tables in that database")
		return
	case err != nil:
		e.add("read models", failing, err.Error(), "correct --read-models or the database")
		return
	}
	e.generations(fmt.Sprintf("%s, %s", rows, x.Database), x.Generations)
}

// generations tells which rows are live, and which are being built.
func (e *examination) generations(where string, all []projections.Generation) {
	live := false
	for _, g := range all {
		what := fmt.Sprintf("%s; generation %d of version %d, ", where, g.Number, g.Version)
		switch {
		case g.Failure != "":
			e.add("read models", failing, what+"stands still: "+g.Failure, "they go on by themselves once that is mended; where a newer Belltower wrote the fact, run that version")
		case g.State == projections.Making, g.State == projections.Building:
			e.add("read models", good, what+fmt.Sprintf("is being built: %d facts so far", g.Facts), "")
			continue
		case g.State != projections.Live:
			continue
		case g.Version != projections.Version:
			e.add("read models", good, what+fmt.Sprintf("built from %d facts", g.Facts), fmt.Sprintf("this program builds version %d beside it when it starts", projections.Version))
		default:
			e.add("read models", good, what+fmt.Sprintf("built from %d facts", g.Facts), "")
		}
		live = true
	}
	if !live {
		e.add("read models", good, where+"; no rows are live yet", "")
	}
}
