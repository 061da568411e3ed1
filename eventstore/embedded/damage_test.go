package embedded

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

func TestDamageIsRefusedByName(t *testing.T) {
	script := func(sql string) func(t *testing.T, file string) {
		return func(t *testing.T, file string) {
			conn, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
			require.NoError(t, err)
			require.NoError(t, sqlitex.ExecuteScript(conn, sql, nil))
			require.NoError(t, conn.Close())
		}
	}
	truncate := func(part float64) func(t *testing.T, file string) {
		return func(t *testing.T, file string) {
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(file, int64(part*float64(info.Size()))))
		}
	}
	for name, tt := range map[string]struct {
		damage func(t *testing.T, file string)
		says   string
	}{
		"empty":         {truncate(0), "not a log"},
		"cut in half":   {truncate(0.5), "malformed"},
		"cut at a page": {truncate(0.9), "malformed"},
		"garbage": {func(t *testing.T, file string) {
			noise := make([]byte, 100_000)
			_, err := rand.Read(noise)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, noise, 0o600))
		}, "not a database"},
		"another database":      {script(`PRAGMA application_id = 7`), "not a log"},
		"no meta table":         {script(`DROP TABLE meta`), "no such table"},
		"no format":             {script(`DELETE FROM meta`), "format"},
		"a format of nonsense":  {script(`UPDATE meta SET value = 'x' WHERE key = 'format'`), "format"},
		"a record is missing":   {script(`DELETE FROM events WHERE position = 490`), "record 490 is missing"},
		"its stream is missing": {script(`UPDATE events SET stream_hash = stream_hash + 1 WHERE position = 499`), "record 499 is not in the index"},
		"of another stream":     {script(`UPDATE events SET stream = 'other' WHERE position = 499`), "the record at position 499 is not as it was written"},
		"of another time":       {script(`UPDATE events SET created = created + 1 WHERE position = 499`), "the record at position 499 is not as it was written"},
		"a letter differs":      {script(`UPDATE events SET data = data || ' ' WHERE position = 400`), "the record at position 400 is not as it was written"},
		"a short id":            {script(`UPDATE events SET id = x'00' WHERE position = 500`), "id at position 500"},
		"the WAL alone": {func(t *testing.T, file string) {
			require.NoError(t, os.Rename(file, file+"-wal"))
		}, "events.db-wal is there without"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, dir, Options{})
			_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(500))
			require.NoError(t, err)
			require.NoError(t, l.Close())

			file := filepath.Join(dir, "events.db")
			tt.damage(t, file)
			_, err = Open(t.Context(), dir, Options{})
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, file)
			require.ErrorContains(t, err, tt.says)
			_, err = Open(t.Context(), dir, Options{})
			require.ErrorIs(t, err, eventstore.ErrCorrupt, "the folder is not left locked")
		})
	}
}

func TestTheFirstRecordsMissing(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(5))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	conn, err := sqlite.OpenConn(filepath.Join(dir, "events.db"), sqlite.OpenReadWrite)
	require.NoError(t, err)
	require.NoError(t, sqlitex.ExecuteScript(conn, `DELETE FROM events WHERE position < 3`, nil))
	require.NoError(t, conn.Close())
	_, err = Open(t.Context(), dir, Options{})
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "record 2 is missing")
}

func TestAnotherFormatIsRefused(t *testing.T) {
	for format, said := range map[int]string{formatVersion + 1: "newer Belltower", formatVersion - 1: "before the first release"} {
		dir := t.TempDir()
		require.NoError(t, mustOpen(t, dir, Options{}).Close())
		file := filepath.Join(dir, "events.db")
		conn, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
		require.NoError(t, err)
		require.NoError(t, sqlitex.ExecuteScript(conn, fmt.Sprintf(`UPDATE meta SET value = '%d' WHERE key = 'format'`, format), nil))
		require.NoError(t, conn.Close())
		_, err = Open(t.Context(), dir, Options{})
		require.ErrorContains(t, err, file)
		require.ErrorContains(t, err, said)
		require.NotErrorIs(t, err, eventstore.ErrCorrupt)
	}
}

// A process killed while it created the log leaves a draft, which is begun again.
func TestAnUnfinishedDraftIsReplaced(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "events.db.new"), []byte("half"), 0o600))
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1))
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "events.db.new"))
}

// Damage in the middle is found when it is read, and the rest can be read on.
func TestDamageFoundOnReading(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1000))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	conn, err := sqlite.OpenConn(filepath.Join(dir, "events.db"), sqlite.OpenReadWrite)
	require.NoError(t, err)
	require.NoError(t, sqlitex.ExecuteScript(conn, `DELETE FROM events WHERE position = 400`, nil))
	require.NoError(t, conn.Close())

	l = mustOpen(t, dir, Options{})
	sub, err := l.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	_, err = sub.Next(t.Context())
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "record 400 is missing")
	sub, err = l.Subscribe(t.Context(), position(400))
	require.NoError(t, err)
	b, err := sub.Next(t.Context())
	require.NoError(t, err)
	require.Len(t, b.Records, 600)
}

// A record that the index doesn't find is missed, and not passed over.
func TestAHiddenRecordIsMissed(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(500))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	conn, err := sqlite.OpenConn(filepath.Join(dir, "events.db"), sqlite.OpenReadWrite)
	require.NoError(t, err)
	require.NoError(t, sqlitex.ExecuteScript(conn, `UPDATE events SET stream_hash = stream_hash + 1 WHERE position = 100`, nil))
	require.NoError(t, conn.Close())
	l = mustOpen(t, dir, Options{})
	_, err = l.ReadStream(t.Context(), "s", 0, 1000)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "revision 99 of s is missing")
	records, err := l.ReadStream(t.Context(), "s", 100, 1000)
	require.NoError(t, err)
	require.Len(t, records, 400)
}

// A disk that is gone is unavailable, for those too who open a connection only now.
func TestAFileThatIsGone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	file := filepath.Join(dir, "events.db")
	require.NoError(t, os.Rename(file, file+".away"))
	_, err := l.ReadStream(t.Context(), "s", 0, 1)
	require.ErrorIs(t, err, eventstore.ErrUnavailable)
	require.NoError(t, os.Rename(file+".away", file))
	_, err = l.ReadStream(t.Context(), "s", 0, 1)
	require.NoError(t, err)
}
