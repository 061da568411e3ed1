package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/sqlitetx"
	"github.com/belltower/belltower/internal/writeback"
)

// streamsFormat is the version of streamsSchema.
const streamsFormat = 1

// streamsSchema is of streams.db, the table of the index. It is made from the log
// and made anew where it isn't as it should be, so that no sync waits for it. The
// mark says that all records up to one are in it, and what that one is; those
// behind it may be.
var streamsSchema = fmt.Sprintf(`
	PRAGMA user_version = %d;
	CREATE TABLE entries (
		hash     INTEGER NOT NULL,
		revision INTEGER NOT NULL,
		position INTEGER NOT NULL,
		PRIMARY KEY (hash, revision, position)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE mark (records INTEGER NOT NULL, sum INTEGER NOT NULL, last_id BLOB NOT NULL, last_sum INTEGER NOT NULL) STRICT;
	INSERT INTO mark VALUES (0, 0, x'', 0);
`, streamsFormat)

// streamsFile is the connection that writes streams.db.
type streamsFile struct {
	conn *sqlite.Conn
	kept tally // of the records up to the mark
	end  proof // of the last of them

	begin, commit, rollback, insert, mark *sqlite.Stmt
}

// errMakeAnew says that streams.db is of no use.
var errMakeAnew = errors.New("embedded: the index of the streams is to be made anew")

