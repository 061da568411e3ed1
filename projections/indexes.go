package projections

import (
	"context"
	"fmt"
	"strings"

	"github.com/belltower/belltower/internal/sqldb"
)

// Indexes serve queries. A generation that nobody is to ask yet gets them once its
// rows are there: sorting all rows at once costs a fraction of what placing each of
// them does.

// clearingIndex is the one that folding asks too.
const clearingIndex = "{notifications_final}"

// makeTables makes the tables of a generation, and with indexed all indexes.
func (w *writer) makeTables(ctx context.Context, indexed bool) error {
	for _, s := range w.db.DDL(w.prefix, schema) {
		if name := indexOf(s); !indexed && name != "" && name != w.db.Bind(w.prefix, clearingIndex) {
			continue
		}
		if _, err := w.conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("make the tables of generation %d: %w", w.generation, err)
		}
	}
	w.indexed = indexed
	return nil
}

// makeIndexes makes the indexes that the generation lacks, each by itself: where
// this ends half-way, the rest is made later.
func (w *writer) makeIndexes(ctx context.Context) error {
	if w.indexed {
		return nil
	}
	there := map[string]bool{}
	err := w.rows(func(row scanner) error {
		var name string
		err := row.Scan(&name)
		there[name] = true
		return err
	}, w.db.Indexes())
	if err != nil {
		return fmt.Errorf("list the indexes: %w", err)
	}
	for _, s := range w.db.DDL(w.prefix, schema) {
		name := indexOf(s)
		if name == "" || there[name] {
			continue
		}
		// A server may still be making one for a process that was killed.
		if _, err := w.conn.ExecContext(ctx, s); err != nil && !sqldb.Duplicate(err) {
			return fmt.Errorf("make the index %s: %w", name, err)
		}
	}
	w.indexed = true
	return nil
}

// indexOf names the index that a statement makes; empty: it makes none.
func indexOf(statement string) string {
	behind, ok := strings.CutPrefix(statement, "CREATE INDEX ")
	name, _, _ := strings.Cut(behind, " ")
	if !ok {
		return ""
	}
	return name
}
