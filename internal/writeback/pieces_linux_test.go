package writeback

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)

type call struct {
	fd       int
	from, to int64
	flags    int
}

// recorded are the calls of sync_file_range(2), which answers what answer says.
type recorded struct {
	mu     sync.Mutex
	calls  []call
	answer func(call) error
}

func record(t *testing.T, answer func(call) error) *recorded {
	t.Helper()
	r := &recorded{answer: answer}
	syncFileRange = func(fd int, from, n int64, flags int) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		c := call{fd, from, from + n, flags}
		r.calls = append(r.calls, c)
		return r.answer(c)
	}
	t.Cleanup(func() { syncFileRange = unix.SyncFileRange })
	return r
}

func (r *recorded) all() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

func really(c call) error { return unix.SyncFileRange(c.fd, c.from, c.to-c.from, c.flags) }

func TestPiecesAreBegunAsTheyAreWritten(t *testing.T) {
	require.NotEmpty(t, VFS())
	r := record(t, really)
	db := openDB(t, VFS(), 0)
	require.NoError(t, fill(db, 0, 1000))

	const mega = 1 << 20
	wal := r.all()
	begun, end := 0, int64(0)
	for i, c := range wal {
		switch c.flags {
		case unix.SYNC_FILE_RANGE_WRITE:
			require.GreaterOrEqual(t, c.to-c.from, int64(piece))
			require.GreaterOrEqual(t, c.from, end, "one behind the other")
			begun, end = begun+1, c.to
		case unix.SYNC_FILE_RANGE_WAIT_BEFORE:
			was := wal[i-1]
			require.Equal(t, call{was.fd, was.from, was.to, c.flags}, c, "the piece before")
		default:
			require.Fail(t, "other flags", "%+v", c)
		}
	}
	require.InDelta(t, mega/piece, begun, 2)
	require.InDelta(t, mega, end, 2*piece)

	var busy, pages, moved int
	require.NoError(t, db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved))
	moving := r.all()[len(wal):]
	require.Greater(t, len(moving), mega/piece)
	for _, c := range moving {
		require.NotEqual(t, wal[0].fd, c.fd, "of the database, not of its log")
	}
}

// A failure to write is told by whichever system call asks first, and only once.
func TestWhatCantBeWrittenIsTold(t *testing.T) {
	broken := false
	r := record(t, func(c call) error {
		if broken {
			return unix.EIO
		}
		return really(c)
	})
	db := openDB(t, VFS(), 0)
	require.NoError(t, fill(db, 0, 1000))
	broken = true
	require.ErrorContains(t, fill(db, 1000, 1000), "disk I/O error")
	broken = false
	_, err := db.Exec("PRAGMA wal_checkpoint(FULL)")
	require.ErrorContains(t, err, "disk I/O error", "a sync that would say that all is there")

	_, err = db.Exec("PRAGMA wal_checkpoint(FULL)")
	require.NoError(t, err)
	require.NoError(t, fill(db, 1000, 10))
	var rows int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM t").Scan(&rows))
	require.Equal(t, 1010, rows)
	require.NotEmpty(t, r.all())
}

func TestFileSystemsThatCantAreLeftAlone(t *testing.T) {
	for _, why := range []error{unix.ENOSYS, unix.EINVAL, unix.ESPIPE, unix.EPERM} {
		t.Run(fmt.Sprint(why), func(t *testing.T) {
			r := record(t, func(call) error { return why })
			db := openDB(t, VFS(), 0)
			require.NoError(t, fill(db, 0, 1000))
			require.Len(t, r.all(), 1)
		})
	}
}

func TestInterruptedCallsAreMadeAgain(t *testing.T) {
	n := 0
	r := record(t, func(c call) error {
		if n++; n == 1 {
			return unix.EINTR
		}
		return really(c)
	})
	require.NoError(t, fill(openDB(t, VFS(), 0), 0, 1000))
	calls := r.all()
	require.Equal(t, calls[0], calls[1])
}
