package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// reader reads the log and the table of its index. It is used by one goroutine at a time.
type reader struct {
	path    string // of events.db
	index   *index
	log     *sqlite.Conn
	streams *sqlite.Conn
	failed  bool // SQLite has said so: it may be worth no more
}

// openStreamsReader opens the table for lookups.
func openStreamsReader(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, classify(err))
	}
	conn.SetBusyTimeout(busyTimeout)
	return conn, nil
}

func (r *reader) close() error { return errors.Join(r.log.Close(), r.streams.Close()) }

// fail notes that SQLite has failed.
func (r *reader) fail(path string, err error) error {
	r.failed = true
	return fmt.Errorf("read %s: %w", path, classify(err))
}

// query runs a statement and calls row for each of its rows until it says that it
// has enough.
func (r *reader) query(ctx context.Context, conn *sqlite.Conn, path, query string, bind func(*sqlite.Stmt), row func(*sqlite.Stmt) (enough bool, err error)) error {
	q, err := conn.Prepare(query)
	if err != nil {
		return r.fail(path, err)
	}
	// Ends the snapshot. What Reset could return, Step has returned before.
	defer func() { _ = q.Reset() }()
	bind(q)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := q.Step()
		if err != nil {
			return r.fail(path, err)
		}
		if !more {
			return nil
		}
		if enough, err := row(q); err != nil || enough {
			return err
		}
	}
}

// records runs a query of the log that begins with selectRecords.
func (r *reader) records(ctx context.Context, query string, bind func(*sqlite.Stmt), row func(eventstore.Record) (enough bool)) error {
	return r.query(ctx, r.log, r.path, query, bind, func(q *sqlite.Stmt) (bool, error) {
		record, err := decode(q)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", r.path, err)
		}
		return row(record), nil
	})
}

// stream returns up to limit records of a stream from revision from on, without a gap.
func (r *reader) stream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	from = max(from, 0)
	to := from + int64(limit)
	if to < from {
		to = math.MaxInt64
	}
	h := hash(stream)
	if !r.index.mayHave(h) {
		return nil, nil
	}
	// Memory first: what leaves it later is in the table by then.
	newest := r.index.newest(h, from, to)
	if len(newest) > 0 && newest[0].revision == from { // then the others are there too, if it is of this stream
		records, err := r.at(ctx, stream, newest)
		if err != nil || (len(records) > 0 && records[0].Revision == from) {
			return r.gapless(stream, from, records, err)
		}
	}
	older, err := r.older(ctx, h, from, to)
	if err != nil {
		return nil, err
	}
	entries := append(older, newest...)
	slices.SortFunc(entries, compareEntries)
	records, err := r.at(ctx, stream, slices.Compact(entries))
	return r.gapless(stream, from, records, err)
}

// gapless refuses records of a stream where the index hides one.
func (r *reader) gapless(stream string, from int64, records []eventstore.Record, err error) ([]eventstore.Record, error) {
	for i, record := range records {
		if record.Revision != from+int64(i) {
			return nil, fmt.Errorf("%w: %s: revision %d of %s is missing", eventstore.ErrCorrupt, r.path, from+int64(i), stream)
		}
	}
	return records, err
}

// older returns what the table has of a hash, from revision from on and below to.
func (r *reader) older(ctx context.Context, hash, from, to int64) (entries []entry, err error) {
	// Without the + the statement would be prepared anew for each value.
	err = r.query(ctx, r.streams, r.index.path, `SELECT revision, position FROM entries
		WHERE hash = ?1+0 AND revision >= ?2+0 AND revision < ?3+0 ORDER BY revision, position`,
		func(q *sqlite.Stmt) {
			q.BindInt64(1, hash)
			q.BindInt64(2, from)
			q.BindInt64(3, to)
		}, func(q *sqlite.Stmt) (bool, error) {
			entries = append(entries, entry{hash, q.ColumnInt64(0), q.ColumnInt64(1)})
			return false, nil
		})
	return entries, err
}

// last returns the last record of a stream; ok is false where it has none.
func (r *reader) last(ctx context.Context, stream string) (last eventstore.Record, ok bool, err error) {
	h := hash(stream)
	if !r.index.mayHave(h) {
		return last, false, nil
	}
	look := func(position int64) (bool, error) {
		record, err := r.record(ctx, position)
		if err == nil && record.Stream == stream {
			last, ok = record, true
		}
		return ok, err
	}
	for limit := 1; ; limit = math.MaxInt { // one is enough but for streams of the same hash
		newest := r.index.descending(h, limit)
		for _, e := range newest {
			if enough, err := look(e.position); err != nil || enough {
				return last, ok, err
			}
		}
		if len(newest) == 0 || limit > 1 {
			break
		}
	}
	err = r.query(ctx, r.streams, r.index.path, `SELECT position FROM entries
		WHERE hash = ?1+0 ORDER BY revision DESC, position DESC`,
		func(q *sqlite.Stmt) { q.BindInt64(1, h) },
		func(q *sqlite.Stmt) (bool, error) { return look(q.ColumnInt64(0)) })
	return last, ok, err
}

// record returns the record at a position that the index knows.
func (r *reader) record(ctx context.Context, position int64) (record eventstore.Record, err error) {
	found := false
	err = r.records(ctx, selectRecords+` WHERE position = ?1`,
		func(q *sqlite.Stmt) { q.BindInt64(1, position) },
		func(is eventstore.Record) bool {
			record, found = is, true
			return true
		})
	if err == nil && !found {
		err = missing(r.path, position)
	}
	return record, err
}

// at returns those records of the entries that are of a stream. SQLite would pass
// over one whose name is damaged: so the name is compared once the record's sum has been.
func (r *reader) at(ctx context.Context, stream string, entries []entry) (records []eventstore.Record, err error) {
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].position == entries[0].position+int64(n) {
			n++
		}
		next := entries[0].position
		err := r.records(ctx, selectRecords+` WHERE position BETWEEN ?1 AND ?2 ORDER BY position`,
			func(q *sqlite.Stmt) {
				q.BindInt64(1, next)
				q.BindInt64(2, next+int64(n)-1)
			}, func(record eventstore.Record) bool {
				if record.Position != position(next) {
					return true
				}
				next++
				if record.Stream == stream {
					records = append(records, record)
				}
				return false
			})
		if err != nil {
			return nil, err
		}
		if next < entries[0].position+int64(n) {
			return nil, missing(r.path, next)
		}
		entries = entries[n:]
	}
	return records, nil
}

func missing(path string, n int64) error {
	return fmt.Errorf("%w: %s: record %d is missing", eventstore.ErrCorrupt, path, n)
}
