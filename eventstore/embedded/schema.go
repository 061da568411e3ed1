package embedded

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/durable"
	"github.com/belltower/belltower/internal/sqlitetx"
)

const (
	// applicationID stands in the header of the file, where file(1) finds it: "Bell".
	applicationID = 0x42656c6c
	// formatVersion is the version of the schema that this code writes and reads.
	formatVersion = 3
	// pageSize is of the database, in bytes.
	pageSize = 4096
)

// schema: an append writes behind the records that there are, and nowhere else. A
// stream is found by the index (index.go), and nothing indexes the random ids.
// appended holds, in the first record of an append, how many records were appended
// at once, and 0 in the others: a repeated append must have the same extent.
var schema = fmt.Sprintf(`
	PRAGMA application_id = %d;
	CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
	INSERT INTO meta VALUES ('format', '%d'), ('reopened', '0'), ('records', '%s');
	CREATE TABLE events (
		position INTEGER PRIMARY KEY,
		stream   TEXT NOT NULL,
		revision INTEGER NOT NULL,
		appended INTEGER NOT NULL,
		id       BLOB NOT NULL,
		type     TEXT NOT NULL,
		data     TEXT NOT NULL,
		metadata TEXT NOT NULL,
		created  INTEGER NOT NULL,
		sum      INTEGER NOT NULL
	) STRICT;
`, applicationID, formatVersion, keptText(0))

// hash is what the index knows a stream by: an index on the names themselves would
// be several times larger and slower to keep.
func hash(stream string) int64 {
	h := fnv.New64a()
	h.Write([]byte(stream))
	return int64(h.Sum64())
}

// create makes an empty log. It appears under its name when it is complete and
// on disk, so that an empty or half-written file of that name is always damage.
func create(path string) error {
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s-wal is there without %s", eventstore.ErrCorrupt, path, path)
	}
	draft := path + ".new"
	if err := createDraft(draft); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := os.Rename(draft, path); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

func createDraft(draft string) error {
	for _, leftover := range []string{draft, draft + "-journal"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	conn, err := sqlite.OpenConn(draft, sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	err = sqlitex.ExecuteTransient(conn, fmt.Sprint("PRAGMA page_size = ", pageSize), nil)
	if err == nil {
		err = sqlitex.ExecuteTransient(conn, "PRAGMA synchronous = FULL", nil)
	}
	if err == nil {
		err = sqlitetx.Immediate(conn, func() error { return sqlitetx.Script(conn, schema) })
	}
	return errors.Join(err, conn.Close())
}

// identify tells whether the file is a log of a format that is known here. It
// runs before anything is changed in the file.
func identify(conn *sqlite.Conn, path string) error {
	id, err := number(conn, "PRAGMA application_id")
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if id != applicationID {
		return fmt.Errorf("%w: %s is not a log of Belltower: its application id is %#x", eventstore.ErrCorrupt, path, id)
	}
	// A bit of the header would make SQLite keep pages for this among those that are there.
	if moves, err := number(conn, "PRAGMA auto_vacuum"); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	} else if moves != 0 {
		return fmt.Errorf("%w: %s says that it moves pages (auto_vacuum %d)", eventstore.ErrCorrupt, path, moves)
	}
	stmt, err := prepare(conn, "SELECT value FROM meta WHERE key = 'format'")
	if err != nil {
		return fmt.Errorf("read the format of %s: %w", path, err)
	}
	text, err := sqlitex.ResultText(stmt)
	if err != nil {
		return fmt.Errorf("%w: read the format of %s: %w", eventstore.ErrCorrupt, path, err)
	}
	format, err := strconv.Atoi(text)
	if err != nil || format < 1 {
		return fmt.Errorf("%w: %s has the format %q", eventstore.ErrCorrupt, path, text)
	}
	if format > formatVersion {
		return fmt.Errorf("%s has format %d, written by a newer Belltower; this one reads format %d", path, format, formatVersion)
	} else if format < formatVersion {
		return fmt.Errorf("%s has format %d, written before the first release; this one reads format %d", path, format, formatVersion)
	}
	return nil
}
