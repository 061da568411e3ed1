package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
)

// ErrBehind says that the rows can't be brought to where those are that they are
// to be compared with.
var ErrBehind = errors.New("projections: the rows are at another position")

// verifyFolder is where rows are built to be compared.
const verifyFolder = "read.verify"

// Verify builds the rows in a SQLite file in dir and reports where those that
// queries are answered from differ, at the same position; the file is removed in
// the end. The zero until is the log's end; where the rows show more than until,
// it is ErrBehind.
func (m *Models) Verify(ctx context.Context, dir string, until eventstore.Position, progress func(BuildProgress), report func(rowdiff.Difference) error) (rows int64, err error) {
	folder := filepath.Join(dir, verifyFolder)
	if err := os.RemoveAll(folder); err != nil { // one that was interrupted left it
		return 0, fmt.Errorf("verify the read models: %w", err)
	}
	scratch, err := OpenDatabase(ctx, sqldb.File(filepath.Join(folder, fileName)), folder, slog.New(slog.DiscardHandler))
	if err == nil {
		rows, err = m.compareWith(ctx, scratch, until, progress, report)
		err = errors.Join(err, scratch.Close())
	}
	if err = errors.Join(err, os.RemoveAll(folder)); err != nil {
		return rows, fmt.Errorf("verify the read models: %w", err)
	}
	return rows, nil
}

func (m *Models) compareWith(ctx context.Context, scratch *Database, until eventstore.Position, progress func(BuildProgress), report func(rowdiff.Difference) error) (rows int64, err error) {
	b, err := scratch.Build(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	generations, err := m.database.Generations(ctx)
	if err != nil {
		return 0, err
	}
	g, ok := ours(generations)
	if !ok {
		return 0, errors.New("there are none of this version: the service builds them when it is started")
	}
	// Most of it is built before the moment that is looked at: a state that is
	// looked at for long keeps a database from cleaning up.
	if err := m.bring(ctx, b, g.Position, until, progress); err != nil {
		return 0, err
	}
	err = m.database.View(ctx, g.Number, func(live *View) error {
		if err := m.bring(ctx, b, live.Position, until, progress); err != nil {
			return err
		}
		return scratch.View(ctx, b.Generation(), func(anew *View) error {
			rows, err = Compare(ctx, anew, live, report)
			return err
		})
	})
	return rows, err
}

// bring folds up to exactly position.
func (m *Models) bring(ctx context.Context, b *Builder, position, until eventstore.Position, progress func(BuildProgress)) error {
	if position == eventstore.Start {
		return nil
	}
	if until != eventstore.Start && until.Before(position) {
		return fmt.Errorf("%w: they show the log up to %v, and can't be taken back to %v", ErrBehind, position, until)
	}
	if err := b.fill(ctx, m.source(position), progress); err != nil {
		return err
	}
	if at := b.Progress().Position; at != position {
		return fmt.Errorf("%w: they show the log up to %v, which has a fact at %v and none there", ErrBehind, position, at)
	}
	return nil
}

// LastBefore gives the position of the last record that the log has from at or
// before, by the log's own time; Start where there is none.
func LastBefore(ctx context.Context, store eventstore.Store, at time.Time) (last eventstore.Position, err error) {
	sub, err := store.Subscribe(ctx, eventstore.Start)
	if err != nil {
		return last, fmt.Errorf("look for %s in the log: %w", at.Format(time.RFC3339), err)
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	for {
		b, err := sub.Next(ctx)
		if err != nil {
			return last, fmt.Errorf("look for %s in the log: %w", at.Format(time.RFC3339), err)
		}
		for _, r := range b.Records {
			if r.Created.After(at) {
				return last, nil
			}
			last = r.Position
		}
		if b.CaughtUp {
			return last, nil
		}
	}
}
