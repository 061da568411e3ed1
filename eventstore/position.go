package eventstore

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in the log: opaque but for its order. The zero Position
// is Start, before the first record.
type Position struct{ Commit, Prepare uint64 }

// Start is before the first record.
var Start Position

// Compare orders positions as the log does.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Commit, q.Commit), cmp.Compare(p.Prepare, q.Prepare))
}

// Before tells whether p comes before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// String is the form that ParsePosition reads: the commit, and the prepare behind a slash where it differs.
func (p Position) String() string {
	if p.Commit == p.Prepare {
		return strconv.FormatUint(p.Commit, 10)
	}
	return strconv.FormatUint(p.Commit, 10) + "/" + strconv.FormatUint(p.Prepare, 10)
}

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	commit, prepare, both := strings.Cut(s, "/")
	if !both {
		prepare = commit
	}
	c, err := strconv.ParseUint(commit, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("eventstore: %q is not a position", s)
	}
	p, err := strconv.ParseUint(prepare, 10, 64)
	if err != nil || (both && p == c) {
		return Position{}, fmt.Errorf("eventstore: %q is not a position", s)
	}
	return Position{Commit: c, Prepare: p}, nil
}
