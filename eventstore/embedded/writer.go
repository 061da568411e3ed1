package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/writeback"
)

// writer is the only connection that inserts. It is used by one goroutine, and
// after a failed commit it is given up for a new one.
type writer struct {
	conn  *sqlite.Conn
	last  int64            // position of the last committed record
	kept  int64            // how many of them the number in the file is
	ends  map[string]int64 // revision of streams written to since endsFrom, as committed
	pages int              // about how many were written since the last look at the WAL
	read  *reader          // on conn: it sees what the transaction has written
	seen  *seenEnds

	endsFrom int64 // position of the last record whose stream need not be in ends

	begin, commit, rollback, insert, extent, keepRecords, walSize, restartWAL *sqlite.Stmt
}

// maxEnds bounds writer.ends, to some megabytes.
const maxEnds = 50_000

// writerPragmas: a read transaction left open elsewhere would let the WAL grow; it is
// cut back to this size once it has been moved over. Checkpoints are made by
// the checkpointer, so that no commit waits for one by surprise. The cache is
// small: an append needs only the way to the end of the table, and what a
// transaction changes stays there until its commit all the same.
var writerPragmas = []string{
	"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0",
	"journal_size_limit = 67108864", "cache_size = -4096", "cache_spill = OFF",
}

func openWriter(path string) (*writer, error) {
	conn, err := openConnAs(writeback.URI(path, writeback.LogVFS()), path, sqlite.OpenReadWrite|sqlite.OpenURI, writerPragmas...)
	if err != nil {
		return nil, err
	}
	return newWriter(conn, path)
}

// newWriter takes conn over.
func newWriter(conn *sqlite.Conn, path string) (w *writer, err error) {
	w = &writer{conn: conn, ends: map[string]int64{}}
	for stmt, query := range map[**sqlite.Stmt]string{
		&w.begin:    `BEGIN IMMEDIATE`,
		&w.commit:   `COMMIT`,
		&w.rollback: `ROLLBACK`,
		&w.insert: `INSERT INTO events (position, stream, revision, appended, id, type, data, metadata, created, sum)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)`,
		&w.extent:      `SELECT appended FROM events WHERE position = ?1`,
		&w.keepRecords: `INSERT OR REPLACE INTO meta VALUES ('records', ?1)`,
		&w.walSize:     `PRAGMA wal_checkpoint(NOOP)`,
		&w.restartWAL:  `PRAGMA wal_checkpoint(RESTART)`,
	} {
		if *stmt, err = prepare(conn, query); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
		}
	}
	w.last, err = number(conn, `SELECT coalesce(max(position), 0) FROM events`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close())
	}
	w.endsFrom = w.last
	return w, nil
}

// use makes the writer find streams by x, and by where others have seen them end.
func (w *writer) use(path string, x *index, seen *seenEnds) error {
	streams, err := openStreamsReader(x.path)
	if err != nil {
		return err
	}
	w.read, w.seen = &reader{path: path, index: x, log: w.conn, streams: streams}, seen
	return nil
}

