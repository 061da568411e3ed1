package keys_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
	"github.com/belltower/belltower/keys"
)

// moved is what was sealed with the keys of a folder.
type moved struct {
	t          *testing.T
	dir        string
	digest     []byte
	sealed     map[int64][]byte
	gone, last int64
	bytes      [][]byte // of keys
}

// toMove makes keys in a folder, more than are read at once, and ends the ring.
func toMove(t *testing.T) *moved {
	m := &moved{t: t, dir: t.TempDir(), sealed: map[int64][]byte{}}
	r, err := keys.Open(t.Context(), m.dir)
	require.NoError(t, err)
	m.digest = r.Digest("email", []byte("ann@example.org"))
	for i := range 3 * keys.BatchSize {
		m.last = take(t, r)
		if i%500 != 0 {
			continue
		}
		m.sealed[m.last], err = r.Seal(m.last, []byte(fmt.Sprint("Ann ", i)), nil)
		require.NoError(t, err)
		key, err := r.Key(m.last)
		require.NoError(t, err)
		m.bytes = append(m.bytes, key)
	}
	m.gone = take(t, r)
	require.NoError(t, r.Erase(t.Context(), m.gone))
	require.NoError(t, r.Close())
	return m
}

// to moves them, and expects what Move is for.
func (m *moved) to(p place) {
	m.t.Helper()
	n, err := keys.Move(m.t.Context(), m.dir, target(m.t, p))
	require.NoError(m.t, err)
	require.Greater(m.t, n, m.last)
	m.in(p)
	m.emptied(p)
}

// in looks whether a database has all the keys, and no two places give out the same.
func (m *moved) in(p place) {
	m.t.Helper()
	r, err := p.open(m.t.Context(), keys.Existing())
	require.NoError(m.t, err)
	defer func() { require.NoError(m.t, r.Close()) }()
	require.Equal(m.t, m.digest, r.Digest("email", []byte("ann@example.org")))
	for key, sealed := range m.sealed {
		plain, ok, err := r.Open(key, sealed, nil)
		require.NoError(m.t, err)
		require.True(m.t, ok)
		require.Contains(m.t, string(plain), "Ann ")
	}
	_, err = r.Seal(m.gone, nil, nil)
	require.ErrorIs(m.t, err, keys.ErrErased)
	next := take(m.t, r)
	require.Greater(m.t, next, m.last)
	m.last = next
}

// emptied looks whether anything is left of the keys in the folder.
func (m *moved) emptied(p place) {
	m.t.Helper()
	m.shut(p, true)
	files, err := os.ReadDir(m.dir)
	require.NoError(m.t, err)
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(m.dir, f.Name()))
		require.NoError(m.t, err)
		for _, key := range m.bytes {
			require.False(m.t, bytes.Contains(content, key), "a key is left in %s", f.Name())
		}
	}
}

// shut expects that the file opens for nobody.
func (m *moved) shut(p place, done bool) {
	m.t.Helper()
	for _, opts := range [][]keys.Option{nil, {keys.Existing()}} {
		_, err := keys.Open(m.t.Context(), m.dir, opts...)
		var mark *keys.MovedError
		require.ErrorAs(m.t, err, &mark)
		require.Equal(m.t, target(m.t, p).String(), mark.To)
		require.Equal(m.t, done, mark.Done)
	}
}

func target(t *testing.T, p place) sqldb.Target {
	t.Helper()
	parsed, err := sqldb.Parse(string(p))
	require.NoError(t, err)
	return parsed
}

// onServers runs a test on each kind of server.
func onServers(t *testing.T, test func(t *testing.T, kind sqldb.Kind)) {
	for _, kind := range servers {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

func TestMove(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, p := toMove(t), onServer(t, kind)
		m.to(p)
		n, err := keys.Move(t.Context(), m.dir, target(t, p))
		require.NoError(t, err, "once more does nothing")
		require.Zero(t, n)
		m.in(p)
		_, err = keys.Move(t.Context(), m.dir, target(t, onServer(t, kind)))
		var mark *keys.MovedError
		require.ErrorAs(t, err, &mark, "nothing is left to move")
		require.Equal(t, target(t, p).String(), mark.To)
	})
}

const (
	moveFrom  = "BELLTOWER_TEST_MOVE_FROM"
	moveTo    = "BELLTOWER_TEST_MOVE_TO"
	moveUntil = "BELLTOWER_TEST_MOVE_UNTIL"
)

// A process that moves keys is killed at each step, and another finishes.
func TestMoveKilled(t *testing.T) {
	if os.Getenv(moveFrom) != "" {
		moveAndDie(t)
	}
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		elsewhere := onServer(t, kind)
		for _, step := range []string{"marked", "copying", "copied", "emptied"} {
			t.Run(step, func(t *testing.T) {
				m, p := toMove(t), onServer(t, kind)
				child := exec.Command(os.Args[0], "-test.run=^TestMoveKilled$")
				child.Env = append(os.Environ(), moveFrom+"="+m.dir, moveTo+"="+string(p), moveUntil+"="+step)
				out, err := child.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, -1, child.ProcessState.ExitCode(), "it is killed: %s", out)

				m.shut(p, step == "emptied")
				if step == "copied" || step == "emptied" {
					m.in(p) // already, while the file is shut
				} else {
					_, err := p.open(t.Context(), keys.Existing())
					require.ErrorIs(t, err, keys.ErrMissing)
					_, err = keys.Move(t.Context(), m.dir, target(t, elsewhere))
					var mark *keys.MovedError
					require.ErrorAs(t, err, &mark, "it is finished where it was begun")
				}
				_, err = keys.Move(t.Context(), m.dir, target(t, p))
				require.NoError(t, err)
				m.in(p)
				m.emptied(p)
			})
		}
	})
}

