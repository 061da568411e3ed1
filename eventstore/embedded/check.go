package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

// check looks where damage is likely and cheap to see, at the size of the file
// and at the last records, and where it would show nowhere else: at its end.
func (w *writer) check(path string, logger *slog.Logger) error {
	conn := w.conn
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
	if err := checkRecords(conn, w.last); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	kept, ok, err := loadKept(conn)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	case !ok:
		logger.Warn("the number of the records was damaged and is made anew", "file", path)
	case kept > w.last:
		return fmt.Errorf("read %s: %w: record %d is missing", path, eventstore.ErrCorrupt, w.last+1)
	default:
		w.kept = kept
	}
	return nil
}

// checkedRecords is how many of the last records are looked at on opening.
const checkedRecords = 256

// checkRecords looks whether the last records can be decoded and count down
// without a gap.
func checkRecords(conn *sqlite.Conn, last int64) error {
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
		if _, err := decode(rows); err != nil {
			return err
		}
	}
	return nil
}
