package writeback

import (
	"errors"

	"golang.org/x/sys/unix"
	sqlite3 "modernc.org/sqlite/lib"
)

// piece is how many bytes are written until the system is told to begin with them: not
// more than what a log keeps together, so that each call is a piece.
const piece = 120 << 10

// pieces is what of a file the system was told to begin with since its last sync.
type pieces struct {
	now    extent // written since the last piece
	bytes  int    // of it
	before extent // the last piece
	off    bool   // the file system can't
	failed bool   // something written before the next sync isn't on disk
}

var syncFileRange = unix.SyncFileRange // another one in tests

// extent is a part of a file; empty: from and to are the same.
type extent struct{ from, to int64 }

// written counts n bytes of the file at an address, and has the system begin with a piece.
func (p *pieces) written(at uintptr, n int32, offset int64) int32 {
	if p.off {
		return sqlite3.SQLITE_OK
	}
	if p.bytes == 0 {
		p.now = extent{offset, offset}
	}
	p.now = extent{min(p.now.from, offset), max(p.now.to, offset+int64(n))}
	if p.bytes += int(n); p.bytes < piece {
		return sqlite3.SQLITE_OK
	}
	return p.begin(int((*sqlite3.TunixFile)(pointer(at)).Fh))
}

// begin has the system begin to write what is there now, and waits for the piece before.
func (p *pieces) begin(fd int) int32 {
	err := syncRange(fd, p.before, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if err == nil {
		err = syncRange(fd, p.now, unix.SYNC_FILE_RANGE_WRITE)
	}
	p.before, p.bytes = p.now, 0
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE), errors.Is(err, unix.EPERM):
		p.off = true
	default:
		// The system tells this once: a sync to come wouldn't know.
		p.failed = true
		return sqlite3.SQLITE_IOERR_WRITE
	}
	return sqlite3.SQLITE_OK
}

// syncRange is sync_file_range(2); on an extent of no bytes, which would be the whole
// rest of the file there, it does nothing.
func syncRange(fd int, x extent, flags int) error {
	for x.from < x.to {
		err := syncFileRange(fd, x.from, x.to-x.from, flags)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return nil
}

// synced is called behind a sync that answered rc, and gives what SQLite is told of it.
func (p *pieces) synced(rc int32) int32 {
	p.before, p.bytes = extent{}, 0
	if p.failed {
		p.failed = false
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	return rc
}
