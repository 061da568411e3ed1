package embedded

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// ReadBackwards returns up to limit of the last records at or before from, the
// last first, fewer where they are large but always one where there is one.
func (l *Log) ReadBackwards(ctx context.Context, from eventstore.Position, limit int) ([]eventstore.Record, error) {
	last, _ := l.end.get()
	last = min(last, atOrBefore(from))
	records, _, err := l.read(ctx, selectRecords+` WHERE position <= ?1 ORDER BY position DESC`,
		func(q *sqlite.Stmt) { q.BindInt64(1, last) }, limit, batchBytes)
	for i := range records {
		if n := last - int64(i); err == nil && records[i].Position != position(n) {
			err = missing(l.path, n)
		}
	}
	if err == nil && last > 0 && limit > 0 && len(records) == 0 {
		err = missing(l.path, last)
	}
	if err != nil {
		return nil, fmt.Errorf("read backwards from %v: %w", from, err)
	}
	return records, nil
}
