package embedded

import (
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
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
var registerVFS = sync.OnceValue(func() bool {
	tls := libc.NewTLS()
	defer tls.Close()
	usual := sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString(vfsName)
	if usual == 0 || err != nil {
		return false
	}
	vfs := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if vfs == 0 {
		return false
	}
	openUsual = vfsAt(usual).FxOpen
	*vfsAt(vfs) = *vfsAt(usual)
	vfsAt(vfs).FzName = name
	vfsAt(vfs).FxOpen = functionPointer(openFile)
	return sqlite3.Xsqlite3_vfs_register(tls, vfs, 0) == sqlite3.SQLITE_OK
})

// ofWriter is the name by which the writer opens path.
func ofWriter(path string) (name string, ok bool) {
	if !registerVFS() {
		return path, false
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", Path: slashed, OmitHost: true, RawQuery: "vfs=" + vfsName}
	return u.String(), true
}

var (
	openUsual uintptr // the xOpen of the usual VFS
	walFiles  sync.Map
)

// walFile is an open file of a write-ahead log. It is used by one goroutine at a time.
type walFile struct {
	usual uintptr // its methods without ours
	own   uintptr // the table that has ours
	kept  []byte  // written by SQLite and not yet to the file
	at    int64   // where in the file that belongs
}

// openFile is an xOpen.
func openFile(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	open := *function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](&openUsual)
	rc := open(tls, vfs, name, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	f := &walFile{usual: fileAt(file).FpMethods}
	if f.own = sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{}))); f.own == 0 {
		return rc // it works without, too
	}
	m := methodsAt(f.own)
	*m = *methodsAt(f.usual)
	m.FxClose = functionPointer(closeWAL)
	m.FxRead = functionPointer(readWALFile)
	m.FxWrite = functionPointer(writeWAL)
	m.FxTruncate = functionPointer(truncateWAL)
	m.FxSync = functionPointer(syncWAL)
	m.FxFileSize = functionPointer(sizeOfWAL)
	walFiles.Store(file, f)
	fileAt(file).FpMethods = f.own
	return rc
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
	write := *function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&methodsAt(f.usual).FxWrite)
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
	f.kept = append(f.kept, unsafe.Slice((*byte)(pointer(from)), n)...) //nolint:gosec // SQLite says that so many are there
	return sqlite3.SQLITE_OK
}

func syncWAL(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	f.at = -1 // what comes next is no part of this
	sync := *function[func(*libc.TLS, uintptr, int32) int32](&methodsAt(f.usual).FxSync)
	return sync(tls, file, flags)
}

func readWALFile(tls *libc.TLS, file, to uintptr, n int32, at int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	read := *function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&methodsAt(f.usual).FxRead)
	return read(tls, file, to, n, at)
}

func truncateWAL(tls *libc.TLS, file uintptr, size int64) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	truncate := *function[func(*libc.TLS, uintptr, int64) int32](&methodsAt(f.usual).FxTruncate)
	return truncate(tls, file, size)
}

func sizeOfWAL(tls *libc.TLS, file, size uintptr) int32 {
	f := walFileOf(file)
	if rc := f.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	sizeOf := *function[func(*libc.TLS, uintptr, uintptr) int32](&methodsAt(f.usual).FxFileSize)
	return sizeOf(tls, file, size)
}

// closeWAL drops what was not synced: it is of a transaction that was given up.
func closeWAL(tls *libc.TLS, file uintptr) int32 {
	f := walFileOf(file)
	walFiles.Delete(file)
	fileAt(file).FpMethods = f.usual
	sqlite3.Xsqlite3_free(tls, f.own)
	closeFile := *function[func(*libc.TLS, uintptr) int32](&methodsAt(f.usual).FxClose)
	return closeFile(tls, file)
}

func vfsAt(p uintptr) *sqlite3.Tsqlite3_vfs   { return (*sqlite3.Tsqlite3_vfs)(pointer(p)) }
func fileAt(p uintptr) *sqlite3.Tsqlite3_file { return (*sqlite3.Tsqlite3_file)(pointer(p)) }
func methodsAt(p uintptr) *sqlite3.Tsqlite3_io_methods {
	return (*sqlite3.Tsqlite3_io_methods)(pointer(p))
}

// pointer is to memory of SQLite, which Go's collector neither knows nor moves.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) } //nolint:gosec // as said

// functionPointer is f, declared in this package and no closure, as SQLite's Go form has it.
func functionPointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) } //nolint:gosec // a func is a pointer

// function is the function that a function pointer of SQLite's Go form is to.
func function[F any](p *uintptr) *F { return (*F)(unsafe.Pointer(p)) } //nolint:gosec // a func is a pointer
