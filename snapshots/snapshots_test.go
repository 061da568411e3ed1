package snapshots

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

var (
	bg    = context.Background()
	quiet = slog.New(slog.DiscardHandler)
	noon  = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)
)

func open(t testing.TB, target sqldb.Target) *Store {
	s, err := Open(bg, target, "", quiet)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func part(text string) aggregates.Part {
	return aggregates.Part{ID: aggregates.PartIDOf([]byte(text)), Data: []byte(text)}
}

// known is a part as one names it that is kept already.
func known(text string) aggregates.Part { return aggregates.Part{ID: part(text).ID} }

func at(revision int64) time.Time { return noon.Add(time.Duration(revision) * time.Second) }

func snapshot(revision int64, parts ...aggregates.Part) commands.Snapshot {
	return commands.Snapshot{Version: 1, Revision: revision, At: at(revision), Head: fmt.Append(nil, "head ", revision), Parts: parts}
}

func save(t require.TestingT, s *Store, stream string, one commands.Snapshot) {
	_, err := s.Save(bg, stream, one)
	require.NoError(t, err)
}

// loaded is the newest snapshot up to a revision; nil where there is none.
func loaded(t require.TestingT, s *Store, stream string, version, revision int64) *commands.Snapshot {
	found, ok, err := s.Load(bg, stream, version, revision, noon.Add(1_000_000*time.Hour))
	require.NoError(t, err)
	if !ok {
		return nil
	}
	return &found
}

const end = 1<<63 - 1

func TestSnapshots(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		s := open(t, target)
		require.Nil(t, loaded(t, s, "a", 1, end))
		save(t, s, "a", snapshot(10, part("one"), part("two")))
		save(t, s, "b", snapshot(10, part("one")))
		save(t, s, "a", snapshot(20, known("one"), part("three"), part("one")))

		want := snapshot(20, part("one"), part("three"), part("one"))
		require.Equal(t, &want, loaded(t, s, "a", 1, end))
		require.Equal(t, &want, loaded(t, s, "a", 1, 20))
		want = snapshot(10, part("one"), part("two"))
		require.Equal(t, &want, loaded(t, s, "a", 1, 19))
		require.Nil(t, loaded(t, s, "a", 1, 9))
		require.Nil(t, loaded(t, s, "a", 2, end), "of another version")
		found, ok, err := s.Load(bg, "a", 1, end, at(20).Add(-time.Microsecond))
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 10, found.Revision, "the later one has a fact after that time")
		_, ok, err = s.Load(bg, "a", 1, end, at(10).Add(-time.Microsecond))
		require.NoError(t, err)
		require.False(t, ok)

		_, err = s.Save(bg, "a", snapshot(30, known("four")))
		require.ErrorIs(t, err, commands.ErrPartsMissing)
		require.EqualValues(t, 20, loaded(t, s, "a", 1, end).Revision)

		another := open(t, target)
		save(t, another, "a", commands.Snapshot{Version: 2, Revision: 5, At: at(5), Head: []byte("head")})
		require.Nil(t, loaded(t, s, "a", 1, end), "those of another version are of no use any more")
		require.EqualValues(t, 5, loaded(t, s, "a", 2, end).Revision)
		require.NotNil(t, loaded(t, s, "b", 1, end))

		require.NoError(t, s.Drop(bg, "a"))
		require.NoError(t, s.Drop(bg, "a"))
		require.Nil(t, loaded(t, s, "a", 2, end))
		require.NotNil(t, loaded(t, s, "b", 1, end))
	})
}

// However often a stream is kept, few snapshots of it are there, all of them
// whole, and no part that none of them has.
func TestWhatIsKeptIsBoundedAndWhole(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		s := open(t, target)
		rapid.Check(t, func(r *rapid.T) {
			require.NoError(r, s.Drop(bg, "a"))
			revision := int64(0)
			for range rapid.IntRange(1, 12).Draw(r, "snapshots") {
				revision += int64(rapid.IntRange(0, 3).Draw(r, "facts"))
				var parts []aggregates.Part
				for _, n := range rapid.SliceOfN(rapid.IntRange(0, 9), 0, 4).Draw(r, "parts") {
					parts = append(parts, part(fmt.Sprint(n)))
				}
				save(r, s, "a", snapshot(revision, parts...))
				want := snapshot(revision, parts...)
				got := loaded(r, s, "a", 1, end)
				require.Equal(r, want.Head, got.Head)
				require.Len(r, got.Parts, len(parts))
			}
			used, kept := map[string]bool{}, 0
			for before := revision; before >= 0; {
				one := loaded(r, s, "a", 1, before)
				if one == nil {
					break
				}
				for _, p := range one.Parts {
					require.Equal(r, p.ID, aggregates.PartIDOf(p.Data))
					used[string(p.Data)] = true
				}
				kept++
				before = one.Revision - 1
			}
			require.LessOrEqual(r, kept, most)
			var there int
			require.NoError(r, s.db.QueryRowContext(bg, s.db.Bind(prefix, "SELECT count(*) FROM {parts} WHERE stream = 'a'")).Scan(&there))
			require.Equal(r, len(used), there)
		})
	})
}

// Whatever the distances, older snapshots are never all lost.
func TestOlderSnapshotsAreKeptAtGrowingDistances(t *testing.T) {
	var revisions []int64
	for n := range int64(200) {
		revisions = worth(append([]int64{n * 1000}, revisions...))
		require.LessOrEqual(t, len(revisions), most)
		require.Equal(t, n*1000, revisions[0])
		if n > 0 {
			require.Equal(t, (n-1)*1000, revisions[1])
		}
	}
	for i := 2; i < len(revisions); i++ {
		require.Less(t, float64(revisions[0]-revisions[i]), 16*float64(revisions[0]-revisions[i-1]), "%v", revisions)
	}
}

func TestInstancesKeepTheSameStream(t *testing.T) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		one, two := open(t, target), open(t, target)
		var both sync.WaitGroup
		for i, s := range []*Store{one, two} {
			both.Go(func() {
				for n := range int64(20) {
					// A conflict is no harm: what isn't kept now is kept later.
					_, err := s.Save(bg, "a", snapshot(2*n+int64(i), part("same"), part(fmt.Sprint(i, n))))
					if err != nil && !sqldb.Conflict(err) {
						t.Error(err)
					}
				}
			})
		}
		both.Wait()
		save(t, one, "a", snapshot(99, part("same")))
		require.Len(t, loaded(t, two, "a", 1, end).Parts, 1)
	})
}

// A file that is damaged, before it is opened or while it is open, is made anew.
func TestDamagedFileIsMadeAnew(t *testing.T) {
	target := sqldb.File(t.TempDir() + "/" + FileName)
	require.NoError(t, os.WriteFile(target.Path(), bytes.Repeat([]byte("no database "), 1000), 0o600))
	s, err := Open(bg, target, "", quiet)
	require.NoError(t, err)
	save(t, s, "a", snapshot(10, part("one")))
	require.NoError(t, s.Close())
	info, err := os.Stat(target.Path())
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())

	data, err := os.ReadFile(target.Path())
	require.NoError(t, err)
	for i := range data[4096:] { // all but the first page, which is read as the file is opened
		data[4096+i] ^= 0xff
	}
	require.NoError(t, os.WriteFile(target.Path(), data, 0o600))
	s = open(t, target)
	found, ok, err := s.Load(bg, "a", 1, end, noon)
	require.False(t, ok, "%v %v", found, err)
	save(t, s, "a", snapshot(20, part("one")))
	require.EqualValues(t, 20, loaded(t, s, "a", 1, end).Revision)
}
