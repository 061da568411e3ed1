package embedded

import (
	"cmp"
	"slices"

	"github.com/google/uuid"
)

// entry says where a record of a stream stands.
type entry struct{ hash, revision, position int64 }

// run is an index in memory of records that follow each other in the log.
type run struct {
	links  []link
	latest map[int64]int32 // the number of a hash's last link
	end    proof           // of its last record
}

// link is an entry and the number of the one before it with the same hash. Numbers
// count from 1; 0 is none. There is no pointer in it, so that the garbage
// collector passes over all of them.
type link struct {
	entry
	before    int32
	ascending bool // its revision is larger than all before it, as always with one stream to a hash
}

// proof tells a record from any other one at the same position.
type proof struct {
	id  uuid.UUID
	sum int64
}

// newRun makes one with room for so many records.
func newRun(records int) *run {
	return &run{links: make([]link, 0, records), latest: map[int64]int32{}}
}

func (r *run) add(e entry, p proof) {
	l := link{e, r.latest[e.hash], true}
	if l.before != 0 {
		before := r.links[l.before-1]
		l.ascending = before.ascending && before.revision < e.revision
	}
	r.links = append(r.links, l)
	r.latest[e.hash] = int32(len(r.links))
	r.end = p
}

// descending yields what there is of a hash, the last first, where it is in order
// no further than to revision from. A nil run has nothing.
func (r *run) descending(hash, from int64, yield func(entry) bool) bool {
	if r == nil {
		return true
	}
	for n := r.latest[hash]; n != 0; {
		l := r.links[n-1]
		if l.ascending && l.revision < from {
			return true
		}
		if !yield(l.entry) {
			return false
		}
		n = l.before
	}
	return true
}

// has tells whether e is in it.
func (r *run) has(e entry) bool {
	return !r.descending(e.hash, e.revision, func(is entry) bool { return is != e })
}

// sorted returns the entries in the order of the table.
func (r *run) sorted() []entry {
	entries := make([]entry, len(r.links))
	for i, l := range r.links {
		entries[i] = l.entry
	}
	slices.SortFunc(entries, compareEntries)
	return entries
}

func compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.revision, b.revision), cmp.Compare(a.position, b.position))
}
