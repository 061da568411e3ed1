package projections

import "sync/atomic"

// Edition names what queries answer: as long as it is the same, they answer the same.
type Edition struct{ n uint64 }

// editions counts the changes to the rows of a file: odd while one is under way.
type editions struct{ n atomic.Uint64 }

// Edition tells what queries answer now; known is false while that changes, and
// where others may change it. Who asks before and after a query, and gets the same
// edition twice, has an answer that is right for as long as that is the edition.
func (m *Models) Edition() (e Edition, known bool) {
	n := m.editions.n.Load()
	return Edition{n}, n%2 == 0 && !m.database.target.Shared()
}

// change begins a change to what queries answer, which ends with the returned function.
func (e *editions) change() (done func()) {
	e.n.Add(1)
	return func() { e.n.Add(1) }
}
