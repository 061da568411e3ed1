package projections

import "sync/atomic"

// Edition names what queries answer: as long as it is the same, they answer the same.
type Edition struct{ n uint64 }

// editions counts the changes to the rows of a file, which may overlap.
type editions struct{ begun, ended atomic.Uint64 }

// Edition tells what queries answer now; known is false while that changes, and
// where others may change it. Who asks before and after a query, and gets the same
// edition twice, has an answer that is right for as long as that is the edition.
func (m *Models) Edition() (e Edition, known bool) {
	ended := m.editions.ended.Load() // first: what has ended by now had begun
	begun := m.editions.begun.Load()
	return Edition{begun}, begun == ended && !m.database.target.Shared()
}

// change begins a change to what queries answer, which ends with the returned function.
func (e *editions) change() (done func()) {
	e.begun.Add(1)
	return func() { e.ended.Add(1) }
}
