package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// writer is the only connection that inserts. It is used by one goroutine, and
// after a failed commit it is given up for a new one.
type writer struct {
	conn    *sqlite.Conn
	last    int64            // position of the last committed record
	records tally            // of the committed records
	kept    int64            // how many of them the tally in the file is of
	ends    map[string]int64 // revision of streams lately written to, as committed

	begin, commit, rollback, insert, streamEnd, repeated, keepTally, walSize, restartWAL *sqlite.Stmt
}

// maxEnds bounds writer.ends, to some megabytes.
const maxEnds = 50_000

func openWriter(path string) (*writer, error) {
	// A read transaction left open elsewhere would let the WAL grow; it is cut
	// back to this size once it has been moved over. Checkpoints are made by
	// the checkpointer, so that no commit waits for one by surprise.
	conn, err := openConn(path, sqlite.OpenReadWrite,
		"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0",
		"journal_size_limit = 67108864", "cache_size = -65536")
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, ends: map[string]int64{}}
	for stmt, query := range map[**sqlite.Stmt]string{
		&w.begin:    `BEGIN IMMEDIATE`,
		&w.commit:   `COMMIT`,
		&w.rollback: `ROLLBACK`,
		&w.insert: `INSERT INTO events (position, stream_hash, stream, revision, appended, id, type, data, metadata, created, sum)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)`,
		&w.streamEnd: selectRecords + ` WHERE stream_hash = ?1 ORDER BY revision DESC`,
		&w.repeated: `SELECT id, appended, position FROM events
			WHERE stream_hash = ?1 AND revision > ?3 AND stream = ?2 || '' ORDER BY revision LIMIT ?4`,
		&w.keepTally:  `INSERT OR REPLACE INTO meta VALUES ('tally', ?1)`,
		&w.walSize:    `PRAGMA wal_checkpoint(NOOP)`,
		&w.restartWAL: `PRAGMA wal_checkpoint(RESTART)`,
	} {
		if *stmt, err = prepare(conn, query); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
		}
	}
	if w.records, w.kept, err = loadRecords(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
	}
	w.last = w.records.records
	return w, nil
}

func (w *writer) close() error { return w.conn.Close() }

// execute runs a statement that returns no rows.
func execute(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	if err != nil {
		return err
	}
	return stmt.Reset()
}

// write is the goroutine that appends, until the log is closed and the queue is empty.
func (l *Log) write(w *writer) {
	var requests []*request
	for {
		var closed bool
		requests, closed = l.queue.take(requests[:0])
		if len(requests) == 0 {
			if closed {
				break
			}
			<-l.queue.wake
			continue
		}
		b := newBatch(w, requests, l.options.Now())
		if err := l.run(b); err != nil {
			if w = l.recover(b, err); w == nil {
				return
			}
		}
		clear(requests)
		l.tendWAL(w)
	}
	if err := l.finish(w); err != nil {
		l.options.Logger.Error("log not closed cleanly", "file", l.path, "error", err)
	}
}

