package projections

import (
	"fmt"
	"slices"
	"strings"

	"github.com/belltower/belltower/internal/sqldb"
)

// write makes changes to a table.
func (w *writer) write(s shape, changes []change) error {
	var deleted, inserted, updated []change
	for i, c := range changes {
		list := &updated
		switch {
		case c.stored != nil && c.now == nil:
			list = &deleted
		case c.stored == nil && c.now != nil:
			list = &inserted
		case c.now == nil || slices.Equal(c.stored, c.now):
			continue
		}
		if *list == nil {
			*list = make([]change, 0, len(changes)-i)
		}
		*list = append(*list, c)
	}
	// In the order of the key, in which the table's pages are.
	for _, list := range [][]change{deleted, inserted, updated} {
		sortByKey(list)
	}
	if err := w.writeDeleted(s, deleted); err != nil {
		return err
	}
	if err := w.writeInserted(s, inserted); err != nil {
		return err
	}
	return w.writeUpdated(s, updated)
}

func sortByKey(changes []change) {
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.key, b.key) })
}

func (w *writer) writeDeleted(s shape, rows []change) error {
	if s.keys == 1 {
		ids := make([]any, len(rows))
		for i, c := range rows {
			ids[i] = c.stored[0]
		}
		return w.deleteBy(s.table, s.columns[0], ids)
	}
	for n := range w.pieces(len(rows), nil) {
		var args []any
		for _, c := range rows[:n] {
			args = append(args, c.stored[:s.keys]...)
		}
		one := "(" + strings.Join(s.key(), " = ? AND ") + " = ?)"
		where := strings.TrimSuffix(strings.Repeat(one+" OR ", n), " OR ")
		if w.db.Kind() == sqldb.PostgreSQL {
			var columns string
			columns, args = columnsOf(rows[:n], func(c change) []any { return c.stored[:s.keys] })
			where = "(" + strings.Join(s.key(), ", ") + ") IN (SELECT * FROM unnest(" + columns + "))"
		}
		if err := w.put("DELETE FROM "+s.table+" WHERE ", where, "", args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (w *writer) writeInserted(s shape, rows []change) error {
	after := ""
	if s.ignore {
		after = w.db.OnConflict(s.table, s.key())
	}
	return w.insertRows(s, rows, after)
}

func (w *writer) insertRows(s shape, rows []change, after string) error {
	head := "INSERT " + w.db.OrRollback() + "INTO " + s.table + " (" + strings.Join(s.columns, ", ") + ") "
	for n := range w.pieces(len(rows), rows) {
		var values string
		var args []any
		if w.db.Kind() == sqldb.PostgreSQL {
			values, args = columnsOf(rows[:n], func(c change) []any { return c.now })
			values = "SELECT * FROM unnest(" + values + ")"
		} else {
			values, args = "VALUES "+sqldb.Values(n, len(s.columns)), w.room(n*len(s.columns))
			for _, c := range rows[:n] {
				args = append(args, c.now...)
			}
		}
		if err := w.put(head, values, after, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// columnsOf gives rows to PostgreSQL as an array for each column, so that however
// many they are the statement is the same, and is planned once. What may be NULL is a number.
func columnsOf(rows []change, values func(change) []any) (arrays string, args []any) {
	columns := len(values(rows[0]))
	types := make([]string, columns)
	for i := range columns {
		if _, ok := values(rows[0])[i].(string); ok {
			of := make([]string, len(rows))
			for j, c := range rows {
				of[j] = values(c)[i].(string)
			}
			types[i], args = fmt.Sprintf("$%d::text[]", i+1), append(args, of)
			continue
		}
		of := make([]*int64, len(rows))
		for j, c := range rows {
			if n, ok := values(c)[i].(int64); ok {
				of[j] = &n
			}
		}
		types[i], args = fmt.Sprintf("$%d::bigint[]", i+1), append(args, of)
	}
	return strings.Join(types, ", "), args
}

// writeUpdated writes the columns that have changed, or on a server all columns
// of many rows at once: what costs there is the trip.
func (w *writer) writeUpdated(s shape, rows []change) error {
	if len(rows) > 1 && w.db.Kind() != sqldb.SQLite {
		assignments := make([]string, 0, len(s.columns))
		for _, column := range s.columns[s.keys:] {
			assignments = append(assignments, column+" = new."+column)
		}
		return w.insertRows(s, rows, w.db.OnConflict(s.table, s.key(), assignments...))
	}
	for _, c := range rows {
		var assignments []string
		var args []any
		for i, v := range c.now {
			if v != c.stored[i] {
				assignments, args = append(assignments, s.columns[i]+" = ?"), append(args, v)
			}
		}
		err := w.put("UPDATE "+s.table+" SET "+strings.Join(assignments, ", ")+" WHERE "+strings.Join(s.key(), " = ? AND ")+" = ?", "", "",
			append(args, c.now[:s.keys]...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// maxStatement bounds the text in one statement, in bytes.
const maxStatement = 1 << 20

// How many rows are in one statement. SQLite keeps those of few sizes prepared.
var (
	atOnceInFile   = []int{32, 4, 1}
	atOnceOnServer = 1000
)

// pieces parts n rows into those of statements.
func (w *writer) pieces(n int, rows []change) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; at < n; {
			size := min(n-at, atOnceOnServer)
			if w.statements != nil {
				size = atOnceInFile[slices.IndexFunc(atOnceInFile, func(size int) bool { return size <= n-at })]
			}
			for rows != nil && size > 1 && bytesOf(rows[at:at+size]) > maxStatement {
				size = (size + 3) / 4
			}
			at += size
			if !yield(size) {
				return
			}
		}
	}
}

func bytesOf(rows []change) (n int) {
	for _, c := range rows {
		n += sizeOf(c.now)
	}
	return n
}

// sizeOf is how many bytes values have in a statement, about.
func sizeOf(values []any) (n int) {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []string:
			for _, s := range v {
				n += len(s)
			}
		case []*int64:
			n += 8 * len(v)
		}
	}
	return n
}

// maxAmong is how many ids are looked for in one statement.
const maxAmong = 256

// among calls do with conditions which together say that column is one of ids.
func (w *writer) among(column string, ids []any, do func(condition string, args []any) error) error {
	for some := range slices.Chunk(ids, maxAmong) {
		if err := do(w.isOneOf(column, some)); err != nil {
			return err
		}
	}
	return nil
}

// isOneOf repeats the last id up to a power of two, so that there are few statements.
func (w *writer) isOneOf(column string, ids []any) (condition string, args []any) {
	if w.db.Kind() == sqldb.PostgreSQL {
		of := make([]string, len(ids))
		for i, id := range ids {
			of[i] = id.(string)
		}
		return column + " = ANY (?)", []any{of}
	}
	args = slices.Clone(ids)
	for len(args)&(len(args)-1) != 0 {
		args = append(args, ids[len(ids)-1])
	}
	return column + " IN " + sqldb.Values(1, len(args)), args
}
