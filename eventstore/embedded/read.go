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
func (l *Log) ReadStream(ctx context.Context, stream string, from int64, limit int) (records []eventstore.Record, err error) {
	end, _ := l.end.get()
	err = l.with(ctx, func(r *reader) (err error) {
		records, err = r.stream(ctx, stream, from, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	if n := len(records); n > 0 && n < limit {
		l.seen.put(stream, seenEnd{revision: records[n-1].Revision, log: end})
	}
	return records, nil
}

// ReadLast implements eventstore.Store.
func (l *Log) ReadLast(ctx context.Context, stream string) (last eventstore.Record, ok bool, err error) {
	err = l.with(ctx, func(r *reader) (err error) {
		last, ok, err = r.last(ctx, stream)
		return err
	})
	if err != nil {
		return eventstore.Record{}, false, fmt.Errorf("read the last of %s: %w", stream, err)
	}
	return last, ok, nil
}

// RecordAt implements eventstore.Store.
func (l *Log) RecordAt(ctx context.Context, p eventstore.Position) (eventstore.Record, bool, error) {
	n := atOrBefore(p)
	last, _ := l.end.get()
	records, _, err := l.read(ctx, selectRecords+` WHERE position = ?1`,
		func(q *sqlite.Stmt) { q.BindInt64(1, n) }, 1, math.MaxInt)
	if err == nil && len(records) == 0 && n > 0 && n <= last {
		err = missing(l.path, n)
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
// and returns up to limit of its records, fewer once they hold maxBytes; all tells
// that there are no more.
func (l *Log) read(ctx context.Context, query string, bind func(*sqlite.Stmt), limit, maxBytes int) (records []eventstore.Record, all bool, err error) {
	err = l.with(ctx, func(r *reader) error {
		records, all = nil, true
		bytes := 0
		return r.query(ctx, r.log, r.path, query, bind, func(q *sqlite.Stmt) (enough bool, err error) {
			if len(records) >= limit || bytes >= maxBytes {
				all = false
				return true, nil
			}
			record, err := decode(q)
			if err != nil {
				return false, fmt.Errorf("read %s: %w", r.path, err)
			}
			bytes += sizeOf(record)
			records = append(records, record)
			return false, nil
		})
	})
	if err != nil {
		return nil, false, err
	}
	return records, all, nil
}

// readTries is how often a read is tried that SQLite calls one of a damaged file:
// it says so of a disk that fails to answer once, too. Damage is there each time.
const readTries = 3

// with calls read with a reader of the pool.
func (l *Log) with(ctx context.Context, read func(*reader) error) (err error) {
	for range readTries {
		var r *reader
		if r, err = l.readers.take(ctx, l.closing); err != nil {
			return err
		}
		err = read(r)
		l.readers.put(r)
		if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultCorrupt {
			return err
		}
	}
	return err
}

// pool lends readers. They are opened when they are first needed, and again after
// one has failed.
type pool struct {
	path    string
	index   *index
	readers chan *reader // nil: may be opened
}

func newPool(path string, x *index) *pool {
	n := max(4, runtime.GOMAXPROCS(0))
	p := &pool{path: path, index: x, readers: make(chan *reader, n)}
	for range n {
		p.readers <- nil
	}
	return p
}

// take waits for a reader, until ctx ends or closing is closed.
func (p *pool) take(ctx context.Context, closing <-chan struct{}) (*reader, error) {
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
	case r := <-p.readers:
		if r != nil {
			return r, nil
		}
		r, err := p.open()
		if err != nil {
			p.readers <- nil
		}
		return r, err
	}
}

func (p *pool) open() (*reader, error) {
	// No mmap_size: SQLite would unmap the file at each read behind a commit, and all
	// pages had to be faulted in again.
	log, err := openConn(p.path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	streams, err := openStreamsReader(p.index.path)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &reader{path: p.path, index: p.index, log: log, streams: streams}, nil
}

// put gives r back, and closes it when it failed.
func (p *pool) put(r *reader) {
	if r.failed {
		_ = r.close() // who read has been told of the failure itself
		r = nil
	}
	p.readers <- r
}

// close waits for the readers and closes them.
func (p *pool) close() (err error) {
	for range cap(p.readers) {
		if r := <-p.readers; r != nil {
			err = errors.Join(err, r.close())
		}
	}
	return err
}
