package keys_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
)

// servers are the kinds of databases that rings may share.
var servers = []sqldb.Kind{sqldb.PostgreSQL, sqldb.MySQL}

// place is where keys may stand, as text that another process can be told: a
// folder, or the URL of a database.
type place string

func onServer(t *testing.T, kind sqldb.Kind) place { return place(sqldbtest.FreshURL(t, kind)) }

func (p place) shared() bool { return strings.Contains(string(p), "://") }

func (p place) open(ctx context.Context, opts ...keys.Option) (*keys.Ring, error) {
	if !p.shared() {
		return keys.Open(ctx, string(p), opts...)
	}
	target, err := sqldb.Parse(string(p))
	if err != nil {
		return nil, err
	}
	return keys.OpenDatabase(ctx, target, opts...)
}

func (p place) ring(t *testing.T, opts ...keys.Option) *keys.Ring {
	t.Helper()
	r, err := p.open(t.Context(), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// database is what is stored, behind the backs of rings.
func (p place) database(t *testing.T) *sqldb.DB {
	t.Helper()
	target := sqldb.File(filepath.Join(string(p), keys.FileName))
	if p.shared() {
		var err error
		target, err = sqldb.Parse(string(p))
		require.NoError(t, err)
	}
	db, err := sqldb.Open(t.Context(), target, sqldb.Options{Connections: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// secretTable is where the secret stands.
func (p place) secretTable() string {
	if p.shared() {
		return "belltower_keyring"
	}
	return "meta"
}

// everywhere runs a test on each storage that outlives its ring.
func everywhere(t *testing.T, test func(t *testing.T, p place)) {
	t.Run("file", func(t *testing.T) { test(t, place(t.TempDir())) })
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) { test(t, onServer(t, kind)) })
	}
}

func TestWhatIsStoredOutlivesTheRing(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		r, err := p.open(t.Context())
		require.NoError(t, err)
		digest := r.Digest("email", []byte("ann@example.org"))
		require.Len(t, digest, 32)
		require.NotEqual(t, digest, r.Digest("email", []byte("bob@example.org")))
		require.NotEqual(t, digest, r.Digest("phone", []byte("ann@example.org")))
		require.NotEqual(t, r.Digest("ab", []byte("c")), r.Digest("a", []byte("bc")))
		require.NotEqual(t, digest, place(t.TempDir()).ring(t).Digest("email", []byte("ann@example.org")))
		kept, gone := take(t, r), take(t, r)
		sealed, err := r.Seal(kept, []byte("Ann"), []byte("here"))
		require.NoError(t, err)
		require.NoError(t, r.Erase(t.Context(), gone))
		require.NoError(t, r.Close())

		r = p.ring(t, keys.Existing())
		require.Equal(t, digest, r.Digest("email", []byte("ann@example.org")))
		plain, ok, err := r.Open(kept, sealed, []byte("here"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "Ann", string(plain))
		_, err = r.Seal(gone, nil, nil)
		require.ErrorIs(t, err, keys.ErrErased)
		require.Greater(t, take(t, r), gone)
	})
}

// Rings that share keys, as instances do, never take the same; each opens what
// another sealed, and erases what another took, and no key that another made ahead
// is in its way.
func TestRingsShareKeys(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		var opening, taking sync.WaitGroup
		rings := make([]*keys.Ring, 4)
		for i := range rings { // at once, where nothing is yet
			opening.Go(func() {
				var err error
				if rings[i], err = p.open(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		if t.Failed() {
			return
		}
		var mu sync.Mutex
		taken := map[int64]int{}
		for i, r := range rings {
			defer func() { require.NoError(t, r.Close()) }()
			require.Equal(t, rings[0].Digest("x", nil), r.Digest("x", nil))
			for range 4 {
				taking.Go(func() {
					for range keys.BatchSize {
						key, err := r.Take(t.Context())
						if !noError(t, err) {
							return
						}
						mu.Lock()
						if _, twice := taken[key]; twice {
							t.Errorf("key %d was taken twice", key)
						}
						taken[key] = i
						mu.Unlock()
					}
				})
			}
		}
		taking.Wait()
		require.Len(t, taken, 16*keys.BatchSize)
		n := 0
		for key, i := range taken {
			if n++; n > 200 {
				break
			}
			sealed, err := rings[i].Seal(key, []byte("Ann"), nil)
			require.NoError(t, err)
			other := rings[(i+1)%len(rings)]
			_, ok, err := other.Open(key, sealed, nil)
			require.NoError(t, err)
			require.True(t, ok)
			require.NoError(t, other.Erase(t.Context(), key))
			rings[i].Forget()
			_, ok, err = rings[i].Open(key, sealed, nil)
			require.NoError(t, err)
			require.False(t, ok)
		}
	})
}

// takeFrom tells a child process to take keys from that place until it is killed.
const takeFrom = "BELLTOWER_TEST_TAKE_FROM"

// Two processes take keys from one place, and are killed again and again.
func TestNoKeyIsTakenAgainAfterAKill(t *testing.T) {
	if p := os.Getenv(takeFrom); p != "" {
		takeForEver(place(p))
	}
	everywhere(t, func(t *testing.T, p place) {
		require.NoError(t, p.ring(t).Close())
		taken := map[int64]bool{}
		for round := range 4 {
			var children []*exec.Cmd
			var lines []*bufio.Scanner
			for range 2 {
				child := exec.Command(os.Args[0], "-test.run=^TestNoKeyIsTakenAgainAfterAKill$")
				child.Env = append(os.Environ(), takeFrom+"="+string(p))
				child.Stderr = os.Stderr
				out, err := child.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, child.Start())
				children, lines = append(children, child), append(lines, bufio.NewScanner(out))
			}
			// A different number each time, so that batches are cut at several places.
			for range keys.BatchSize*round/2 + 100 {
				for _, of := range lines {
					require.True(t, of.Scan())
					key, err := strconv.ParseInt(of.Text(), 10, 64)
					require.NoError(t, err)
					require.False(t, taken[key], "key %d was taken twice", key)
					taken[key] = true
				}
			}
			for _, child := range children {
				require.NoError(t, child.Process.Kill())
				require.Error(t, child.Wait())
			}
		}
		r := p.ring(t, keys.Existing())
		for key := range taken {
			_, err := r.Seal(key, nil, nil)
			require.NoError(t, err, "a key was used that was not durable")
		}
		require.False(t, taken[take(t, r)])
	})
}

func takeForEver(p place) {
	r, err := p.open(context.Background())
	for err == nil {
		var key int64
		if key, err = r.Take(context.Background()); err == nil {
			_, err = fmt.Println(key)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestRefusedKeys(t *testing.T) {
	set := func(change string) func(*testing.T, place) {
		return func(t *testing.T, p place) {
			_, err := p.database(t).ExecContext(t.Context(), "UPDATE "+p.secretTable()+" SET "+change)
			require.NoError(t, err)
		}
	}
	secret := func(change func([]byte) []byte) func(*testing.T, place) {
		return func(t *testing.T, p place) {
			db := p.database(t)
			var stored []byte
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT secret FROM "+p.secretTable()).Scan(&stored))
			_, err := db.ExecContext(t.Context(), db.Bind("", "UPDATE "+p.secretTable()+" SET secret = ?"), change(stored))
			require.NoError(t, err)
		}
	}
	for name, tt := range map[string]struct {
		damage func(*testing.T, place)
		want   error
	}{
		"a newer format":        {set("format = format + 1"), keys.ErrNewerFormat},
		"a bit of the secret":   {secret(func(s []byte) []byte { s[7] ^= 16; return s }), keys.ErrDamaged},
		"a bit of its sum":      {secret(func(s []byte) []byte { s[40] ^= 1; return s }), keys.ErrDamaged},
		"the end of the secret": {secret(func(s []byte) []byte { return s[:32] }), keys.ErrDamaged},
		"no secret":             {secret(func(s []byte) []byte { return s[:0] }), keys.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, p place) {
				require.NoError(t, p.ring(t).Close())
				tt.damage(t, p)
				for _, opts := range [][]keys.Option{nil, {keys.Existing()}} {
					_, err := p.open(t.Context(), opts...)
					require.ErrorIs(t, err, tt.want)
					require.ErrorContains(t, err, "open the keys in ")
				}
			})
		})
	}
	t.Run("an older format", func(t *testing.T) {
		everywhere(t, func(t *testing.T, p place) {
			require.NoError(t, p.ring(t).Close())
			set("format = 1")(t, p)
			_, err := p.open(t.Context())
			require.ErrorContains(t, err, "before the first release")
		})
	})
}

func TestExistingBeginsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, p place) {
		for range 2 {
			_, err := p.open(t.Context(), keys.Existing())
			require.ErrorIs(t, err, keys.ErrMissing)
		}
		require.NoError(t, p.ring(t).Close())
		take(t, p.ring(t, keys.Existing()))
	})
}

