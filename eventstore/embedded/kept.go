package embedded

import (
	"fmt"

	"zombiezen.com/go/sqlite"
)

// keptEvery is how many records may come after those that the number in the file
// is of.
const keptEvery = 1 << 14

// keep writes into the file how many records there are, in the transaction that it
// is true after: the end of the log could be lost with its last page, and nobody
// would miss it.
func (w *writer) keep(records int64) error {
	w.keepRecords.BindText(1, keptText(records))
	if err := execute(w.keepRecords); err != nil {
		return err
	}
	w.kept = records
	return nil
}

// keepAll leaves the number of all records in the file.
func (w *writer) keepAll() error {
	if w.kept == w.last {
		return nil
	}
	if err := execute(w.begin); err != nil {
		return err
	}
	if err := w.keep(w.last); err != nil {
		return err
	}
	return execute(w.commit)
}

// keptText is a number with a sum of it, as the number itself may be damaged.
func keptText(records int64) string { return fmt.Sprintf("%d %016x", records, mix(uint64(records))) }

// loadKept returns the number in the file; ok is false when there is none, or not
// as it was written.
func loadKept(conn *sqlite.Conn) (records int64, ok bool, err error) {
	stmt, err := prepare(conn, "SELECT value FROM meta WHERE key = 'records'")
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = stmt.Reset() }()
	found, err := stmt.Step()
	if err != nil {
		return 0, false, classify(err)
	}
	text := stmt.ColumnText(0)
	n, err := fmt.Sscanf(text, "%d", &records)
	return records, found && n == 1 && err == nil && text == keptText(records), nil
}