func moveAndDie(t *testing.T) {
	_, err := keys.MoveAt(t.Context(), os.Getenv(moveFrom), target(t, place(os.Getenv(moveTo))), func(step string) error {
		if step != os.Getenv(moveUntil) {
			return nil
		}
		self, err := os.FindProcess(os.Getpid())
		if err == nil && self.Kill() == nil {
			select {} // until it comes
		}
		return errors.New("it can't be killed")
	})
	require.NoError(t, err)
}

func TestMoveOfKeysInUse(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, p := toMove(t), onServer(t, kind)
		r := place(m.dir).ring(t)
		_, err := keys.Move(t.Context(), m.dir, target(t, p))
		require.ErrorIs(t, err, keys.ErrInUse)
		m.last = take(t, r)
		require.NoError(t, r.Close())
		m.to(p)
	})
}

// A database that has keys takes no others, and the file stays as it was.
func TestMoveToOtherKeys(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, p := toMove(t), onServer(t, kind)
		other := take(t, p.ring(t))
		_, err := keys.Move(t.Context(), m.dir, target(t, p))
		require.ErrorIs(t, err, keys.ErrOtherKeys)
		m.in(place(m.dir))
		require.Greater(t, take(t, p.ring(t, keys.Existing())), other)

		// They may come while they are moved.
		fresh := onServer(t, kind)
		_, err = keys.MoveAt(t.Context(), m.dir, target(t, fresh), func(step string) error {
			if step == "marked" {
				take(t, fresh.ring(t))
			}
			return nil
		})
		require.ErrorIs(t, err, keys.ErrOtherKeys)
		m.in(place(m.dir))
	})
}

// A file that was put back is emptied too, unless it has gone on by itself.
func TestMoveOfACopy(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, p := toMove(t), onServer(t, kind)
		path := filepath.Join(m.dir, keys.FileName)
		backup, err := os.ReadFile(path)
		require.NoError(t, err)
		back := func() {
			for _, suffix := range []string{"-wal", "-shm"} {
				require.NoError(t, os.RemoveAll(path+suffix))
			}
			require.NoError(t, os.WriteFile(path, backup, 0o600))
		}
		m.to(p)
		m.gone = m.last
		require.NoError(t, p.ring(t, keys.Existing()).Erase(t.Context(), m.gone))
		back()
		_, err = keys.Move(t.Context(), m.dir, target(t, p))
		require.NoError(t, err)
		m.in(p)
		m.emptied(p)

		back()
		r := place(m.dir).ring(t)
		for range 2 * keys.BatchSize {
			take(t, r)
		}
		require.NoError(t, r.Close())
		_, err = keys.Move(t.Context(), m.dir, target(t, p))
		require.ErrorIs(t, err, keys.ErrOtherKeys)
		take(t, place(m.dir).ring(t, keys.Existing()))
	})
}

// Where the server goes away, the file opens again unless the copy may be complete.
func TestMoveToAServerThatGoesAway(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, url := toMove(t), sqldbtest.FreshURL(t, kind)
		away, cable := sqldbtest.Cabled(t, url)
		_, err := keys.MoveAt(t.Context(), m.dir, away, func(step string) error {
			if step == "marked" {
				cable.Cut()
			}
			return nil
		})
		require.Error(t, err)
		m.in(place(m.dir))

		cable.Mend()
		_, err = keys.MoveAt(t.Context(), m.dir, away, func(step string) error {
			if step == "copying" {
				cable.Cut()
			}
			return nil
		})
		require.ErrorContains(t, err, "not known")
		cable.Mend()
		_, err = keys.Open(t.Context(), m.dir)
		var mark *keys.MovedError
		require.ErrorAs(t, err, &mark)
		_, err = keys.Move(t.Context(), m.dir, away)
		require.NoError(t, err)
		m.in(place(url))
	})
}

// What ends before the copy gives the file back, and so does whoever doesn't want to wait.
func TestMoveInterrupted(t *testing.T) {
	onServers(t, func(t *testing.T, kind sqldb.Kind) {
		m, p := toMove(t), onServer(t, kind)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := keys.MoveAt(ctx, m.dir, target(t, p), func(step string) error {
			if step == "marked" {
				cancel()
			}
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		m.in(place(m.dir))
		m.to(p)
	})
}

func TestMoveOfNothing(t *testing.T) {
	nowhere, err := sqldb.Parse("postgres://nobody:s3cret@127.0.0.1:1/none")
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = keys.Move(t.Context(), dir, nowhere)
	require.ErrorIs(t, err, keys.ErrMissing)
	require.NoFileExists(t, filepath.Join(dir, keys.FileName))
	require.NoError(t, os.WriteFile(filepath.Join(dir, keys.FileName), nil, 0o600))
	_, err = keys.Move(t.Context(), dir, nowhere)
	require.ErrorIs(t, err, keys.ErrMissing)
	require.NoError(t, os.WriteFile(filepath.Join(dir, keys.FileName), []byte(strings.Repeat("garbage!", 4096)), 0o600))
	_, err = keys.Move(t.Context(), dir, nowhere)
	require.ErrorIs(t, err, keys.ErrNotKeys)

	m := toMove(t)
	_, err = keys.Move(t.Context(), m.dir, nowhere)
	require.ErrorIs(t, err, keys.ErrUnavailable)
	require.NotContains(t, err.Error(), "s3cret")
	require.NotErrorIs(t, err, keys.ErrOtherKeys)
	m.in(place(m.dir))
}
