package embedded

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/eventstore"
)

// damage changes a file behind the back of the log.
func damage(t *testing.T, file, sql string) {
	t.Helper()
	conn, err := sqlite.OpenConn(file, sqlite.OpenReadWrite)
	require.NoError(t, err)
	require.NoError(t, sqlitex.ExecuteScript(conn, sql, nil))
	require.NoError(t, conn.Close())
}

func TestDamageIsRefusedByName(t *testing.T) {
	script := func(sql string) func(t *testing.T, file string) {
		return func(t *testing.T, file string) { damage(t, file, sql) }
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
			_, err := crand.Read(noise)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, noise, 0o600))
		}, "not a database"},
		"a bit of the header": {func(t *testing.T, file string) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			content[55] ^= 1 // the largest root page, where there is auto_vacuum
			require.NoError(t, os.WriteFile(file, content, 0o600))
		}, "moves pages"},
		"another database":     {script(`PRAGMA application_id = 7`), "not a log"},
		"no meta table":        {script(`DROP TABLE meta`), "no such table"},
		"no format":            {script(`DELETE FROM meta`), "format"},
		"a format of nonsense": {script(`UPDATE meta SET value = 'x' WHERE key = 'format'`), "format"},
		"a record is missing":  {script(`DELETE FROM events WHERE position = 490`), "record 490 is missing"},
		"the last is missing":  {script(`DELETE FROM events WHERE position = 500`), "record 500 is missing"},
		"of another stream":    {script(`UPDATE events SET stream = 'other' WHERE position = 499`), "the record at position 499 is not as it was written"},
		"of another time":      {script(`UPDATE events SET created = created + 1 WHERE position = 499`), "the record at position 499 is not as it was written"},
		"a letter differs":     {script(`UPDATE events SET data = data || ' ' WHERE position = 400`), "the record at position 400 is not as it was written"},
		"a short id":           {script(`UPDATE events SET id = x'00' WHERE position = 500`), "id at position 500"},
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
	damage(t, filepath.Join(dir, "events.db"), `DELETE FROM events WHERE position < 3`)
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

// Damage that comes while the log is open is found when it is read, and the rest
// can be read on.
func TestDamageFoundOnReading(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(1000))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l = mustOpen(t, dir, Options{}) // with nothing of it in memory
	damage(t, filepath.Join(dir, "events.db"), `DELETE FROM events WHERE position IN (400, 1000)`)

	sub, err := l.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	_, err = sub.Next(t.Context())
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "record 400 is missing")
	sub, err = l.Subscribe(t.Context(), position(400))
	require.NoError(t, err)
	_, err = sub.Next(t.Context())
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "record 1000 is missing", "the end isn't where it was")
	for _, n := range []int64{400, 1000} {
		_, _, err = l.RecordAt(t.Context(), position(n))
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
		_, err = l.ReadBackwards(t.Context(), position(n+2), 10)
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
	}
	records, err := l.ReadBackwards(t.Context(), position(999), 10)
	require.NoError(t, err)
	require.Len(t, records, 10)
}

// A record that the index doesn't find any more is missed, and not passed over.
func TestAHiddenRecordIsMissed(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(500))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l = mustOpen(t, dir, Options{})
	damage(t, filepath.Join(dir, "streams.db"), `UPDATE entries SET hash = hash + 1 WHERE position = 100`)
	_, err = l.ReadStream(t.Context(), "s", 0, 1000)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "revision 99 of s is missing")
	records, err := l.ReadStream(t.Context(), "s", 100, 1000)
	require.NoError(t, err)
	require.Len(t, records, 400)
}

// A record of another name is no record of another stream: an append behind it is
// refused, and others that share its transaction are not.
func TestADamagedNameIsNoOtherStream(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(3))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l = mustOpen(t, dir, Options{})
	damage(t, filepath.Join(dir, "events.db"), `UPDATE events SET stream = 't' WHERE position = 3`)
	_, err = l.ReadStream(t.Context(), "s", 0, 10)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, _, err = l.ReadLast(t.Context(), "s")
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = l.Append(t.Context(), "s", 1, some(1))
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = l.Append(t.Context(), "u", eventstore.NoStream, some(1))
	require.NoError(t, err)
}

// The number of the records is worth no more than they: where it alone is damaged,
// or missing, it is made anew.
func TestTheNumberOfRecordsIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "events.db")
	l := mustOpen(t, dir, Options{})
	_, err := l.Append(t.Context(), "s", eventstore.NoStream, some(20))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, sql := range []string{
		`UPDATE meta SET value = '21' || substr(value, 3) WHERE key = 'records'`,
		`UPDATE meta SET value = '20 0123456789abcdef' WHERE key = 'records'`,
		`UPDATE meta SET value = 'nonsense' WHERE key = 'records'`,
		`DELETE FROM meta WHERE key = 'records'`,
	} {
		damage(t, file, sql)
		l := mustOpen(t, dir, quiet())
		records, err := l.ReadStream(t.Context(), "s", 0, 100)
		require.NoError(t, err)
		require.Len(t, records, 20)
		require.NoError(t, l.Close())
		require.Equal(t, keptText(20), readKept(t, file), sql)
	}
}

