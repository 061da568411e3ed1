package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// selectRecords selects what decode reads.
const selectRecords = `SELECT position, stream, revision, id, type, data, metadata, created, appended, sum FROM events`

// decode reads the present row of a statement that begins with selectRecords.
func decode(row *sqlite.Stmt) (eventstore.Record, error) {
	r := eventstore.Record{
		Position: position(row.ColumnInt64(0)),
		Stream:   row.ColumnText(1),
		Revision: row.ColumnInt64(2),
		Type:     row.ColumnText(4),
		Data:     columnBytes(row, 5),
		Metadata: columnBytes(row, 6),
		Created:  time.UnixMicro(row.ColumnInt64(7)).UTC(),
	}
	if n := row.ColumnLen(3); n != len(r.ID) {
		return r, fmt.Errorf("%w: the id at position %v is %d bytes long", eventstore.ErrCorrupt, r.Position, n)
	}
	row.ColumnBytes(3, r.ID[:])
	if sum(row.ColumnInt64(0), r.Stream, r.Revision, row.ColumnInt64(8), r.ID, r.Type, r.Data, r.Metadata, row.ColumnInt64(7)) != row.ColumnInt64(9) {
		return r, fmt.Errorf("%w: the record at position %v is not as it was written: its sum differs", eventstore.ErrCorrupt, r.Position)
	}
	if r.Stream == "" || r.Revision < 0 {
		return r, fmt.Errorf("%w: revision %d of stream %q at position %v", eventstore.ErrCorrupt, r.Revision, r.Stream, r.Position)
	}
	return r, nil
}

func columnBytes(row *sqlite.Stmt, column int) []byte {
	b := make([]byte, row.ColumnLen(column))
	row.ColumnBytes(column, b)
	return b
}

// position is the form in which n leaves this package.
func position(n int64) eventstore.Position {
	return eventstore.Position{Commit: uint64(n), Prepare: uint64(n)}
}

// atOrBefore returns the largest n whose position is not behind p.
func atOrBefore(p eventstore.Position) int64 {
	n := min(p.Commit, math.MaxInt64)
	if n > 0 && p.Before(eventstore.Position{Commit: n, Prepare: n}) {
		n--
	}
	return int64(n)
}

// ReadStream implements eventstore.Store.
func (l *Log) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	records, _, err := l.read(ctx, selectRecords+` WHERE stream_hash = ?1 AND revision >= ?2 ORDER BY revision`,
		func(q *sqlite.Stmt) {
			q.BindInt64(1, hash(stream))
			q.BindInt64(2, from)
		}, stream, limit, math.MaxInt)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	for i, r := range records {
		if r.Revision != from+int64(i) { // damage of the index would hide a record
			return nil, fmt.Errorf("read %s: %w: %s: revision %d of %s is missing", stream, eventstore.ErrCorrupt, l.path, from+int64(i), stream)
		}
	}
	return records, nil
}

// ReadLast implements eventstore.Store.
func (l *Log) ReadLast(ctx context.Context, stream string) (eventstore.Record, bool, error) {
	records, _, err := l.read(ctx, selectRecords+` WHERE stream_hash = ?1 ORDER BY revision DESC`,
		func(q *sqlite.Stmt) { q.BindInt64(1, hash(stream)) }, stream, 1, math.MaxInt)
	if err != nil {
		return eventstore.Record{}, false, fmt.Errorf("read the last of %s: %w", stream, err)
	}
	if len(records) == 0 {
		return eventstore.Record{}, false, nil
	}
	return records[0], true, nil
}

// RecordAt implements eventstore.Store.
func (l *Log) RecordAt(ctx context.Context, p eventstore.Position) (eventstore.Record, bool, error) {
	n := atOrBefore(p)
	last, _ := l.end.get()
	records, _, err := l.read(ctx, selectRecords+` WHERE position = ?1`,
		func(q *sqlite.Stmt) { q.BindInt64(1, n) }, "", 1, math.MaxInt)
	if err == nil && len(records) == 0 && n > 0 && n <= last {
		err = l.missing(n)
	}
	if err != nil {
		return eventstore.Record{}, false, fmt.Errorf("read the record at %v: %w", p, err)
	}
	if len(records) == 0 || records[0].Position != p {
		return eventstore.Record{}, false, nil
	}
	return records[0], true, nil
}