// openIndex opens or makes the index of the log that log is a connection to, which
// ends at last.
func openIndex(path string, log *sqlite.Conn, last int64, logger *slog.Logger) (*index, error) {
	x, err := tryIndex(path, log, last, logger)
	if !errors.Is(err, errMakeAnew) {
		return x, err
	}
	logger.Warn("the index of the streams is made anew", "file", path, "reason", err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return tryIndex(path, log, last, logger)
}

func tryIndex(path string, log *sqlite.Conn, last int64, logger *slog.Logger) (*index, error) {
	file, err := openStreams(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	x := &index{path: path, logger: logger, due: make(chan struct{}, 1), young: newRun(0), most: math.MaxInt, file: file, last: file.kept.records}
	if err := x.load(log, last); err != nil {
		return nil, errors.Join(err, file.close())
	}
	x.most = grown(file.kept.records)
	return x, nil
}

// unusable tells damage from a disk that doesn't answer.
func unusable(path string, err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultFormat, sqlite.ResultError, sqlite.ResultConstraint, sqlite.ResultMismatch:
		return fmt.Errorf("%w: %w", errMakeAnew, err)
	}
	return fmt.Errorf("open %s: %w", path, classify(err))
}

func openStreams(path string) (*streamsFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(writeback.URI(path, writeback.VFS()), sqlite.OpenReadWrite|sqlite.OpenURI)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(busyTimeout)
	s := &streamsFile{conn: conn}
	if err := s.prepare(info.Size() == 0); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *streamsFile) prepare(empty bool) error {
	for _, pragma := range []string{"journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 4000", "journal_size_limit = 16777216", "cache_size = -16384"} {
		if err := sqlitex.ExecuteTransient(s.conn, "PRAGMA "+pragma, nil); err != nil {
			return err
		}
	}
	if empty {
		if err := sqlitetx.Immediate(s.conn, func() error { return sqlitetx.Script(s.conn, streamsSchema) }); err != nil {
			return err
		}
	}
	for stmt, query := range map[**sqlite.Stmt]string{
		&s.begin:    `BEGIN IMMEDIATE`,
		&s.commit:   `COMMIT`,
		&s.rollback: `ROLLBACK`,
		&s.insert:   `INSERT OR IGNORE INTO entries VALUES (?1, ?2, ?3)`,
		&s.mark:     `UPDATE mark SET records = ?1, sum = ?2, last_id = ?3, last_sum = ?4`,
	} {
		var err error
		if *stmt, err = s.conn.Prepare(query); err != nil {
			return err
		}
	}
	format, err := number(s.conn, "PRAGMA user_version")
	if err == nil && format != streamsFormat {
		return fmt.Errorf("%w: it has format %d, this Belltower reads format %d", errMakeAnew, format, streamsFormat)
	}
	if err != nil {
		return err
	}
	return s.loadMark()
}

func (s *streamsFile) loadMark() error {
	row, err := s.conn.Prepare("SELECT records, sum, last_id, last_sum FROM mark")
	if err != nil {
		return err
	}
	defer func() { _ = row.Reset() }()
	found, err := row.Step()
	if err != nil {
		return err
	}
	if !found || row.ColumnInt64(0) < 0 {
		return fmt.Errorf("%w: it has no mark", errMakeAnew)
	}
	s.kept = tally{row.ColumnInt64(0), uint64(row.ColumnInt64(1))}
	row.ColumnBytes(2, s.end.id[:])
	s.end.sum = row.ColumnInt64(3)
	return nil
}

// entriesAtOnce bounds a transaction, and how long who closes the log waits for one.
const entriesAtOnce = 1 << 12

// take adds a run that follows the mark, and moves the mark behind it, unless
// closing is closed before. What has failed can be begun again.
func (s *streamsFile) take(r *run, closing <-chan struct{}) error {
	kept, entries := s.kept, r.sorted()
	for _, l := range r.links {
		kept.add(l.entry)
	}
	for len(entries) > 0 {
		select {
		case <-closing:
			return nil
		default:
		}
		some := entries[:min(entriesAtOnce, len(entries))]
		entries = entries[len(some):]
		if err := s.write(some, len(entries) == 0, kept, r.end); err != nil {
			return errors.Join(err, s.undo())
		}
	}
	s.kept, s.end = kept, r.end
	return nil
}

// undo ends a transaction that has failed.
func (s *streamsFile) undo() error {
	if s.conn.AutocommitEnabled() {
		return nil
	}
	return execute(s.rollback)
}

func (s *streamsFile) write(entries []entry, all bool, kept tally, end proof) error {
	if err := execute(s.begin); err != nil {
		return err
	}
	for _, e := range entries {
		s.insert.BindInt64(1, e.hash)
		s.insert.BindInt64(2, e.revision)
		s.insert.BindInt64(3, e.position)
		if err := execute(s.insert); err != nil {
			return err
		}
	}
	if all {
		s.mark.BindInt64(1, kept.records)
		s.mark.BindInt64(2, int64(kept.sum))
		s.mark.BindBytes(3, end.id[:])
		s.mark.BindInt64(4, end.sum)
		if err := execute(s.mark); err != nil {
			return err
		}
	}
	return execute(s.commit)
}

func (s *streamsFile) close() error { return s.conn.Close() }

// runAtOnce is how many records are indexed together where the index is made anew.
const runAtOnce = 1 << 20

// load takes up what stands in the log behind the mark, and compares the table
// with the log.
func (x *index) load(log *sqlite.Conn, last int64) error {
	if err := x.file.follows(log, last); err != nil {
		return err
	}
	if err := x.follow(log, runAtOnce); err != nil {
		return err
	}
	return x.check(last)
}

// follows tells whether the mark is one of the log.
func (s *streamsFile) follows(log *sqlite.Conn, last int64) error {
	if s.kept.records == 0 || s.kept.records > last { // the latter is looked at once the table has been read
		return nil
	}
	row, err := prepare(log, `SELECT id, sum FROM events WHERE position = ?1`)
	if err != nil {
		return err
	}
	defer func() { _ = row.Reset() }()
	row.BindInt64(1, s.kept.records)
	found, err := row.Step()
	if err != nil {
		return classify(err)
	}
	var is proof
	if found {
		row.ColumnBytes(0, is.id[:])
		is.sum = row.ColumnInt64(1)
	}
	if is != s.end {
		return fmt.Errorf("%w: it is of another log", errMakeAnew)
	}
	return nil
}

// follow takes up the records that the log has behind the last one. Where there are
// most of them, they are moved to the table; 0 is never.
func (x *index) follow(log *sqlite.Conn, most int) error {
	rows, err := prepare(log, selectRecords+` WHERE position > ?1 ORDER BY position`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Reset() }()
	next := x.last + 1
	rows.BindInt64(1, x.last)
	for ; ; next++ {
		found, err := rows.Step()
		if err != nil {
			return classify(err)
		} else if !found {
			return nil
		}
		if rows.ColumnInt64(0) != next {
			return fmt.Errorf("%w: record %d is missing", eventstore.ErrCorrupt, next)
		}
		r, err := decode(rows)
		if err != nil {
			return err
		}
		x.add(entry{hash(r.Stream), r.Revision, next}, proof{r.ID, rows.ColumnInt64(9)})
		if most > 0 && len(x.young.links) >= most {
			if err := x.file.take(x.young, nil); err != nil {
				return unusable(x.path, err)
			}
			x.young = newRun(0)
		}
	}
}

// check reads all of the table, whose entries must ascend: then every search in it
// finds what is there. Those behind the mark must be in memory too.
func (x *index) check(last int64) error {
	kept := x.file.kept
	rows, err := x.file.conn.Prepare(`SELECT hash, revision, position FROM entries ORDER BY hash, revision, position`)
	if err != nil {
		return fmt.Errorf("%w: %w", errMakeAnew, err)
	}
	defer func() { _ = rows.Reset() }()
	var is tally
	var lost int64 // the first record that only the table knows of
	before := entry{math.MinInt64, math.MinInt64, math.MinInt64}
	for {
		found, err := rows.Step()
		if err != nil {
			return fmt.Errorf("%w: %w", errMakeAnew, err)
		} else if !found {
			break
		}
		for column := range 3 { // a search doesn't find what reads as a number and is none
			if rows.ColumnType(column) != sqlite.TypeInteger {
				return fmt.Errorf("%w: it has an entry that is no number", errMakeAnew)
			}
		}
		e := entry{rows.ColumnInt64(0), rows.ColumnInt64(1), rows.ColumnInt64(2)}
		if compareEntries(before, e) >= 0 {
			return fmt.Errorf("%w: it is not in order at record %d", errMakeAnew, e.position)
		}
		before = e
		x.known.add(e.hash)
		if e.position > last && (lost == 0 || e.position < lost) {
			lost = e.position
		}
		if e.position <= kept.records {
			is.add(e)
		} else if e.position <= last && !x.young.has(e) {
			return fmt.Errorf("%w: it doesn't fit record %d", errMakeAnew, e.position)
		}
	}
	if is != kept {
		return fmt.Errorf("%w: it doesn't fit the %d records", errMakeAnew, kept.records)
	}
	if lost > 0 {
		return fmt.Errorf("%w: record %d is missing, which streams.db knows of; where an older backup was put back, remove streams.db", eventstore.ErrCorrupt, lost)
	}
	return nil
}
