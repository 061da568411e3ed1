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
	records, _, err := l.read(ctx, selectRecords+` WHERE position <= ?1 ORDER BY position DESC`,
		func(q *sqlite.Stmt) { q.BindInt64(1, atOrBefore(from)) }, limit, batchBytes)
	if err != nil {
		return nil, fmt.Errorf("read backwards from %v: %w", from, err)
	}
	return records, nil
}
