package sqldb

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Dialect is how a database wants to be asked. Queries are written once, with ?
// for their arguments and {name} for their tables and indexes; Bind makes of
// them what the database takes. Text is compared and ordered by its bytes on all.
type Dialect struct {
	kind    Kind
	mariadb bool
	bound   *sync.Map // prefix and query → what the database takes
}

func newDialect(kind Kind, mariadb bool) Dialect {
	return Dialect{kind: kind, mariadb: mariadb, bound: &sync.Map{}}
}

// Kind tells what kind of database it is.
func (d Dialect) Kind() Kind { return d.kind }

// Bind makes of a query what the database takes, with prefix before the names of
// its tables. The query's text should be one of few: the answer is kept.
func (d Dialect) Bind(prefix, query string) string {
	type key struct{ prefix, query string }
	if text, ok := d.bound.Load(key{prefix, query}); ok {
		return text.(string)
	}
	text := d.bind(prefix, query)
	d.bound.Store(key{prefix, query}, text)
	return text
}

func (d Dialect) bind(prefix, query string) string {
	var out strings.Builder
	quoted, n := false, 0
	for i := range len(query) {
		switch c := query[i]; {
		case c == '\'':
			quoted = !quoted
			out.WriteByte(c)
		case quoted:
			out.WriteByte(c)
		case c == '{':
			out.WriteString(prefix)
		case c == '}':
		case c == '?' && d.kind == PostgreSQL:
			n++
			out.WriteString("$" + strconv.Itoa(n))
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

var (
	keyType = regexp.MustCompile(`\bKEY\((\d+)\)`)
	typed   = regexp.MustCompile(`\b(TEXT|BIGINT|BYTES)\b`)
)

// DDL gives the statements of a script that makes tables. Its types are:
//
//	BIGINT   a whole number of 64 bits
//	KEY(n)   text of at most n characters, which may stand in keys and indexes
//	TEXT     text of any length
//	BYTES    bytes
//
// WITHOUT ROWID behind a table is for SQLite, and left out elsewhere.
func (d Dialect) DDL(prefix, script string) []string {
	names := map[string]string{"TEXT": "TEXT", "BIGINT": "INTEGER", "BYTES": "BLOB"}
	key, table := "TEXT", ""
	switch d.kind {
	case PostgreSQL:
		names = map[string]string{"TEXT": `text COLLATE "C"`, "BIGINT": "bigint", "BYTES": "bytea"}
		key = names["TEXT"]
	case MySQL:
		names = map[string]string{"TEXT": "LONGTEXT", "BIGINT": "BIGINT", "BYTES": "LONGBLOB"}
		key, table = "VARCHAR($1)", " ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE "+d.collation()
	}
	script = typed.ReplaceAllStringFunc(script, func(name string) string { return names[name] })
	script = keyType.ReplaceAllString(script, key)
	var statements []string
	for _, s := range strings.Split(script, ";") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if d.kind != SQLite {
			s = strings.TrimSpace(strings.TrimSuffix(s, "WITHOUT ROWID"))
			if strings.HasPrefix(s, "CREATE TABLE") {
				s += table
			}
		}
		statements = append(statements, d.bind(prefix, s))
	}
	return statements
}

// collation orders utf8mb4 by code points, which is the order of its bytes, and
// tells what ends in blanks from what doesn't.
func (d Dialect) collation() string {
	if d.mariadb {
		return "utf8mb4_nopad_bin"
	}
	return "utf8mb4_0900_bin"
}

// Greatest is the greater of two expressions, neither of which may be NULL.
func (d Dialect) Greatest(a, b string) string {
	if d.kind == SQLite {
		return "max(" + a + ", " + b + ")"
	}
	return "greatest(" + a + ", " + b + ")"
}

// After is the condition that the pair of columns stands behind a pair of
// arguments, in a form that an index serves. It takes Args of the two.
func (d Dialect) After(a, b string) string {
	if d.kind == MySQL { // it walks the whole index for a pair
		return fmt.Sprintf("(%s > ? OR (%s = ? AND %s > ?))", a, a, b)
	}
	return fmt.Sprintf("(%s, %s) > (?, ?)", a, b)
}

// AfterArgs are the arguments of After.
func (d Dialect) AfterArgs(a, b any) []any {
	if d.kind == MySQL {
		return []any{a, a, b}
	}
	return []any{a, b}
}

// Values is a list of rows for INSERT: each of so many arguments.
func Values(rows, columns int) string {
	row := "(" + strings.TrimSuffix(strings.Repeat("?, ", columns), ", ") + ")"
	return strings.TrimSuffix(strings.Repeat(row+", ", rows), ", ")
}

// OnConflict is what stands behind an INSERT whose rows may be there already by
// key: set are assignments in which old.x is a column of the row that is there,
// and new.x one of the row that was to be inserted. Without any, the row that is
// there is left alone. The table is named as in the query: {name}.
func (d Dialect) OnConflict(table string, key []string, set ...string) string {
	for i, s := range set {
		if d.kind == MySQL {
			s = newColumn.ReplaceAllString(s, "VALUES($1)")
		} else {
			s = newColumn.ReplaceAllString(s, "excluded.$1")
		}
		set[i] = oldColumn.ReplaceAllString(s, table+".$1")
	}
	switch {
	case d.kind == MySQL && len(set) == 0:
		return " ON DUPLICATE KEY UPDATE " + key[0] + " = " + table + "." + key[0]
	case d.kind == MySQL:
		return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
	case len(set) == 0:
		return " ON CONFLICT (" + strings.Join(key, ", ") + ") DO NOTHING"
	}
	return " ON CONFLICT (" + strings.Join(key, ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")
}

var (
	newColumn = regexp.MustCompile(`\bnew\.(\w+)`)
	oldColumn = regexp.MustCompile(`\bold\.(\w+)`)
)

// DeleteSome deletes rows of a table that meet a condition, at most as many as
// its last argument says. The key are the columns of the primary key.
func (d Dialect) DeleteSome(table string, key []string, condition string) string {
	switch d.kind {
	case MySQL:
		return "DELETE FROM " + table + " WHERE " + condition + " LIMIT ?"
	case PostgreSQL:
		return "DELETE FROM " + table + " WHERE ctid = ANY (ARRAY(SELECT ctid FROM " + table + " WHERE " + condition + " LIMIT ?))"
	}
	columns := strings.Join(key, ", ")
	return "DELETE FROM " + table + " WHERE (" + columns + ") IN (SELECT " + columns + " FROM " + table + " WHERE " + condition + " LIMIT ?)"
}

// Indexes is a query for the names of all indexes.
func (d Dialect) Indexes() string {
	switch d.kind {
	case PostgreSQL:
		return "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
	case MySQL:
		return "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = database()"
	}
	return "SELECT name FROM sqlite_master WHERE type = 'index'"
}

// OrRollback stands behind INSERT in a transaction that ends with the first
// statement that fails: SQLite then keeps no journal to undo that one alone.
func (d Dialect) OrRollback() string {
	if d.kind == SQLite {
		return "OR ROLLBACK "
	}
	return ""
}

// Now is the database's own clock, in microseconds since 1970.
func (d Dialect) Now() string {
	switch d.kind {
	case PostgreSQL:
		return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
	case MySQL:
		return "CAST(unix_timestamp(sysdate(6)) * 1000000 AS SIGNED)"
	}
	return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
}

// ForUpdate stands behind a SELECT whose rows are to be changed in the same
// transaction.
func (d Dialect) ForUpdate() string {
	if d.kind == SQLite { // a transaction that writes has the database alone
		return ""
	}
	return " FOR UPDATE"
}

// BeginWriting begins a transaction that writes, on a connection of its own.
func (d Dialect) BeginWriting() string {
	switch d.kind {
	case SQLite:
		return "BEGIN IMMEDIATE"
	case MySQL:
		return "START TRANSACTION"
	}
	return "BEGIN"
}
