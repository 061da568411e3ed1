package projections

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/belltower/belltower/internal/sqldb"
)

// ErrCursor says that a cursor can't be read or belongs to another filter.
var ErrCursor = errors.New("projections: not a cursor of this list")

// Page asks for a part of a list: Limit items behind Cursor.
type Page struct {
	Limit  int
	Cursor string // of the page before; empty: the first page
}

// List is a page. Paging is by the sort key of the last item, so that an item
// whose key stays comes exactly once, whatever is added or goes meanwhile.
type List[T any] struct {
	Items      []T    `json:"items"`                 // never nil
	NextCursor string `json:"next_cursor,omitempty"` // empty on the last page
}

func newList[T any]() List[T] { return List[T]{Items: []T{}} }

// key is where an item stands in its list.
type key struct {
	N  int64  `json:"n"`
	ID string `json:"id,omitempty"`
}

type cursor struct {
	Filter string `json:"f"` // digest of the list and its filter
	Key    key    `json:"k"`
}

func digest(list string, filter any) string {
	data, err := json.Marshal([]any{list, filter})
	if err != nil {
		panic(err) // filters are plain data
	}
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// after reads the cursor; nil: there is none.
func (p Page) after(list string, filter any) (*key, error) {
	if p.Cursor == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	var c cursor
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCursor, err)
	}
	if c.Filter != digest(list, filter) {
		return nil, fmt.Errorf("%w: it belongs to another filter", ErrCursor)
	}
	return &c.Key, nil
}

func (p Page) limit() int {
	if p.Limit < 1 {
		return 50
	}
	return p.Limit
}

// fetch is how many rows tell whether there is a next page.
func (p Page) fetch() int { return p.limit() + 1 }

// cut drops the row that only told of a next page.
func (l List[T]) cut(p Page, list string, filter any, of func(T) key) List[T] {
	if len(l.Items) <= p.limit() {
		return l
	}
	l.Items = l.Items[:p.limit()]
	data, err := json.Marshal(cursor{digest(list, filter), of(l.Items[len(l.Items)-1])})
	if err != nil {
		panic(err)
	}
	l.NextCursor = base64.RawURLEncoding.EncodeToString(data)
	return l
}

// where collects the conditions of a query.
type where struct {
	conditions []string
	args       []any
}

func (w *where) and(condition string, args ...any) {
	w.conditions = append(w.conditions, condition)
	w.args = append(w.args, args...)
}

func (w *where) equal(column, value string) {
	if value != "" {
		w.and(column+" = ?", value)
	}
}

// after narrows to what stands behind a key.
func (w *where) after(d *sqldb.DB, n, id string, k *key) {
	w.and(d.After(n, id), d.AfterArgs(k.N, k.ID)...)
}

func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// with gives the arguments, and more behind them.
func (w *where) with(more ...any) []any { return append(w.args, more...) }