// End implements eventstore.Store.
func (l *Log) End(ctx context.Context) (eventstore.Position, error) {
	err := ctx.Err()
	if l.closed() {
		err = eventstore.ErrClosed
	}
	if err != nil {
		return eventstore.Position{}, fmt.Errorf("read the end of the log: %w", err)
	}
	last, _ := l.end.get()
	return position(last), nil
}

// read runs a query that begins with selectRecords, on one snapshot of the log,
// and returns up to limit of its records, of one stream where its name is given,
// fewer once they hold maxBytes; all tells that there are no more.
func (l *Log) read(ctx context.Context, query string, bind func(*sqlite.Stmt), stream string, limit, maxBytes int) (records []eventstore.Record, all bool, err error) {
	for range readTries {
		records, all, err = l.try(ctx, query, bind, stream, limit, maxBytes)
		if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultCorrupt {
			break
		}
	}
	return records, all, err
}

// readTries is how often a read is tried that SQLite calls one of a damaged file:
// it says so of a disk that fails to answer once, too. Damage is there each time.
const readTries = 3

func (l *Log) try(ctx context.Context, query string, bind func(*sqlite.Stmt), stream string, limit, maxBytes int) (records []eventstore.Record, all bool, err error) {
	conn, err := l.readers.take(ctx, l.closing)
	if err != nil {
		return nil, false, err
	}
	healthy := true
	defer func() { l.readers.put(conn, healthy) }()

	failed := func(err error) error {
		healthy = false
		return fmt.Errorf("read %s: %w", l.path, classify(err))
	}
	q, err := conn.Prepare(query)
	if err != nil {
		return nil, false, failed(err)
	}
	// Ends the snapshot. What Reset could return, Step has returned before.
	defer func() { _ = q.Reset() }()
	bind(q)
	for bytes := 0; ; {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		more, err := q.Step()
		if err != nil {
			return nil, false, failed(err)
		}
		if !more {
			return records, true, nil
		}
		if len(records) >= limit || bytes >= maxBytes {
			return records, false, nil
		}
		r, err := decode(q)
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", l.path, err)
		}
		if stream != "" && r.Stream != stream { // SQLite would pass over one whose name is damaged
			continue
		}
		bytes += len(r.Data) + len(r.Metadata)
		records = append(records, r)
	}
}

// pool lends connections to readers. They are opened when they are first
// needed, and again after one has failed.
type pool struct {
	path  string
	conns chan *sqlite.Conn // nil: may be opened
}

func newPool(path string) *pool {
	n := max(4, runtime.GOMAXPROCS(0))
	p := &pool{path: path, conns: make(chan *sqlite.Conn, n)}
	for range n {
		p.conns <- nil
	}
	return p
}

// take waits for a connection, until ctx ends or closing is closed.
func (p *pool) take(ctx context.Context, closing <-chan struct{}) (*sqlite.Conn, error) {
	select {
	case <-closing:
		return nil, eventstore.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-closing:
		return nil, eventstore.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case conn := <-p.conns:
		if conn != nil {
			return conn, nil
		}
		conn, err := openConn(p.path, sqlite.OpenReadOnly, "mmap_size = 2147418112") // the most that SQLite takes
		if err != nil {
			p.conns <- nil
		}
		return conn, err
	}
}

// put gives conn back, and closes it when it failed.
func (p *pool) put(conn *sqlite.Conn, healthy bool) {
	if !healthy {
		_ = conn.Close() // the reader has been told of the failure itself
		conn = nil
	}
	p.conns <- conn
}

// close waits for the readers and closes their connections.
func (p *pool) close() (err error) {
	for range cap(p.conns) {
		if conn := <-p.conns; conn != nil {
			err = errors.Join(err, conn.Close())
		}
	}
	return err
}
