package embedded

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// index finds the records of a stream by a hash of its name; who reads a record
// compares the name itself. The newest part is in memory, so that an append writes
// its records alone. Once it has grown, it is moved to a table, in the order of the
// table: a page of it then takes many entries at once, and not one for each append.
type index struct {
	path   string // of streams.db
	logger *slog.Logger
	due    chan struct{} // holds one: there is something to move

	mu    sync.RWMutex
	young *run
	old   *run  // nil, or being moved to the table, and unchanged
	known known // the hashes in young, old and the table
	last  int64 // position of the last record in young
	most  int   // how long young grows

	// Used by one goroutine, that of move and later the one that closes:
	file *streamsFile
}

const (
	minYoung = 1 << 15
	maxYoung = 1 << 17
	// ofTable is which part of the table young grows to.
	ofTable = 16
)

// grown tells how long the part in memory may be beside a table of so many entries.
func grown(records int64) int { return int(min(max(records/ofTable, minYoung), maxYoung)) }

// add takes the record that follows the last one, and passes over those before.
func (x *index) add(e entry, p proof) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.position <= x.last {
		return
	}
	x.young.add(e, p)
	x.known.add(e.hash)
	x.last = e.position
	if len(x.young.links) >= x.most && x.old == nil {
		x.old, x.young = x.young, newRun(min(x.most, maxYoung))
		select {
		case x.due <- struct{}{}:
		default:
		}
	}
}

// retryMove is how long a move is waited with that has failed.
const retryMove = 5 * time.Second

// move moves what has grown to the table, until closing is closed.
func (x *index) move(closing <-chan struct{}) {
	for {
		select {
		case <-closing:
			return
		case <-x.due:
		}
		for !x.moveOld(closing) {
			timer := time.NewTimer(retryMove)
			select {
			case <-timer.C:
			case <-closing:
				timer.Stop()
				return
			}
		}
	}
}

// moveOld tells whether all of it is in the table, or need not be because of closing.
func (x *index) moveOld(closing <-chan struct{}) bool {
	x.mu.RLock()
	old := x.old
	x.mu.RUnlock()
	if old == nil {
		return true
	}
	if err := x.file.take(old, closing); err != nil {
		x.logger.Error("the index of the streams can't be written", "file", x.path, "error", err)
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.file.kept.records == old.links[len(old.links)-1].position {
		x.old, x.most = nil, grown(x.file.kept.records)
	}
	return true
}

// close moves everything, once nothing else is done with the index. Where that
// fails, the next one who opens the log reads more of it.
func (x *index) close() error {
	for range 2 {
		if !x.moveOld(nil) {
			break
		}
		x.mu.Lock()
		if len(x.young.links) > 0 {
			x.old, x.young = x.young, newRun(0)
		}
		x.mu.Unlock()
	}
	return x.file.close()
}

// mayHave is false for a hash that no record has.
func (x *index) mayHave(hash int64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.known.may(hash)
}

// newest returns the records of a hash in memory with revisions from on and below
// to, in their order.
func (x *index) newest(hash, from, to int64) (entries []entry) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	take := func(e entry) bool {
		if from <= e.revision && e.revision < to {
			entries = append(entries, e)
		}
		return true
	}
	x.young.descending(hash, from, take)
	x.old.descending(hash, from, take)
	slices.SortFunc(entries, compareEntries)
	return entries
}

// descending returns the records of a hash in memory, the last first, up to limit.
func (x *index) descending(hash int64, limit int) (entries []entry) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	take := func(e entry) bool {
		entries = append(entries, e)
		return len(entries) < limit
	}
	if x.young.descending(hash, 0, take) {
		x.old.descending(hash, 0, take)
	}
	return entries
}
