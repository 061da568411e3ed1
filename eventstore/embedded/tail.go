package embedded

import (
	"sync"

	"github.com/belltower/belltower/eventstore"
)

// tail is the end of the log in memory: who follows the log reads there what was
// committed just now, and in the file what is older.
type tail struct {
	mu      sync.RWMutex
	records []eventstore.Record // without a gap; none that was added is changed
	bytes   int
}

// Once there is more in a tail, the older half of it is let go.
const (
	tailRecords = 8192
	tailBytes   = 8 << 20
)

// add takes records that were committed.
func (t *tail) add(records []eventstore.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.records); n > 0 && t.records[n-1].Position.Commit+1 != records[0].Position.Commit {
		t.records, t.bytes = nil, 0
	}
	for _, r := range records {
		t.bytes += sizeOf(r)
	}
	t.records = append(t.records, records...)
	if len(t.records) <= tailRecords && t.bytes <= tailBytes {
		return
	}
	from := len(t.records)
	for t.bytes = 0; from > 0 && len(t.records)-from < tailRecords/2 && t.bytes < tailBytes/2; from-- {
		t.bytes += sizeOf(t.records[from-1])
	}
	t.records = append(make([]eventstore.Record, 0, tailRecords), t.records[from:]...) // those who read have the old ones
}

// behind returns the records after a position, up to limit and fewer once they hold
// maxBytes; all tells that there were no more. None: the file has to be read.
func (t *tail) behind(after int64, limit, maxBytes int) (records []eventstore.Record, all bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.records) == 0 {
		return nil, false
	}
	skip := after + 1 - int64(t.records[0].Position.Commit)
	if skip < 0 || skip >= int64(len(t.records)) {
		return nil, false
	}
	rest := t.records[skip:]
	n := 0
	for bytes := 0; n < len(rest) && n < limit && bytes < maxBytes; n++ {
		bytes += sizeOf(rest[n])
	}
	return rest[:n:n], n == len(rest)
}

func sizeOf(r eventstore.Record) int { return len(r.Data) + len(r.Metadata) }
