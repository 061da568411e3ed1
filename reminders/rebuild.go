package reminders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/projections"
)

// Rebuild makes the planner's open notifications anew from the log, beside those
// that the sender goes by, and then changes these where they differ, in one
// transaction. Planning and sending go on meanwhile. What is still to be planned
// stays as it is.
func (r *Reminders) Rebuild(ctx context.Context, progress func(projections.BuildProgress)) error {
	_, err := r.rebuilt(ctx, progress, func(anew *table, found []rowdiff.Difference) error {
		put, remove, err := anew.settling(ctx, found)
		if err != nil {
			return err
		}
		if err := r.table.change(func(c change) error { return c.keep(put, remove) }); err != nil {
			return err
		}
		applied, _, err := r.table.mark(markApplied)
		if err == nil {
			r.planner.applied(applied) // what is due may be another than before
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("rebuild the planner's table: %w", err)
	}
	return nil
}

// settling gives what makes another table equal to t where they differ: the rows
// to put and the ids to remove.
func (t *table) settling(ctx context.Context, found []rowdiff.Difference) (put []row, remove []string, err error) {
	for _, d := range found {
		id := fmt.Sprint(d.ID[0])
		rows, err := t.rows(ctx, "id = ?", id)
		if err != nil {
			return nil, nil, err
		}
		if len(rows) == 0 {
			remove = append(remove, id)
		}
		put = append(put, rows...)
	}
	return put, remove, nil
}

// Verify makes the planner's open notifications anew from the log and reports
// where those that the sender goes by differ at the same position.
func (r *Reminders) Verify(ctx context.Context, progress func(projections.BuildProgress), report func(rowdiff.Difference) error) (rows int64, err error) {
	rows, err = r.rebuilt(ctx, progress, func(_ *table, found []rowdiff.Difference) error {
		for _, d := range found {
			if err := report(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rows, fmt.Errorf("verify the planner's table: %w", err)
	}
	return rows, nil
}

// rebuildFolder is where a table is built beside the planner's.
const rebuildFolder = "planner.rebuild"

// rebuilt makes a table anew, up to where the planner's is, and hands over what
// differs while no fact is applied to either.
func (r *Reminders) rebuilt(ctx context.Context, progress func(projections.BuildProgress), then func(anew *table, found []rowdiff.Difference) error) (rows int64, err error) {
	dir := filepath.Join(r.o.Dir, rebuildFolder)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil { // one that was interrupted left it
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	anew, err := openTable(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, anew.close()) }()
	b := &tableBuild{planner: r.planner, table: anew, progress: progress}
	if err := b.catchUp(ctx); err != nil {
		return 0, err
	}
	r.planner.applying.Lock()
	defer r.planner.applying.Unlock()
	if err := b.catchUp(ctx); err != nil { // the few that came since
		return 0, err
	}
	var found []rowdiff.Difference
	rows, err = rowdiff.Compare(openRows, anew.inOrder(ctx), r.table.inOrder(ctx), func(d rowdiff.Difference) error {
		found = append(found, d)
		return nil
	})
	if err != nil {
		return rows, err
	}
	return rows, then(anew, found)
}

// tableBuild folds the log into a table up to where the planner's is.
type tableBuild struct {
	planner  *planner
	table    *table
	at       eventstore.Position
	facts    int64
	progress func(projections.BuildProgress)
}

func (b *tableBuild) catchUp(ctx context.Context) error {
	end, _, err := b.planner.table.mark(markApplied)
	if err != nil || !b.at.Before(end) {
		return err
	}
	subscription, err := b.planner.store.Subscribe(ctx, b.at)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer subscription.Close() //nolint:errcheck // nothing was written through it
	for b.at.Before(end) {
		batch, err := subscription.Next(ctx)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		records := batch.Records
		for len(records) > 0 && end.Before(records[len(records)-1].Position) {
			records = records[:len(records)-1]
		}
		if len(records) == 0 {
			return fmt.Errorf("the log has no fact at %v, where the planner's table is", end)
		}
		if err := b.apply(ctx, records); err != nil {
			return err
		}
		b.at, b.facts = records[len(records)-1].Position, b.facts+int64(len(records))
		b.progress(projections.BuildProgress{Facts: b.facts, Position: b.at, End: end})
	}
	return nil
}

func (b *tableBuild) apply(ctx context.Context, records []eventstore.Record) error {
	var opened []stored
	for _, r := range records {
		if !strings.HasPrefix(r.Stream, commands.NotificationStream("")) {
			continue
		}
		entry, err := b.planner.open(ctx, r)
		if err != nil {
			return err
		}
		opened = append(opened, entry)
	}
	open, err := b.table.foldingOf(ctx, opened)
	if err != nil {
		return err
	}
	for _, entry := range opened {
		open.apply(entry.Fact, entry.Revision)
	}
	put, remove := open.outcome()
	return b.table.change(func(c change) error { return c.keep(put, remove) })
}

// openRows is how open notifications are compared.
var openRows = rowdiff.Table{Name: "planner", Columns: strings.Split(columnNames, ", "), Keys: 1}

// inOrder gives all rows in the order of their ids.
func (t *table) inOrder(ctx context.Context) rowdiff.Rows {
	return func(yield func([]any, error) bool) {
		for last := ""; ; {
			rows, err := t.rows(ctx, "id > ? ORDER BY id LIMIT ?", last, auditPage)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range rows {
				if last = r.ID; !yield(r.values(), nil) {
					return
				}
			}
			if len(rows) < auditPage {
				return
			}
		}
	}
}
