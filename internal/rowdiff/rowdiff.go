// Package rowdiff compares two states of a table row by row. It reads both in
// the order of their keys, once, and keeps no more than one row of each.
package rowdiff

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is what is compared.
type Table struct {
	Name    string
	Columns []string
	// Keys is how many of the first columns tell a row from all others. The rows
	// are in their order: numbers by value, texts by their bytes.
	Keys int
	// Personal are the columns whose values are shown to nobody.
	Personal []string
}

// Rows are the rows of a table, in order: a value for each column, which is nil,
// an int64, a float64, a bool, a string or a []byte. A row is used until the next
// is asked for. After an error there are no more.
type Rows = iter.Seq2[[]any, error]

// Kind is how a row differs.
type Kind string

const (
	Missing Kind = "missing" // of what should be there
	Surplus Kind = "surplus" // beside what should be there
	Changed Kind = "changed" // another value in a column
)

// Difference is what is found in a row, or in one column of it.
type Difference struct {
	Table  string `json:"table"`
	Key    string `json:"key"`
	ID     []any  `json:"-"` // the key's values, which may be personal
	Kind   Kind   `json:"kind"`
	Column string `json:"column,omitempty"` // where Kind is Changed
	Want   string `json:"want,omitempty"`
	Got    string `json:"got,omitempty"`
}

func (d Difference) String() string {
	switch d.Kind {
	case Missing:
		return fmt.Sprintf("%s %s is missing", d.Table, d.Key)
	case Surplus:
		return fmt.Sprintf("%s %s should not be there", d.Table, d.Key)
	}
	return fmt.Sprintf("%s %s: %s is %s, and should be %s", d.Table, d.Key, d.Column, d.Got, d.Want)
}

// Compare reports where got isn't what want is, in the order of the keys, and
// tells how many rows were compared. It ends early at the first error of a side
// or of report. Rows that are out of order, or come twice, are an error: what
// they would be compared with couldn't be relied on.
func Compare(t Table, want, got Rows, report func(Difference) error) (rows int64, err error) {
	wanted, stopWanted := newSide(t, want)
	defer stopWanted()
	found, stopFound := newSide(t, got)
	defer stopFound()
	if err := wanted.advance(); err != nil {
		return 0, err
	}
	if err := found.advance(); err != nil {
		return 0, err
	}
	for ; wanted.row != nil || found.row != nil; rows++ {
		var order int
		switch {
		case found.row == nil:
			order = -1
		case wanted.row == nil:
			order = 1
		default:
			order = compareKeys(wanted.row[:t.Keys], found.row[:t.Keys])
		}
		switch {
		case order < 0:
			err = report(Difference{Table: t.Name, Key: t.key(wanted.row), ID: wanted.row[:t.Keys], Kind: Missing})
		case order > 0:
			err = report(Difference{Table: t.Name, Key: t.key(found.row), ID: found.row[:t.Keys], Kind: Surplus})
		default:
			err = t.compareRow(wanted.row, found.row, report)
		}
		if err == nil && order <= 0 {
			err = wanted.advance()
		}
		if err == nil && order >= 0 {
			err = found.advance()
		}
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// compareRow compares the columns behind the keys of two rows of the same key.
func (t Table) compareRow(want, got []any, report func(Difference) error) error {
	for i := t.Keys; i < len(t.Columns); i++ {
		if compareValues(want[i], got[i]) == 0 {
			continue
		}
		err := report(Difference{
			Table: t.Name, Key: t.key(want), ID: want[:t.Keys], Kind: Changed, Column: t.Columns[i],
			Want: t.show(i, want[i]), Got: t.show(i, got[i]),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// key names a row.
func (t Table) key(row []any) string {
	parts := make([]string, t.Keys)
	for i := range parts {
		parts[i] = t.show(i, row[i])
	}
	return strings.Join(parts, ", ")
}

// longest is how much of a value is shown, in runes.
const longest = 200

// show gives a value as people read it; of a personal one no more than its length.
func (t Table) show(column int, v any) string {
	switch v := v.(type) {
	case nil:
		return "empty"
	case string:
		if slices.Contains(t.Personal, t.Columns[column]) {
			return fmt.Sprintf("(%d characters, hidden)", utf8.RuneCountInString(v))
		}
		if utf8.RuneCountInString(v) > longest {
			v = string([]rune(v)[:longest]) + "…"
		}
		return fmt.Sprintf("%q", v)
	}
	if slices.Contains(t.Personal, t.Columns[column]) {
		return "(hidden)"
	}
	return fmt.Sprint(v)
}

// side is one of the two, at a row; nil: behind the last.
type side struct {
	table Table
	next  func() ([]any, error, bool)
	row   []any
}

func newSide(t Table, rows Rows) (*side, func()) {
	next, stop := iter.Pull2(rows)
	return &side{table: t, next: next}, stop
}

// advance goes to the next row, of which it keeps a copy.
func (s *side) advance() error {
	row, err, more := s.next()
	if err != nil {
		return fmt.Errorf("read %s: %w", s.table.Name, err)
	}
	if !more {
		s.row = nil
		return nil
	}
	if len(row) != len(s.table.Columns) {
		return fmt.Errorf("read %s: a row has %d values for %d columns", s.table.Name, len(row), len(s.table.Columns))
	}
	next := make([]any, len(row))
	for i, v := range row {
		if next[i], err = plain(v); err != nil {
			return fmt.Errorf("read %s: column %s: %w", s.table.Name, s.table.Columns[i], err)
		}
	}
	if s.row != nil && compareKeys(s.row[:s.table.Keys], next[:s.table.Keys]) >= 0 {
		return fmt.Errorf("read %s: its rows are not in the order of their keys at %s", s.table.Name, s.table.key(next))
	}
	s.row = next
	return nil
}

// plain makes values of different drivers comparable.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case nil, int64, float64, string:
		return v, nil
	case []byte:
		return string(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	}
	return nil, fmt.Errorf("%T is no value of a row", v)
}

func compareKeys(a, b []any) int {
	return slices.CompareFunc(a, b, compareValues)
}

// compareValues orders nil before numbers, and numbers before texts, as SQLite does.
func compareValues(a, b any) int {
	if order := cmp.Compare(rank(a), rank(b)); order != 0 {
		return order
	}
	switch a := a.(type) {
	case string:
		return cmp.Compare(a, b.(string))
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(float64(a), b.(float64))
	case float64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, float64(b))
		}
		return cmp.Compare(a, b.(float64))
	}
	return 0
}

func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case string:
		return 2
	}
	return 1
}
