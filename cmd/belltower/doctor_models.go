package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/projections"
)

// readModels looks at the server that keeps the read models. A file in the data
// folder is looked at when the service starts, and built anew where it is damaged.
func (e *examination) readModels(ctx context.Context) {
	if !e.settings.rows.Shared() {
		return
	}
	x, err := projections.Examine(ctx, e.settings.rows)
	switch {
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
	found := fmt.Sprintf("%s, %s; ", e.settings.rows, x.Database)
	live := "no rows yet"
	advice := ""
	for _, g := range x.Generations {
		if g.State == projections.Live {
			live = fmt.Sprintf("generation %d of version %d, built from %d facts", g.Number, g.Version, g.Facts)
			if g.Version != projections.Version {
				advice = fmt.Sprintf("this program builds version %d beside it when it starts", projections.Version)
			}
		}
	}
	e.add("read models", good, found+live, advice)
}
