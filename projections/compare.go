package projections

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/rowdiff"
	"github.com/belltower/belltower/internal/sqldb"
)

// View is one state of a generation's rows.
type View struct {
	Position eventstore.Position // up to here they show everything
	Facts    int64
	rows     snapshot
}

// View runs read on one state of a generation's rows.
func (d *Database) View(ctx context.Context, number int64, read func(*View) error) error {
	return d.reading.Snapshot(ctx, func(tx *sql.Tx) error {
		v := &View{rows: snapshot{d.reading, tx, number}}
		c, err := scanCheckpoint(v.rows.row(ctx, selectCheckpoint))
		if err != nil {
			return fmt.Errorf("read generation %d of the read models: %w", number, err)
		}
		v.Position, v.Facts = c.position, c.facts
		return read(v)
	})
}

// Compare compares all rows of two views, which may be in databases of different
// kinds, and reports where got isn't what want is; it tells how many rows were
// compared. What belongs to deleted events and wasn't swept yet is left out. An
// error of report ends it.
func Compare(ctx context.Context, want, got *View, report func(rowdiff.Difference) error) (rows int64, err error) {
	for _, s := range shapes {
		if s.table == goneShape.table {
			continue
		}
		t := rowdiff.Table{Name: s.name(), Columns: s.columns, Keys: s.keys, Personal: personal[s.name()]}
		n, err := rowdiff.Compare(t, want.walk(ctx, s), got.walk(ctx, s), report)
		rows += n
		if err != nil {
			return rows, fmt.Errorf("compare: %w", err)
		}
	}
	return rows, nil
}

// personal are the columns with names, addresses and texts, which nobody is shown.
var personal = map[string][]string{
	"participants":  {"name", "email", "phone"},
	"notifications": {"message"},
	"words":         {"folded"},
}

// name is the table's name as people read it.
func (s shape) name() string { return strings.Trim(s.table, "{}") }

// unswept are the conditions that leave out what belongs to deleted events.
var unswept = map[string]string{
	"participants":  " WHERE event_id NOT IN (SELECT event_id FROM {gone})",
	"departures":    " WHERE event_id NOT IN (SELECT event_id FROM {gone})",
	"reminders":     " WHERE event_id NOT IN (SELECT event_id FROM {gone})",
	"notifications": " WHERE event_id NOT IN (SELECT event_id FROM {gone})",
	"attempts":      " WHERE notification_id NOT IN (SELECT n.id FROM {gone} g JOIN {notifications} n ON n.event_id = g.event_id)",
	"words":         " WHERE scope NOT IN (SELECT event_id FROM {gone})",
}

// whole is the type of whole numbers in a CAST.
var whole = map[sqldb.Kind]string{sqldb.SQLite: "INTEGER", sqldb.PostgreSQL: "bigint", sqldb.MySQL: "SIGNED"}

func (s shape) ordered(kind sqldb.Kind) string {
	from := s.table + unswept[s.name()]
	if s.table == talliesShape.table {
		from = "(SELECT kind, name, CAST(sum(n) AS " + whole[kind] + ") AS n FROM (SELECT kind, name, n FROM {tallies} UNION ALL " + rowsOfGone(tallied) +
			") AS counted GROUP BY kind, name HAVING sum(n) <> 0) AS counts"
	}
	return "SELECT " + strings.Join(s.columns, ", ") + " FROM " + from + " ORDER BY " + strings.Join(s.key(), ", ")
}

// walk gives the rows of a table in order.
func (v *View) walk(ctx context.Context, s shape) rowdiff.Rows {
	return func(yield func([]any, error) bool) {
		rows, err := v.rows.q.QueryContext(ctx, v.rows.db.Bind(prefixOf(v.rows.generation), s.ordered(v.rows.db.Kind())))
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close() //nolint:errcheck // rows.Err tells
		values, into := make([]any, len(s.columns)), make([]any, len(s.columns))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				yield(nil, err)
				return
			}
			if !yield(values, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}
