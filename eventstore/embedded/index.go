package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"zombiezen.com/go/sqlite"

	"github.com/belltower/belltower/eventstore"
)

// tally is what an index over the first records must hold: how many entries, and
// a sum over them that doesn't depend on their order. The log keeps one, so that
// the index alone has to be read to know that it hides nothing: SQLite's pages
// have no sums, and a record that the index hides would be missed by nobody when
// it is the last of its stream.
type tally struct {
	records int64
	sum     uint64
}

func (t *tally) add(streamHash, revision, position int64) {
	t.records++
	t.sum += mix(mix(mix(uint64(streamHash))+uint64(revision)) + uint64(position))
}

func (t tally) plus(o tally) tally { return tally{t.records + o.records, t.sum + o.sum} }

// mix is the finalizer of SplitMix64: each bit of x changes about half of the bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// tallyEvery is how many records may come after those of the tally in the file.
// They are read when the log is opened.
const tallyEvery = 1 << 14

// keep writes t into the file, in the transaction that it is true after.
func (w *writer) keep(t tally) error {
	w.keepTally.BindText(1, fmt.Sprintf("%d %016x", t.records, t.sum))
	if err := execute(w.keepTally); err != nil {
		return err
	}
	w.kept = t.records
	return nil
}

// keepAll leaves a tally of all records in the file.
func (w *writer) keepAll() error {
	if w.kept == w.records.records {
		return nil
	}
	if err := execute(w.begin); err != nil {
		return err
	}
	if err := w.keep(w.records); err != nil {
		return err
	}
	return execute(w.commit)
}

// loadTally returns the tally in the file; ok is false when there is none that
// can be read.
func loadTally(conn *sqlite.Conn) (t tally, ok bool, err error) {
	stmt, err := prepare(conn, "SELECT value FROM meta WHERE key = 'tally'")
	if err != nil {
		return tally{}, false, err
	}
	defer func() { _ = stmt.Reset() }()
	found, err := stmt.Step()
	if err != nil {
		return tally{}, false, classify(err)
	} else if !found {
		return tally{}, false, nil
	}
	n, err := fmt.Sscanf(stmt.ColumnText(0), "%d %x", &t.records, &t.sum)
	return t, n == 2 && err == nil && t.records >= 0, nil
}

// tallyRecords adds the records behind those of t, which must follow without a gap.
func tallyRecords(conn *sqlite.Conn, t tally) (tally, error) {
	rows, err := prepare(conn, selectRecords+` WHERE position > ?1 ORDER BY position`)
	if err != nil {
		return t, err
	}
	defer func() { _ = rows.Reset() }()
	rows.BindInt64(1, t.records)
	for {
		found, err := rows.Step()
		if err != nil {
			return t, classify(err)
		} else if !found {
			return t, nil
		}
		if n := rows.ColumnInt64(0); n != t.records+1 {
			return t, fmt.Errorf("%w: record %d is missing", eventstore.ErrCorrupt, t.records+1)
		}
		r, err := decode(rows)
		if err != nil {
			return t, err
		}
		t.add(hash(r.Stream), r.Revision, rows.ColumnInt64(0))
	}
}

// tallyIndex reads all of the index, whose entries must ascend: then every
// search in it finds what is there.
func tallyIndex(conn *sqlite.Conn) (t tally, err error) {
	rows, err := prepare(conn, `SELECT stream_hash, revision, position FROM events INDEXED BY events_stream
		ORDER BY stream_hash, revision, position`)
	if err != nil {
		return tally{}, err
	}
	defer func() { _ = rows.Reset() }()
	last := [3]int64{math.MinInt64, math.MinInt64, math.MinInt64}
	for {
		found, err := rows.Step()
		if err != nil {
			return t, classify(err)
		} else if !found {
			return t, nil
		}
		entry := [3]int64{rows.ColumnInt64(0), rows.ColumnInt64(1), rows.ColumnInt64(2)}
		if !ascends(last, entry) {
			return t, fmt.Errorf("%w: the index of the streams is not in order at record %d", eventstore.ErrCorrupt, entry[2])
		}
		last = entry
		t.add(entry[0], entry[1], entry[2])
	}
}

func ascends(a, b [3]int64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// loadRecords returns the tally of all records, and of how many of them there is
// one in the file.
func loadRecords(conn *sqlite.Conn) (records tally, kept int64, err error) {
	t, ok, err := loadTally(conn)
	if err != nil {
		return tally{}, 0, err
	} else if !ok {
		t = tally{}
	}
	records, err = tallyRecords(conn, t)
	return records, t.records, err
}

// checkIndex compares the index with the records. A tally that was damaged
// itself is made anew from all of them.
func (w *writer) checkIndex(path string, logger *slog.Logger) error {
	index, err := tallyIndex(w.conn)
	if err != nil || index == w.records {
		return err
	}
	records, err := tallyRecords(w.conn, tally{})
	if err != nil {
		return err
	}
	if records != index {
		return errors.Join(fmt.Errorf("%w: the index of the streams doesn't fit the %d records", eventstore.ErrCorrupt, records.records), w.unindexed())
	}
	logger.Warn("the tally of the records was damaged and is made anew", "file", path)
	w.records, w.kept = records, 0
	return nil
}

// unindexed names the first record that the index hides, if there is one.
func (w *writer) unindexed() error {
	rows, err := prepare(w.conn, selectRecords+` ORDER BY position`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Reset() }()
	for {
		found, err := rows.Step()
		if err != nil || !found {
			return err
		}
		r, err := decode(rows)
		if err != nil {
			return err
		}
		n, err := number(w.conn, `SELECT count(*) FROM events INDEXED BY events_stream
			WHERE stream_hash = ?1 AND revision = ?2 AND position = ?3`, hash(r.Stream), r.Revision, rows.ColumnInt64(0))
		if err != nil {
			return err
		}
		if n != 1 {
			return fmt.Errorf("record %v is not in it", r.Position)
		}
	}
}

// nextOf returns the next record of stream of a statement that begins with
// selectRecords and finds records by the hash of a stream's name. The name itself
// is compared here: SQLite would pass over a record whose name is damaged.
func nextOf(stream string, rows *sqlite.Stmt) (r eventstore.Record, found bool, err error) {
	for {
		found, err := rows.Step()
		if err != nil || !found {
			return eventstore.Record{}, false, err
		}
		if r, err := decode(rows); err != nil || r.Stream == stream {
			return r, err == nil, err
		}
	}
}