func (w *writer) close() error {
	err := w.conn.Close()
	if w.read != nil {
		err = errors.Join(err, w.read.streams.Close())
	}
	return err
}

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
	b := &batch{ends: map[string]int64{}}
	for {
		if b.appends > 1 {
			// Callers that were just answered together are likely to append again
			// together: those that can at once share the next sync too.
			runtime.Gosched()
		}
		var closed bool
		requests, closed = l.queue.take(requests[:0])
		if len(requests) == 0 {
			if closed {
				break
			}
			<-l.queue.wake
			continue
		}
		b.begin(w, requests, l.options.Now())
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
	if len(b.entries) == 0 {
		if err := execute(b.w.rollback); err != nil {
			return fmt.Errorf("roll back: %w", err)
		}
		b.answer()
		return nil
	}
	if records := b.w.last + int64(len(b.entries)); records-b.w.kept >= keptEvery {
		if err := b.w.keep(records); err != nil {
			return fmt.Errorf("keep the number of records: %w", err)
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
	before := w.last
	w.last += int64(len(b.entries))
	w.pages += 2 + b.bytes/pageSize
	for i, e := range b.entries {
		l.index.add(e, b.proofs[i])
	}
	if len(w.ends)+len(b.ends) > l.options.ends {
		clear(w.ends)
		w.endsFrom = before
	}
	for stream, revision := range b.ends {
		w.ends[stream] = revision
	}
	l.stats.change(func(s *Stats) {
		s.Appends += uint64(b.appends)
		s.Records += uint64(len(b.entries))
		s.Syncs++
		s.LastBatch = b.appends
		s.SyncTime += took
	})
	if l.options.Synced != nil {
		l.options.Synced(len(b.entries), took)
	}
	l.tail.add(b.records)
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
	records    []eventstore.Record
	entries    []entry // of its records
	proofs     []proof
	bytes      int
	committing bool
}

// begin makes b an empty batch for requests, in the room that the one before has left.
func (b *batch) begin(w *writer, requests []*request, now time.Time) {
	clear(b.ends)
	*b = batch{
		w: w, requests: requests, answers: slices.Grow(b.answers[:0], len(requests))[:len(requests)],
		created: now.UnixMicro(), ends: b.ends, records: b.records[:0], entries: b.entries[:0], proofs: b.proofs[:0],
	}
	clear(b.answers)
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
		b.answers[i].position, err = b.repetition(r)
		if errors.Is(err, eventstore.ErrCorrupt) {
			b.answers[i].err = err
			return nil
		}
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
		at, revision := b.w.last+int64(len(b.entries))+1, end+int64(n)+1
		proof := proof{record.ID, sum(at, r.stream, revision, int64(extent), record.ID, record.Type, record.Data, record.Metadata, b.created)}
		insert.BindInt64(1, at)
		insert.BindText(2, r.stream)
		insert.BindInt64(3, revision)
		insert.BindInt64(4, int64(extent))
		insert.BindBytes(5, record.ID[:])
		insert.BindText(6, record.Type)
		insert.BindText(7, shared(record.Data))
		insert.BindText(8, shared(record.Metadata))
		insert.BindInt64(9, b.created)
		insert.BindInt64(10, proof.sum)
		if err := execute(insert); err != nil {
			return err
		}
		b.records = append(b.records, eventstore.Record{
			ID: record.ID, Stream: r.stream, Revision: revision, Position: position(at), Type: record.Type,
			Data: record.Data, Metadata: record.Metadata, Created: time.UnixMicro(b.created).UTC(),
		})
		b.entries, b.proofs = append(b.entries, entry{streamHash, revision, at}), append(b.proofs, proof)
	}
	b.appends++
	b.bytes += r.bytes
	b.ends[r.stream] = end + int64(len(r.records))
	b.answers[i].position = b.w.last + int64(len(b.entries))
	return nil
}

// shared is b as a string for as long as nobody changes b: binding copies it.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // the port has callers of Append leave them as they are

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
	// What was appended since it was seen would be in ends.
	if end, ok := b.w.seen.take(stream); ok && end.log >= b.w.endsFrom {
		return end.revision, nil
	}
	last, found, err := b.w.read.last(context.Background(), stream)
	if err != nil {
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
func (b *batch) repetition(r *request) (last int64, err error) {
	first, n := r.expected+1, int64(len(r.records))
	if first < 0 {
		return 0, nil
	}
	there, err := b.w.read.stream(context.Background(), r.stream, first, len(r.records))
	if err != nil {
		return 0, err
	}
	// Those that it repeats may be in the same transaction, and in no index yet.
	h := hash(r.stream)
	for _, e := range b.entries {
		if e.hash == h && first <= e.revision && e.revision < first+n {
			records, err := b.w.read.at(context.Background(), r.stream, []entry{e})
			if err != nil {
				return 0, err
			}
			there = append(there, records...)
		}
	}
	if len(there) != len(r.records) {
		return 0, nil
	}
	for i, record := range there {
		if record.ID != r.records[i].ID {
			return 0, nil
		}
	}
	extent, err := b.w.extentAt(int64(there[0].Position.Commit))
	if err != nil || extent != n {
		return 0, err
	}
	return int64(there[n-1].Position.Commit), nil
}

// extentAt returns how many records were appended with the one at a position that is the first.
func (w *writer) extentAt(position int64) (extent int64, err error) {
	defer func() { err = errors.Join(err, w.extent.Reset()) }()
	w.extent.BindInt64(1, position)
	if found, err := w.extent.Step(); err != nil || !found {
		return 0, err
	}
	return w.extent.ColumnInt64(0), nil
}
