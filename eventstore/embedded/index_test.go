package embedded

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// movesAfter makes the index move what it has in memory after so many records.
func (x *index) movesAfter(records int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.most = records
}

// moved waits until nothing is being moved.
func (x *index) moved() {
	for {
		x.mu.RLock()
		old := x.old
		x.mu.RUnlock()
		if old == nil {
			return
		}
		runtime.Gosched()
	}
}

// What is asked of the index is answered alike from memory, from the table, from
// both, while it is moved, after a restart, and after a crash with any part of it
// in the table.
func TestTheIndexOverItsMoves(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	// Two streams of the same hash are among them.
	streams := []string{"8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"}
	for i := range 20 {
		streams = append(streams, fmt.Sprint("stream-", i))
	}
	dir := t.TempDir()
	l := mustOpen(t, dir, Options{})
	lengths := map[string]int{}
	for round := range 40 {
		l.index.movesAfter(1 + rng.IntN(100))
		for range rng.IntN(60) {
			stream := streams[rng.IntN(len(streams))]
			n := 1 + rng.IntN(4)
			given := some(n)
			p, err := l.Append(t.Context(), stream, int64(lengths[stream])-1, given)
			require.NoError(t, err)
			again, err := l.Append(t.Context(), stream, int64(lengths[stream])-1, given)
			require.NoError(t, err)
			require.Equal(t, p, again)
			lengths[stream] += n
			_, err = l.Append(t.Context(), stream, int64(lengths[stream]), some(1))
			require.ErrorIs(t, err, eventstore.ErrWrongRevision)
		}
		switch round % 4 {
		case 0:
			requireAll(t, l, streams, lengths)
			l.index.moved()
		case 1:
			require.NoError(t, l.Close())
			l = mustOpen(t, dir, quiet())
		case 2:
			l.index.moved()
			crashed := t.TempDir()
			copyFiles(t, dir, crashed, "events.db", "events.db-wal", "streams.db", "streams.db-wal")
			if rng.IntN(2) == 0 { // a move that wasn't finished
				damage(t, filepath.Join(crashed, "streams.db"), fmt.Sprintf(`DELETE FROM entries WHERE position > %d AND abs(random() %% 2) = 0
					AND position > (SELECT records FROM mark)`, rng.IntN(100)))
			}
			dir = crashed
			l = mustOpen(t, dir, Options{Logger: failing(t)})
		}
		requireAll(t, l, streams, lengths)
	}
}

// failing fails the test when something is said.
func failing(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(failingWriter{t}, nil)) }

type failingWriter struct{ t *testing.T }

func (w failingWriter) Write(said []byte) (int, error) {
	w.t.Errorf("logged: %s", said)
	return len(said), nil
}

func requireAll(t *testing.T, l *Log, streams []string, lengths map[string]int) {
	t.Helper()
	for _, stream := range streams {
		records, err := l.ReadStream(t.Context(), stream, 0, 10_000)
		require.NoError(t, err)
		require.Len(t, records, lengths[stream])
		for i, r := range records {
			require.Equal(t, stream, r.Stream)
			require.EqualValues(t, i, r.Revision)
		}
		if n := len(records); n > 2 {
			some, err := l.ReadStream(t.Context(), stream, int64(n/2), 2)
			require.NoError(t, err)
			require.Equal(t, records[n/2:min(n, n/2+2)], some)
		}
		last, ok, err := l.ReadLast(t.Context(), stream)
		require.NoError(t, err)
		require.Equal(t, len(records) > 0, ok)
		if ok {
			require.Equal(t, records[len(records)-1], last)
		}
	}
	_, ok, err := l.ReadLast(t.Context(), "never")
	require.NoError(t, err)
	require.False(t, ok)
}

// An index that isn't that of the log is made anew, and says so.
func TestTheIndexIsMadeAnew(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for i, dir := range []string{dir, other} {
		l := mustOpen(t, dir, Options{})
		for n := range 30 {
			_, err := l.Append(t.Context(), fmt.Sprint("s", n), eventstore.NoStream, some(2+i))
			require.NoError(t, err)
		}
		require.NoError(t, l.Close())
	}
	file := filepath.Join(dir, "streams.db")
	for name, harm := range map[string]func(){
		"missing":             func() { require.NoError(t, os.Remove(file)) },
		"empty":               func() { require.NoError(t, os.Truncate(file, 0)) },
		"garbage":             func() { require.NoError(t, os.WriteFile(file, make([]byte, 10_000), 0o600)) },
		"of another format":   func() { damage(t, file, `PRAGMA user_version = 7`) },
		"without a mark":      func() { damage(t, file, `DELETE FROM mark`) },
		"without a table":     func() { damage(t, file, `DROP TABLE entries`) },
		"another mark":        func() { damage(t, file, `UPDATE mark SET records = records - 1`) },
		"another sum":         func() { damage(t, file, `UPDATE mark SET sum = sum + 1`) },
		"an entry is missing": func() { damage(t, file, `DELETE FROM entries WHERE position = 7`) },
		"an entry too many":   func() { damage(t, file, `INSERT INTO entries VALUES (1, 2, 3)`) },
		"an entry differs":    func() { damage(t, file, `UPDATE entries SET position = 8 WHERE position = 7`) },
		"an entry that no search finds": func() { // its number is a text, as after a bit that was lost in its type
			const schema = `PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(replace(sql, '%s', '%s'), '%s', '%s') WHERE name = 'entries'`
			damage(t, file, fmt.Sprintf(schema, "INTEGER", "BLOB", "STRICT, WITHOUT", "WITHOUT"))
			damage(t, file, `UPDATE entries SET revision = '1' WHERE position = 8`)
			damage(t, file, fmt.Sprintf(schema, "BLOB", "INTEGER", "WITHOUT", "STRICT, WITHOUT"))
		},
		"unknown behind the mark": func() {
			damage(t, file, `DELETE FROM entries`)
			damage(t, file, `UPDATE mark SET records = 0, sum = 0`)
			damage(t, file, `INSERT INTO entries VALUES (1, 2, 3)`)
		},
		"of another log": func() { copyFiles(t, other, dir, "streams.db") },
	} {
		t.Run(name, func(t *testing.T) {
			harm()
			if name == "of another log" {
				damage(t, file, `DELETE FROM entries WHERE position > 60`)
				damage(t, file, `UPDATE mark SET records = 60`)
			}
			l := mustOpen(t, dir, quiet())
			for n := range 30 {
				records, err := l.ReadStream(t.Context(), fmt.Sprint("s", n), 0, 10)
				require.NoError(t, err)
				require.Len(t, records, 2)
			}
			require.NoError(t, l.Close())
			mustOpen(t, dir, Options{Logger: failing(t)})
		})
	}
}

func TestKnown(t *testing.T) {
	var k known
	rng := rand.New(rand.NewPCG(1, 2))
	var added []int64
	for range 3*firstFilter + 7 {
		h := int64(rng.Uint64())
		k.add(h)
		added = append(added, h)
	}
	require.Len(t, k.filters, 3)
	for _, h := range added {
		require.True(t, k.may(h))
	}
	wrong := 0
	for range 100_000 {
		if k.may(int64(rng.Uint64())) {
			wrong++
		}
	}
	require.Less(t, wrong, 1500)
}
