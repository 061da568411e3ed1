package embedded

import (
	"fmt"
	"os"
	"strconv"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

// check looks where damage is likely and cheap to see: at the size of the file
// and at the last records.
func check(conn *sqlite.Conn, path string) error {
	// What a killed process left in the WAL is moved over first, so that the
	// file must have the size that its header tells. On a full disk it stays
	// where it is, and is read from there.
	moved := true
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil); err != nil {
		if moved = sqlite.ErrCode(err).ToPrimary() != sqlite.ResultFull; moved {
			return fmt.Errorf("recover %s: %w", path, classify(err))
		}
	}
	size, err := number(conn, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if moved && info.Size() < size {
		return fmt.Errorf("%w: %s: %d bytes long instead of %d", eventstore.ErrCorrupt, path, info.Size(), size)
	}
	if err := checkRecords(conn); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// checkedRecords is how many of the last records are looked at on opening.
const checkedRecords = 256

// checkRecords looks whether the last records can be decoded, are found by
// their streams, and count down without a gap.
func checkRecords(conn *sqlite.Conn) error {
	last, err := number(conn, "SELECT coalesce(max(position), 0) FROM events")
	if err != nil {
		return err
	}
	rows, err := prepare(conn, selectRecords+` ORDER BY position DESC LIMIT `+strconv.Itoa(checkedRecords))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Reset() }()
	first := max(1, last-checkedRecords+1)
	for n := last; n >= first; n-- {
		found, err := rows.Step()
		if err != nil {
			return classify(err)
		}
		if !found || rows.ColumnInt64(0) != n {
			return fmt.Errorf("%w: record %d is missing", eventstore.ErrCorrupt, n)
		}
		r, err := decode(rows)
		if err != nil {
			return err
		}
		indexed, err := number(conn, `SELECT count(*) FROM events INDEXED BY events_stream
			WHERE stream_hash = ?1 AND revision = ?2 AND position = ?3`, hash(r.Stream), r.Revision, n)
		if err != nil {
			return err
		}
		if indexed != 1 {
			return fmt.Errorf("%w: record %d is not in the index of its stream", eventstore.ErrCorrupt, n)
		}
	}
	return nil
}
