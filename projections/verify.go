package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
)

// ErrBehind says that the rows don't show what they are to be compared with.
var ErrBehind = errors.New("projections: the rows are at another position")

// verifyFolder is where rows are built to be compared.
const verifyFolder = "read.verify"

// Verify builds the rows in a SQLite file in dir and reports where those that
// queries are answered from differ, at the same position; the file is removed in
// the end. Rows that are behind until are ErrBehind.
func (m *Models) Verify(ctx context.Context, dir string, until Until, progress func(BuildProgress), report func(rowdiff.Difference) error) (rows int64, err error) {
	folder := filepath.Join(dir, verifyFolder)
	if err := os.RemoveAll(folder); err != nil { // one that was interrupted left it
		return 0, fmt.Errorf("verify the read models: %w", err)
	}
	scratch, err := OpenDatabase(ctx, sqldb.File(filepath.Join(folder, fileName)), folder, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, errors.Join(fmt.Errorf("verify the read models: %w", err), os.RemoveAll(folder))
	}
	err = scratch.build(ctx, m.options, progress, func(ctx context.Context, b *building) error {
		rows, err = m.database.compareWith(ctx, scratch, b, until, report)
		return err
	})
	if err = errors.Join(err, scratch.Close(), os.RemoveAll(folder)); err != nil {
		return rows, fmt.Errorf("verify the read models: %w", err)
	}
	return rows, nil
}

// compareWith brings the rows of b to where the live ones are, and compares the
// two. The live ones are looked at as they are at one moment.
func (d *Database) compareWith(ctx context.Context, scratch *Database, b *building, until Until, report func(rowdiff.Difference) error) (rows int64, err error) {
	all, _, err := d.list(ctx)
	if err != nil {
		return 0, err
	}
	g, ok := ours(all)
	if !ok {
		return 0, errors.New("there are none of this version: start the service, which builds them")
	}
	live := func(query string) string { return d.reading.Bind(prefixOf(g.Number), query) }
	// Most of it comes before the moment that is looked at, which holds up what
	// the database would clean up.
	before, err := scanCheckpoint(d.reading.QueryRowContext(ctx, live(selectCheckpoint)))
	if err == nil && before.position != eventstore.Start {
		err = b.catchUp(ctx, Until{Position: before.position})
	}
	if err != nil {
		return 0, err
	}
	err = d.reading.Snapshot(ctx, func(tx *sql.Tx) error {
		at, err := scanCheckpoint(tx.QueryRowContext(ctx, live(selectCheckpoint)))
		if err != nil {
			return err
		}
		if err := b.catchUpTo(ctx, at.position, until); err != nil {
			return err
		}
		return scratch.reading.Snapshot(ctx, func(anew *sql.Tx) error {
			want := state{anew, func(query string) string { return scratch.reading.Bind(b.w.prefix, query) }}
			rows, err = compare(ctx, want, state{tx, live}, report)
			return err
		})
	})
	return rows, err
}

// catchUpTo goes on to exactly the position of rows elsewhere.
func (b *building) catchUpTo(ctx context.Context, position eventstore.Position, until Until) error {
	if position != eventstore.Start {
		r, ok, err := b.o.Store.RecordAt(ctx, position)
		if err != nil {
			return fmt.Errorf("look for the rows' place in the log: %w", err)
		}
		if !ok {
			return fmt.Errorf("%w: the log has no fact at %v", ErrBehind, position)
		}
		if !until.takes(r) {
			return fmt.Errorf("%w: they show the log up to %v, which is behind --until, and rows can't be taken back", ErrBehind, position)
		}
		if err := b.catchUp(ctx, Until{Position: position}); err != nil {
			return err
		}
	}
	if b.w.checkpoint.position != position {
		return fmt.Errorf("%w: they show the log up to %v only, and these up to %v: try again when they have caught up", ErrBehind, position, b.w.checkpoint.position)
	}
	return nil
}