// What began to make the tables may have ended before the secret was there.
func TestWhatWasBegunIsFinished(t *testing.T) {
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) {
			p := onServer(t, kind)
			require.NoError(t, p.ring(t).Close())
			db := p.database(t)
			lose := func() {
				_, err := db.ExecContext(t.Context(), "DELETE FROM belltower_keyring")
				require.NoError(t, err)
			}
			lose()
			_, err := p.open(t.Context(), keys.Existing())
			require.ErrorIs(t, err, keys.ErrMissing)
			take(t, p.ring(t))
			lose() // with keys there, it was not being begun
			_, err = p.open(t.Context())
			require.ErrorIs(t, err, keys.ErrDamaged)
		})
	}
}

// A server that can't be reached is said to be that, and nothing else is lost by
// it than the batch that was in the making.
func TestAServerAway(t *testing.T) {
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) {
			target, cable := sqldbtest.Cabled(t, sqldbtest.FreshURL(t, kind))
			r, err := keys.OpenDatabase(t.Context(), target)
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Close()) }()
			key := take(t, r)
			sealed, err := r.Seal(key, []byte("Ann"), nil)
			require.NoError(t, err)
			until(t, func() bool { return !r.Refilling() })

			cable.Cut()
			last, left := key, 0
			for ; err == nil; left++ {
				var next int64
				if next, err = r.Take(t.Context()); err == nil {
					last = next
				}
			}
			require.ErrorIs(t, err, keys.ErrUnavailable)
			require.GreaterOrEqual(t, left, keys.BatchSize/2, "what was made ahead can be taken")
			_, ok, err := r.Open(key, sealed, nil)
			require.NoError(t, err, "what is in memory opens")
			require.True(t, ok)
			require.ErrorIs(t, r.Erase(t.Context(), key), keys.ErrUnavailable)
			r.Forget()
			_, _, err = r.Open(key, sealed, nil)
			require.ErrorIs(t, err, keys.ErrUnavailable)
			require.NotErrorIs(t, err, keys.ErrUnknownKey)

			cable.Mend()
			require.Greater(t, take(t, r), last)
			require.NoError(t, r.Erase(t.Context(), key))
			_, ok, err = r.Open(key, sealed, nil)
			require.NoError(t, err)
			require.False(t, ok)
		})
	}
}

func until(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 5*time.Minute, time.Millisecond)
}

// A key is durable before it is taken, also where commits don't wait for the disk.
func TestCommitsWaitForTheDisk(t *testing.T) {
	p := onServer(t, sqldb.PostgreSQL)
	db := p.database(t)
	var name string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name))
	_, err := db.ExecContext(t.Context(), "ALTER DATABASE "+name+" SET synchronous_commit = off")
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE seen (setting text)")
	require.NoError(t, err)
	r := p.ring(t)
	_, err = db.ExecContext(t.Context(), `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TRIGGER note AFTER INSERT OR UPDATE ON belltower_keys FOR EACH STATEMENT EXECUTE FUNCTION note()")
	require.NoError(t, err)
	require.NoError(t, r.Erase(t.Context(), take(t, r)))
	rows, err := db.QueryContext(t.Context(), "SELECT setting FROM seen")
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var setting sql.NullString
		require.NoError(t, rows.Scan(&setting))
		require.Equal(t, "on", setting.String)
	}
	require.NoError(t, errors.Join(rows.Err(), rows.Close()))
	require.GreaterOrEqual(t, n, 2)
}
