package embedded

import (
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/belltower/belltower/internal/writeback"
)

// SQLite writes each page of a commit to the write-ahead log in two calls, one for
// 24 bytes before it. For the writer's connection the file of that log is another
// one: what is written to it one behind the other is kept together until it is synced,
// and then written in one call. With synchronous = FULL each commit is synced before any
// connection is told of its pages, so nobody looks for them in the file before.
const vfsName = "belltower-log"

// mostKept bounds what is kept together: SQLite writes no more in one call, and
// doesn't notice that it was asked to.
const mostKept = 1<<17 - 1

// registerVFS makes SQLite know it; false where it can't.
var registerVFS = sync.OnceValue(func() bool { return writeback.Register(vfsName, openFile) })

// ofWriter is the name by which the writer opens path.
func ofWriter(path string) (name string, ok bool) {
	if !registerVFS() {
		return path, false
	}
	return writeback.URI(path, vfsName), true
}

var walFiles sync.Map

// walFile is an open file of a write-ahead log. It is used by one goroutine at a time.
type walFile struct {
	usual uintptr // its methods without ours
	kept  []byte  // written by SQLite and not yet to the file
	at    int64   // where in the file that belongs
}

// openFile is an xOpen.
func openFile(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	if flags&sqlite3.SQLITE_OPEN_WAL == 0 {
		return writeback.OpenFile(tls, vfs, name, file, flags, outFlags)
	}
	return writeback.OpenChanged(tls, vfs, name, file, flags, outFlags, func(m *writeback.Methods) {
		m.FxClose = writeback.FunctionPointer(closeWAL)
		m.FxRead = writeback.FunctionPointer(readWALFile)
		m.FxWrite = writeback.FunctionPointer(writeWAL)
		m.FxTruncate = writeback.FunctionPointer(truncateWAL)
		m.FxSync = writeback.FunctionPointer(syncWAL)
		m.FxFileSize = writeback.FunctionPointer(sizeOfWAL)
	}, func(usual uintptr) { walFiles.Store(file, &walFile{usual: usual}) })
}

func walFileOf(file uintptr) *walFile {
	f, _ := walFiles.Load(file)
	return f.(*walFile)
}

// flush writes what is kept. What can't be written is dropped: SQLite is told, and
// takes none of it for there.
func (f *walFile) flush(tls *libc.TLS, file uintptr) int32 {
	if len(f.kept) == 0 {
		return sqlite3.SQLITE_OK
	}
	rc := f.write(tls, file, uintptr(unsafe.Pointer(unsafe.SliceData(f.kept))), int32(len(f.kept)), f.at) //nolint:gosec // f keeps it in its place
	f.kept = f.kept[:0]
	return rc
}

func (f *walFile) write(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	write := *writeback.Function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&writeback.MethodsAt(f.usual).FxWrite)
	return write(tls, file, from, n, at)
}

func writeWAL(tls *libc.TLS, file, from uintptr, n int32, at int64) int32 {
	f := walFileOf(file)
	if at != f.at+int64(len(f.kept)) || len(f.kept)+int(n) > mostKept {
		if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
		f.at = at
	}
	if int(n) > mostKept {
		return f.write(tls, file, from, n, at)
	}
	f.kept = append(f.kept, unsafe.Slice((*byte)(writeback.Pointer(from)), n)...) //nolint:gosec // SQLite says that so many are there
	return sqlite3.SQLITE_OK
}

func syncWAL(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	f.at = -1 // what comes next is no part of this
	sync := *writeback.Function[func(*libc.TLS, uintptr, int32) int32](&writeback.MethodsAt(f.usual).FxSync)
	return sync(tls, file, flags)
}

func readWALFile(tls *libc.TLS, file, to uintptr, n int32, at int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	read := *writeback.Function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&writeback.MethodsAt(f.usual).FxRead)
	return read(tls, file, to, n, at)
}

func truncateWAL(tls *libc.TLS, file uintptr, size int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	truncate := *writeback.Function[func(*libc.TLS, uintptr, int64) int32](&writeback.MethodsAt(f.usual).FxTruncate)
	return truncate(tls, file, size)
}

func sizeOfWAL(tls *libc.TLS, file, size uintptr) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	sizeOf := *writeback.Function[func(*libc.TLS, uintptr, uintptr) int32](&writeback.MethodsAt(f.usual).FxFileSize)
	return sizeOf(tls, file, size)
}

// closeWAL drops what was not synced: it is of a transaction that was given up.
func closeWAL(tls *libc.TLS, file uintptr) int32 {
	f := walFileOf(file)
	walFiles.Delete(file)
	writeback.Restore(tls, file, f.usual)
	closeFile := *writeback.Function[func(*libc.TLS, uintptr) int32](&writeback.MethodsAt(f.usual).FxClose)
	return closeFile(tls, file)
}
