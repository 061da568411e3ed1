package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/belltower/belltower/eventstore"
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

// Difference is a row that two views don't both have, or not alike.
type Difference struct {
	Table   string
	Key     []string             // the columns of the primary key
	Columns map[string][2]string // that differ, with both values; nil: one view lacks the row
	Missing int                  // which view lacks the row: 1 or 2; 0: neither
}

func (d Difference) String() string {
	where := d.Table + " " + strings.Join(d.Key, " ")
	switch d.Missing {
	case 1:
		return where + ": only the second has it"
	case 2:
		return where + ": only the first has it"
	}
	var all []string
	for column, values := range d.Columns {
		all = append(all, fmt.Sprintf("%s is %q and %q", column, values[0], values[1]))
	}
	return where + ": " + strings.Join(all, ", ")
}

// Compared is what was compared.
type Compared struct{ Rows, Differences int64 }

// Compare compares all rows of two views, which may be in databases of different
// kinds, and tells the differences in the order of their keys, until report
// returns false. What belongs to deleted events and wasn't swept yet is left out.
func Compare(ctx context.Context, a, b *View, report func(Difference) (more bool)) (Compared, error) {
	var c Compared
	for _, s := range shapes {
		if s.table == goneShape.table {
			continue
		}
		more, err := c.table(ctx, s, a, b, report)
		if err != nil {
			return c, fmt.Errorf("compare %s: %w", s.name(), err)
		}
		if !more {
			break
		}
	}
	return c, nil
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
		from = "(SELECT kind, name, CAST(sum(n) AS " + whole[kind] + ") AS n FROM (SELECT kind, name, n FROM {tallies} UNION ALL " + rowsOfGone +
			") AS counted GROUP BY kind, name HAVING sum(n) <> 0) AS counts"
	}
	return "SELECT " + strings.Join(s.columns, ", ") + " FROM " + from + " ORDER BY " + strings.Join(s.key(), ", ")
}

// walk reads the rows of a table one after another.
type walk struct {
	rows   *sql.Rows
	values []any // of the row that it stands on; nil: there is none
}

func (v *View) walk(ctx context.Context, s shape) (*walk, error) {
	rows, err := v.rows.q.QueryContext(ctx, v.rows.db.Bind(prefixOf(v.rows.generation), s.ordered(v.rows.db.Kind())))
	if err != nil {
		return nil, err
	}
	w := &walk{rows: rows}
	return w, w.next(len(s.columns))
}

func (w *walk) next(columns int) error {
	if w.values = nil; !w.rows.Next() {
		return w.rows.Err()
	}
	texts := make([]sql.NullString, columns)
	into := make([]any, columns)
	for i := range texts {
		into[i] = &texts[i]
	}
	if err := w.rows.Scan(into...); err != nil {
		return err
	}
	w.values = make([]any, columns)
	for i, t := range texts {
		w.values[i] = t.String
		if !t.Valid {
			w.values[i] = "NULL"
		}
	}
	return nil
}

func (c *Compared) table(ctx context.Context, s shape, a, b *View, report func(Difference) bool) (more bool, err error) {
	x, err := a.walk(ctx, s)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, x.rows.Close()) }()
	y, err := b.walk(ctx, s)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, y.rows.Close()) }()
	for more = true; more && (x.values != nil || y.values != nil); {
		order := s.order(x.values, y.values)
		c.Rows++
		d := s.differ(x.values, y.values, order)
		if order <= 0 {
			err = x.next(len(s.columns))
		}
		if order >= 0 && err == nil {
			err = y.next(len(s.columns))
		}
		if err != nil {
			return false, err
		}
		if d != nil {
			c.Differences++
			more = report(*d)
		}
	}
	return more, nil
}

// order compares the keys of two rows; none is behind all.
func (s shape) order(x, y []any) int {
	switch {
	case x == nil:
		return 1
	case y == nil:
		return -1
	}
	for i := range s.keys {
		a, b := x[i].(string), y[i].(string)
		if s.numbers(i) && len(a) != len(b) { // none is negative
			return len(a) - len(b)
		}
		if c := strings.Compare(a, b); c != 0 {
			return c
		}
	}
	return 0
}

// numbers tells whether a column of the key has numbers.
func (s shape) numbers(i int) bool {
	switch s.columns[i] {
	case "line", "number", "log_commit", "log_prepare":
		return true
	}
	return false
}

func (s shape) differ(x, y []any, order int) *Difference {
	d := Difference{Table: s.name()}
	of := x
	switch {
	case order > 0:
		d.Missing, of = 1, y
	case order < 0:
		d.Missing = 2
	default:
		for i, column := range s.columns {
			if x[i] != y[i] {
				if d.Columns == nil {
					d.Columns = map[string][2]string{}
				}
				d.Columns[column] = [2]string{x[i].(string), y[i].(string)}
			}
		}
		if d.Columns == nil {
			return nil
		}
	}
	for i := range s.keys {
		d.Key = append(d.Key, of[i].(string))
	}
	return &d
}
