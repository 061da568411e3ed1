package projections

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Facts change rows in memory; what has changed is written when the transaction
// ends, many rows in one statement. So a history of a thousand facts about one
// row writes it once, and a server far away isn't asked for each.

// errThere says that what a fact makes is there already.
var errThere = errors.New("it is there already")

// change is what became of a row in a transaction: nil is no row. key is keyOf of its key.
type change struct {
	key         string
	stored, now []any
}

// row is a row that was read or made in this transaction.
type row[R any] struct {
	stored []any // nil: it isn't in the database
	now    *R    // nil: it isn't there any more
}

// rowType is a row's Go type, whose fields are the columns in their order.
type rowType[R any] interface {
	*R
	fields() []any
}

// table has the rows of a table by their id.
type table[R any, P rowType[R]] struct {
	shape
	rows map[string]*row[R]
}

func newTable[R any, P rowType[R]](s shape) table[R, P] {
	return table[R, P]{s, map[string]*row[R]{}}
}

func (t table[R, P]) query() string {
	return "SELECT " + strings.Join(t.columns, ", ") + " FROM " + t.table + " WHERE "
}

// get returns nil where there is none.
func (t table[R, P]) get(w *writer, id string) (*R, error) {
	if r, ok := t.rows[id]; ok {
		return r.now, nil
	}
	r := new(R)
	err := w.row(t.query()+t.columns[0]+" = ?", id).Scan(P(r).fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		t.rows[id] = &row[R]{}
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	t.rows[id] = &row[R]{valuesOf(P(r).fields()), r}
	return r, nil
}

// load reads those of ids that were not read yet, many at once.
func (t table[R, P]) load(w *writer, ids map[string]bool) error {
	var missing []any
	for id := range ids {
		if _, ok := t.rows[id]; !ok && id != "" {
			missing = append(missing, id)
			t.rows[id] = &row[R]{}
		}
	}
	return w.among(t.columns[0], missing, func(condition string, args []any) error {
		return w.rows(func(s scanner) error {
			r := new(R)
			fields := P(r).fields()
			if err := s.Scan(fields...); err != nil {
				return err
			}
			t.rows[*fields[0].(*string)] = &row[R]{valuesOf(fields), r}
			return nil
		}, t.query()+condition, args...)
	})
}

// insert adds a row that wasn't there.
func (t table[R, P]) insert(id string, now *R) error {
	r, ok := t.rows[id]
	switch {
	case !ok:
		r = &row[R]{}
		t.rows[id] = r
	case r.now != nil:
		return fmt.Errorf("%s: %w", id, errThere)
	}
	r.now = now
	return nil
}

// delete takes away a row that was read.
func (t table[R, P]) delete(id string) { t.rows[id].now = nil }

func (t table[R, P]) changes() []change {
	out := make([]change, 0, len(t.rows))
	for id, r := range t.rows {
		c := change{key: id, stored: r.stored}
		if r.now != nil {
			c.now = valuesOf(P(r.now).fields())
		}
		out = append(out, c)
	}
	return out
}

// set has rows that are made and taken away without being read: whoever does so
// knows whether they are there.
type set struct {
	shape
	rows map[string]*change
}

func newSet(s shape) set { return set{s, map[string]*change{}} }

func (s set) insert(values ...any) {
	cleaned(values)
	key := keyOf(values[:s.keys])
	if c, ok := s.rows[key]; ok {
		c.now = values
		return
	}
	s.rows[key] = &change{key: key, now: values}
}

// delete takes the columns of the primary key.
func (s set) delete(values ...any) {
	cleaned(values)
	key := keyOf(values)
	if c, ok := s.rows[key]; ok {
		c.now = nil
		return
	}
	s.rows[key] = &change{key: key, stored: values}
}

func (s set) changes() []change {
	out := make([]change, 0, len(s.rows))
	for _, c := range s.rows {
		out = append(out, *c)
	}
	return out
}

// valuesOf reads fields, as arguments of a statement.
func valuesOf(fields []any) []any {
	out := make([]any, len(fields))
	for i, f := range fields {
		switch f := f.(type) {
		case *string:
			out[i] = *f
		case *int64:
			out[i] = *f
		case **int64:
			if *f != nil {
				out[i] = **f
			}
		default:
			panic(fmt.Sprintf("a column of type %T", f))
		}
	}
	cleaned(out)
	return out
}

// cleaned takes out of texts what not every database can store: providers may say anything.
func cleaned(values []any) {
	for i, v := range values {
		if s, ok := v.(string); ok && strings.IndexByte(s, 0) >= 0 {
			values[i] = strings.ReplaceAll(s, "\x00", "\ufffd")
		}
	}
}

// keyOf tells keys apart, and sorts as they do. Texts have been cleaned.
func keyOf(values []any) string {
	if len(values) == 1 {
		return values[0].(string)
	}
	key := make([]byte, 0, 128)
	for _, v := range values {
		switch v := v.(type) {
		case string:
			key = append(append(key, v...), 0)
		case int64:
			key = binary.BigEndian.AppendUint64(key, uint64(v)^1<<63)
		}
	}
	return string(key)
}