// run writes a batch and answers its callers. After an error nobody has been
// answered, and the writer is of no more use.
func (l *Log) run(b *batch) error {
	if err := execute(b.w.begin); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for i := range b.requests {
		if err := b.add(i); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	if b.records == 0 {
		if err := execute(b.w.rollback); err != nil {
			return fmt.Errorf("roll back: %w", err)
		}
		b.answer()
		return nil
	}
	if records := b.w.records.plus(b.tally); records.records-b.w.kept >= tallyEvery {
		if err := b.w.keep(records); err != nil {
			return fmt.Errorf("keep the tally: %w", err)
		}
	}
	started := time.Now()
	b.committing = true
	if err := l.options.commit(func() error { return execute(b.w.commit) }); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	l.committed(b, time.Since(started))
	return nil
}

// committed makes known what is on disk, and only then answers.
func (l *Log) committed(b *batch, took time.Duration) {
	w := b.w
	w.last += int64(b.records)
	w.records = w.records.plus(b.tally)
	if len(w.ends)+len(b.ends) > maxEnds {
		clear(w.ends)
	}
	for stream, revision := range b.ends {
		w.ends[stream] = revision
	}
	l.stats.change(func(s *Stats) {
		s.Appends += uint64(b.appends)
		s.Records += uint64(b.records)
		s.Syncs++
		s.LastBatch = b.appends
		s.SyncTime += took
	})
	l.end.move(w.last)
	b.answer()
}

// batch is what shares one transaction. Its answers hold only once the
// transaction is committed, refusals too: they may rest on records before them.
type batch struct {
	w          *writer
	requests   []*request
	answers    []answer
	created    int64            // of its records, in microseconds
	ends       map[string]int64 // of the streams that it has appended to
	appends    int
	records    int
	tally      tally // of its records
	committing bool
}

func newBatch(w *writer, requests []*request, now time.Time) *batch {
	return &batch{
		w: w, requests: requests, answers: make([]answer, len(requests)),
		created: now.UnixMicro(), ends: make(map[string]int64, len(requests)),
	}
}

// add decides on request i and inserts its records. A refused request leaves no
// trace; an error is one of the database and ends the batch.
func (b *batch) add(i int) error {
	r := b.requests[i]
	end, err := b.streamEnd(r.stream)
	if errors.Is(err, eventstore.ErrCorrupt) { // no fault of those who share the transaction
		b.answers[i].err = err
		return nil
	} else if err != nil {
		return err
	}
	if r.expected != end {
		b.answers[i].position, err = b.w.repetition(r)
		if b.answers[i].position == 0 {
			b.answers[i].err = &eventstore.WrongRevisionError{Stream: r.stream, Expected: r.expected, Actual: end}
		}
		return err
	}
	streamHash, insert := hash(r.stream), b.w.insert
	for n := range r.records {
		record := &r.records[n]
		extent := 0
		if n == 0 {
			extent = len(r.records)
		}
		position, revision := b.w.last+int64(b.records)+1, end+int64(n)+1
		insert.BindInt64(1, position)
		insert.BindInt64(2, streamHash)
		insert.BindText(3, r.stream)
		insert.BindInt64(4, revision)
		insert.BindInt64(5, int64(extent))
		insert.BindBytes(6, record.ID[:])
		insert.BindText(7, record.Type)
		insert.BindText(8, string(record.Data))
		insert.BindText(9, string(record.Metadata))
		insert.BindInt64(10, b.created)
		insert.BindInt64(11, sum(position, r.stream, revision, int64(extent), record.ID, record.Type, record.Data, record.Metadata, b.created))
		if err := execute(insert); err != nil {
			return err
		}
		b.records++
		b.tally.add(streamHash, revision, position)
	}
	b.appends++
	b.ends[r.stream] = end + int64(len(r.records))
	b.answers[i].position = b.w.last + int64(b.records)
	return nil
}

// answer tells every caller its own outcome.
func (b *batch) answer() {
	for i, r := range b.requests {
		r.done <- b.answers[i]
	}
}

// streamEnd returns the revision of stream as this batch has made it.
func (b *batch) streamEnd(stream string) (int64, error) {
	if end, ok := b.ends[stream]; ok {
		return end, nil
	}
	if end, ok := b.w.ends[stream]; ok {
		return end, nil
	}
	stmt := b.w.streamEnd
	stmt.BindInt64(1, hash(stream))
	last, found, err := nextOf(stream, stmt)
	if err = errors.Join(err, stmt.Reset()); err != nil {
		return 0, err
	}
	if !found {
		return eventstore.NoStream, nil
	}
	return last.Revision, nil
}

// repetition returns the position of the last record of the append that r
// repeats: the same ids, all and no more, behind the same revision. It returns
// 0 when r is none.
func (w *writer) repetition(r *request) (last int64, err error) {
	stmt := w.repeated
	stmt.BindInt64(1, hash(r.stream))
	stmt.BindText(2, r.stream)
	stmt.BindInt64(3, r.expected)
	stmt.BindInt64(4, int64(len(r.records)))
	defer func() { err = errors.Join(err, stmt.Reset()) }()
	for n := range r.records {
		found, err := stmt.Step()
		if err != nil || !found {
			return 0, err
		}
		extent := 0
		if n == 0 {
			extent = len(r.records)
		}
		var id [16]byte
		if stmt.ColumnBytes(0, id[:]) != len(id) || !bytes.Equal(id[:], r.records[n].ID[:]) || stmt.ColumnInt(1) != extent {
			return 0, nil
		}
		last = stmt.ColumnInt64(2)
	}
	return last, nil
}
