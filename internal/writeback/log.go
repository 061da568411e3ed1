package writeback

import (
	"encoding/binary"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// mostKept bounds what is kept together: SQLite writes no more in one call, and
	// doesn't notice that it was asked to.
	mostKept = 1<<17 - 1
	// beforePage is how many bytes stand before each page: https://sqlite.org/fileformat2.html#walformat
	beforePage = 24
)

// log is a write-ahead log. SQLite writes each page of a commit in two calls, one
// for the bytes before it. What it writes behind what it wrote before is kept, and written
// in one call with the last page of the commit: until that is there, nobody looks for
// these pages but the connection itself.
type log struct {
	file
	database *file
	kept     []byte // written by SQLite and not yet to the file
	end      int64  // of what SQLite wrote last: kept belongs right before it
	commits  bool   // the page that comes next is the last of a commit
}

// openLog is an xOpen of a write-ahead log.
func openLog(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr, evenly bool) int32 {
	of, ok := databases.Load(sqlite3.Xsqlite3_filename_database(tls, name))
	if !ok { // its database couldn't be given methods of ours
		return openUsual(tls, vfs, name, at, flags, outFlags)
	}
	return openChanged(tls, vfs, name, at, flags, outFlags, func(m *methods) {
		m.FxClose = functionPointer(closeLog)
		m.FxRead = functionPointer(readLog)
		m.FxWrite = functionPointer(writeLog)
		m.FxTruncate = functionPointer(truncateLog)
		m.FxSync = functionPointer(syncLog)
		m.FxFileSize = functionPointer(sizeOfLog)
	}, func(usual *methods) {
		l := &log{file: file{usual: usual, evenly: evenly}, database: of.(*file), end: -1}
		l.database.log = l
		openFiles.Store(at, l)
	})
}

func logOf(at uintptr) *log {
	l, _ := openFiles.Load(at)
	return l.(*log)
}

// flush writes what is kept. What can't be written is dropped: SQLite is told before
// the commit is there, and gives it up.
func (l *log) flush(tls *libc.TLS, at uintptr) int32 {
	if len(l.kept) == 0 {
		return sqlite3.SQLITE_OK
	}
	n := len(l.kept)
	rc := l.write(tls, at, uintptr(unsafe.Pointer(unsafe.SliceData(l.kept))), int32(n), l.end-int64(n)) //nolint:gosec // l keeps it in its place
	l.drop()
	return rc
}

func (l *log) drop() { l.kept, l.commits = l.kept[:0], false }

func writeLog(tls *libc.TLS, at, from uintptr, n int32, offset int64) int32 {
	l := logOf(at)
	follows, last := offset == l.end, l.commits
	if !follows || len(l.kept)+int(n) > mostKept {
		if rc := l.flush(tls, at); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	l.end = offset + int64(n)
	bytes := unsafe.Slice((*byte)(pointer(from)), n) //nolint:gosec // SQLite says that so many are there
	l.commits = n == beforePage && binary.BigEndian.Uint32(bytes[4:]) != 0
	if !follows || int(n) > mostKept {
		// A page or its sum is written over, or this begins somewhere else.
		return l.write(tls, at, from, n, offset)
	}
	l.kept = append(l.kept, bytes...)
	if last {
		return l.flush(tls, at)
	}
	return sqlite3.SQLITE_OK
}

func syncLog(tls *libc.TLS, at uintptr, flags int32) int32 {
	l := logOf(at)
	if rc := l.flush(tls, at); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return l.sync(tls, at, flags)
}

func readLog(tls *libc.TLS, at, to uintptr, n int32, offset int64) int32 {
	l := logOf(at)
	if rc := l.flush(tls, at); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return (*function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&l.usual.FxRead))(tls, at, to, n, offset)
}

func truncateLog(tls *libc.TLS, at uintptr, size int64) int32 {
	l := logOf(at)
	if rc := l.flush(tls, at); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return (*function[func(*libc.TLS, uintptr, int64) int32](&l.usual.FxTruncate))(tls, at, size)
}

func sizeOfLog(tls *libc.TLS, at, size uintptr) int32 {
	l := logOf(at)
	if rc := l.flush(tls, at); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return (*function[func(*libc.TLS, uintptr, uintptr) int32](&l.usual.FxFileSize))(tls, at, size)
}

// closeLog drops what was not committed.
func closeLog(tls *libc.TLS, at uintptr) int32 {
	l := logOf(at)
	openFiles.Delete(at)
	l.database.log = nil
	return l.close(tls, at)
}