// A process that is ended leaves the number of most records, so that the end isn't
// lost unnoticed, whether there is an index or not.
func TestTheNumberOfRecordsIsKeptOnTheWay(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	total := 0
	for i := 0; total < keptEvery+100; i++ {
		_, err := l.Append(t.Context(), fmt.Sprint("stream-", i), eventstore.NoStream, some(eventstore.MaxAppendRecords))
		require.NoError(t, err)
		total += eventstore.MaxAppendRecords
	}
	ended := t.TempDir()
	copyFiles(t, dir, ended, "events.db", "events.db-wal")
	require.Equal(t, keptText(keptEvery), readKept(t, filepath.Join(ended, "events.db")))
	l = mustOpen(t, ended, Options{})
	end, err := l.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, position(int64(total)), end)
	require.NoError(t, l.Close())
	require.Equal(t, keptText(int64(total)), readKept(t, filepath.Join(ended, "events.db")))

	damage(t, filepath.Join(ended, "events.db"), fmt.Sprint(`DELETE FROM events WHERE position = `, total))
	for range 2 {
		_, err = Open(t.Context(), ended, Options{})
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf("record %d is missing", total))
		require.NoError(t, os.RemoveAll(filepath.Join(ended, "streams.db")))
	}
}

func copyFiles(t *testing.T, from, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), content, 0o600))
	}
}

func readKept(t *testing.T, file string) string {
	conn, err := sqlite.OpenConn(file, sqlite.OpenReadOnly)
	require.NoError(t, err)
	defer conn.Close()
	stmt, err := conn.Prepare("SELECT value FROM meta WHERE key = 'records'")
	require.NoError(t, err)
	value, err := sqlitex.ResultText(stmt)
	require.NoError(t, err)
	return value
}

// Whatever bit of the file is lost: the log is refused, or a read is, or
// everything is there. With the index of its streams, everything is there always.
func TestALostBitIsNeverAnotherAnswer(t *testing.T) {
	for _, file := range []string{"events.db", "streams.db"} {
		t.Run(file, func(t *testing.T) {
			seed := rand.Uint64()
			t.Log("seed", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			dir := t.TempDir()
			l := mustOpen(t, dir, Options{})
			lengths := map[string]int{}
			for i := range 300 {
				stream := fmt.Sprint("stream-", i%70)
				n := 1 + rng.IntN(3)
				_, err := l.Append(t.Context(), stream, int64(lengths[stream])-1, some(n))
				require.NoError(t, err)
				lengths[stream] += n
			}
			require.NoError(t, l.Close())
			was, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			outcomes := map[string]int{}
			for range 150 {
				bit := rng.IntN(8 * len(was))
				damaged := t.TempDir()
				copyFiles(t, dir, damaged, "events.db", "streams.db")
				is := slices.Clone(was)
				is[bit/8] ^= 1 << (bit % 8)
				require.NoError(t, os.WriteFile(filepath.Join(damaged, file), is, 0o600))
				outcomes[lookAtAll(t, damaged, lengths, bit)]++
			}
			t.Log(outcomes)
			if file == "streams.db" {
				require.Len(t, outcomes, 1)
				require.Contains(t, outcomes, "all is there")
			}
		})
	}
}

func lookAtAll(t *testing.T, dir string, lengths map[string]int, bit int) (outcome string) {
	l, err := Open(t.Context(), dir, quiet())
	if err != nil {
		require.ErrorContains(t, err, "events.db", "bit %d", bit)
		return "refused"
	}
	defer func() { require.NoError(t, l.Close()) }()
	total := 0
	outcome = "all is there"
	for stream, length := range lengths {
		total += length
		records, err := l.ReadStream(t.Context(), stream, 0, 1000)
		last, ok, lastErr := l.ReadLast(t.Context(), stream)
		if err != nil || lastErr != nil {
			outcome = "reads are refused"
			continue
		}
		require.Len(t, records, length, "bit %d: %s", bit, stream)
		require.True(t, ok)
		require.EqualValues(t, length-1, last.Revision, "bit %d: %s", bit, stream)
	}
	end, err := l.End(t.Context())
	require.NoError(t, err)
	require.Equal(t, position(int64(total)), end, "bit %d", bit)
	return outcome
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
