package projections

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/belltower/belltower/internal/rowdiff"
)

// comparison is how a table is compared. What belongs to an event that is gone
// is left out: when it is swept is left to chance.
type comparison struct {
	table    string
	keys     []string
	personal []string // columns that nobody is shown
	there    string   // the condition for a row t of what isn't gone; empty: all
}

const eventThereFor = "NOT EXISTS (SELECT 1 FROM {gone} g WHERE g.event_id = t.%s)"

// comparisons are all tables but checkpoint and gone.
var comparisons = []comparison{
	{table: "events", keys: []string{"id"}},
	{table: "event_tags", keys: []string{"tag", "event_id"}},
	{table: "belonged", keys: []string{"participant_id"}},
	{table: "participants", keys: []string{"id"}, personal: []string{"name", "email", "phone"}, there: fmt.Sprintf(eventThereFor, "event_id")},
	{table: "departures", keys: []string{"event_id", "line"}, there: fmt.Sprintf(eventThereFor, "event_id")},
	{table: "reminders", keys: []string{"id"}, there: fmt.Sprintf(eventThereFor, "event_id")},
	{table: "notifications", keys: []string{"id"}, personal: []string{"message"}, there: fmt.Sprintf(eventThereFor, "event_id")},
	{table: "attempts", keys: []string{"notification_id", "number"},
		there: "NOT EXISTS (SELECT 1 FROM {notifications} n JOIN {gone} g ON g.event_id = n.event_id WHERE n.id = t.notification_id)"},
	{table: "cleared", keys: []string{"log_commit", "log_prepare"}},
	{table: "words", keys: []string{"scope", "folded", "id"}, personal: []string{"folded"}, there: fmt.Sprintf(eventThereFor, "scope")},
}

// state is one state of the rows of a generation.
type state struct {
	tx   *sql.Tx
	bind func(query string) string
}

// compare reports where got isn't what want is, and tells how many rows were compared.
func compare(ctx context.Context, want, got state, report func(rowdiff.Difference) error) (rows int64, err error) {
	for _, c := range comparisons {
		columns, err := want.columns(ctx, c)
		if err != nil {
			return rows, fmt.Errorf("compare %s: %w", c.table, err)
		}
		t := rowdiff.Table{Name: c.table, Columns: columns, Keys: len(c.keys), Personal: c.personal}
		query := "SELECT t." + strings.Join(columns, ", t.") + " FROM {" + c.table + "} t"
		if c.there != "" {
			query += " WHERE " + c.there
		}
		query += " ORDER BY t." + strings.Join(c.keys, ", t.")
		n, err := rowdiff.Compare(t, want.read(ctx, query, len(columns)), got.read(ctx, query, len(columns)), report)
		rows += n
		if err != nil {
			return rows, fmt.Errorf("compare: %w", err)
		}
	}
	t := rowdiff.Table{Name: "tallies", Columns: []string{"kind", "name", "n"}, Keys: 2}
	n, err := rowdiff.Compare(t, want.tallies(ctx), got.tallies(ctx), report)
	if err != nil {
		return rows, fmt.Errorf("compare: %w", err)
	}
	return rows + n, nil
}

// tallies gives the tallies without what belongs to events that are gone.
func (s state) tallies(ctx context.Context) rowdiff.Rows {
	return func(yield func([]any, error) bool) {
		there := map[tally]int64{}
		for row, err := range s.read(ctx, "SELECT kind, name, n FROM {tallies} UNION ALL "+talliesOfGone, 3) {
			if err != nil {
				yield(nil, err)
				return
			}
			n, ok := row[2].(int64)
			if !ok {
				yield(nil, fmt.Errorf("%T is no number", row[2]))
				return
			}
			there[tally{fmt.Sprintf("%s", row[0]), fmt.Sprintf("%s", row[1])}] += n
		}
		inOrder := func(a, b tally) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) }
		for _, t := range slices.SortedFunc(maps.Keys(there), inOrder) {
			if there[t] != 0 && !yield([]any{t.kind, t.name, there[t]}, nil) {
				return
			}
		}
	}
}

const talliesOfGone = "SELECT 'response', p.response, -count(*) FROM {gone} g CROSS JOIN {participants} p WHERE p.event_id = g.event_id GROUP BY p.response" +
	" UNION ALL SELECT 'status', p.status, -count(*) FROM {gone} g CROSS JOIN {participants} p WHERE p.event_id = g.event_id GROUP BY p.status" +
	" UNION ALL SELECT 'notification_status', n.status, -count(*) FROM {gone} g CROSS JOIN {notifications} n WHERE n.event_id = g.event_id GROUP BY n.status" +
	" UNION ALL SELECT 'channel', n.channel, -count(*) FROM {gone} g CROSS JOIN {notifications} n WHERE n.event_id = g.event_id GROUP BY n.channel"

// columns are those of a table, the keys first.
func (s state) columns(ctx context.Context, c comparison) ([]string, error) {
	rows, err := s.tx.QueryContext(ctx, s.bind("SELECT * FROM {"+c.table+"} WHERE 1 = 0"))
	if err != nil {
		return nil, err
	}
	all, err := rows.Columns()
	if closing := rows.Close(); err == nil {
		err = closing
	}
	return append(slices.Clone(c.keys), slices.DeleteFunc(all, func(name string) bool { return slices.Contains(c.keys, name) })...), err
}

// read gives the rows of a query with so many columns.
func (s state) read(ctx context.Context, query string, columns int) rowdiff.Rows {
	return func(yield func([]any, error) bool) {
		rows, err := s.tx.QueryContext(ctx, s.bind(query))
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close() //nolint:errcheck // rows.Err has told
		row, into := make([]any, columns), make([]any, columns)
		for i := range row {
			into[i] = &row[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				yield(nil, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}
