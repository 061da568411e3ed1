package writeback

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const even = true

// piece is how many bytes are written until the system is told to begin with them.
const piece = 128 << 10

// openFiles are those that are written evenly, by their address.
var openFiles sync.Map

// file is an open database or write-ahead log. It is used by one goroutine at a time.
type file struct {
	usual  uintptr // its methods
	now    extent  // written since the last piece
	bytes  int     // of it
	before extent  // the last piece
	off    bool    // the file system can't
	failed bool    // something written before the next sync isn't on disk
}

var syncFileRange = unix.SyncFileRange // another one in tests

// extent is a part of a file; empty: from and to are the same.
type extent struct{ from, to int64 }

// OpenFile is an xOpen: databases and write-ahead logs are written evenly.
func OpenFile(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr) int32 {
	if flags&(sqlite3.SQLITE_OPEN_MAIN_DB|sqlite3.SQLITE_OPEN_WAL) == 0 {
		return OpenUsual(tls, vfs, name, at, flags, outFlags)
	}
	return OpenChanged(tls, vfs, name, at, flags, outFlags, func(m *Methods) {
		m.FxClose = FunctionPointer(closeFile)
		m.FxWrite = FunctionPointer(writeFile)
		m.FxSync = FunctionPointer(syncFile)
	}, func(usual uintptr) { openFiles.Store(at, &file{usual: usual}) })
}

func fileOf(at uintptr) *file {
	f, _ := openFiles.Load(at)
	return f.(*file)
}

func writeFile(tls *libc.TLS, at, from uintptr, n int32, offset int64) int32 {
	f := fileOf(at)
	write := *Function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&MethodsAt(f.usual).FxWrite)
	if rc := write(tls, at, from, n, offset); rc != sqlite3.SQLITE_OK || f.off {
		return rc
	}
	if f.bytes == 0 {
		f.now = extent{offset, offset}
	}
	f.now = extent{min(f.now.from, offset), max(f.now.to, offset+int64(n))}
	if f.bytes += int(n); f.bytes < piece {
		return sqlite3.SQLITE_OK
	}
	return f.begin(int((*sqlite3.TunixFile)(Pointer(at)).Fh))
}

// begin has the system begin to write what is there now, and waits for the piece before.
func (f *file) begin(fd int) int32 {
	err := syncRange(fd, f.before, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	if err == nil {
		err = syncRange(fd, f.now, unix.SYNC_FILE_RANGE_WRITE)
	}
	f.before, f.bytes = f.now, 0
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE), errors.Is(err, unix.EPERM):
		f.off = true
	default:
		// The system tells this once: a sync to come wouldn't know.
		f.failed = true
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

func syncFile(tls *libc.TLS, at uintptr, flags int32) int32 {
	f := fileOf(at)
	f.before, f.bytes = extent{}, 0
	sync := *Function[func(*libc.TLS, uintptr, int32) int32](&MethodsAt(f.usual).FxSync)
	rc := sync(tls, at, flags)
	if f.failed {
		f.failed = false
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	return rc
}

func closeFile(tls *libc.TLS, at uintptr) int32 {
	f := fileOf(at)
	openFiles.Delete(at)
	Restore(tls, at, f.usual)
	closeUsual := *Function[func(*libc.TLS, uintptr) int32](&MethodsAt(f.usual).FxClose)
	return closeUsual(tls, at)
}
