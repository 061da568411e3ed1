// Package writeback has SQLite's files written to the disk evenly.
//
// With synchronous = NORMAL a database is synced when it is checkpointed: some
// megabytes at once, which nobody hurried to write until then. A sync of another
// file on the same disk, such as the log's, waits for all of them. The VFS of this package
// has the system begin to write a piece as soon as there is one, and waits for the
// piece before it: as much is written, by the same time, and what others wait
// for is two pieces at most. What is on disk after a sync, and in which order, is
// as with SQLite's own VFS.
package writeback

import (
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const vfsName = "belltower-writeback"

var register = sync.OnceValue(func() bool { return even && Register(vfsName, OpenFile) })

// VFS returns the name of the VFS, or none where the system has only SQLite's own.
func VFS() string {
	if register() {
		return vfsName
	}
	return ""
}

// URI is how SQLite is told to open path under a VFS: with none, it is path.
func URI(path, vfs string) string {
	if vfs == "" {
		return path
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: url.Values{"vfs": {vfs}}.Encode()}
	switch {
	case !filepath.IsAbs(path):
		u.Opaque = u.EscapedPath()
	case !strings.HasPrefix(u.Path, "/"): // behind the name of a volume
		u.Path = "/" + u.Path
	}
	return u.String()
}

// Open is an xOpen of a VFS: https://sqlite.org/c3ref/vfs.html
type Open = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32

var openUsual uintptr // the xOpen of the usual VFS

// Register makes SQLite know a VFS that is the usual one but for how files are
// opened; false where it can't. Open is declared in a package and no closure.
func Register(name string, open Open) bool {
	tls := libc.NewTLS()
	defer tls.Close()
	usual := sqlite3.Xsqlite3_vfs_find(tls, 0)
	called, err := libc.CString(name)
	if usual == 0 || err != nil {
		return false
	}
	vfs := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if vfs == 0 {
		return false
	}
	at := func(p uintptr) *sqlite3.Tsqlite3_vfs { return (*sqlite3.Tsqlite3_vfs)(Pointer(p)) }
	openUsual = at(usual).FxOpen
	*at(vfs) = *at(usual)
	at(vfs).FzName = called
	at(vfs).FxOpen = FunctionPointer(open)
	return sqlite3.Xsqlite3_vfs_register(tls, vfs, 0) == sqlite3.SQLITE_OK
}

// OpenUsual is the xOpen of SQLite's own VFS.
func OpenUsual(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	return (*Function[Open](&openUsual))(tls, vfs, name, file, flags, outFlags)
}

// Methods are those of an open file.
type Methods = sqlite3.Tsqlite3_io_methods

// OpenChanged is OpenUsual, and gives the file methods that are the usual ones but for
// what change sets. Before any of them is called, opened is told of the usual ones, which
// Restore gives back. Where there is no memory for them the file works as usual.
func OpenChanged(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr, change func(*Methods), opened func(usual uintptr)) int32 {
	rc := OpenUsual(tls, vfs, name, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK {
		return rc
	}
	own := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(Methods{})))
	if own == 0 {
		return rc
	}
	usual := fileAt(file).FpMethods
	*MethodsAt(own) = *MethodsAt(usual)
	change(MethodsAt(own))
	opened(usual)
	fileAt(file).FpMethods = own
	return rc
}

// Restore undoes what OpenChanged has done, before the file is closed.
func Restore(tls *libc.TLS, file, usual uintptr) {
	own := fileAt(file).FpMethods
	fileAt(file).FpMethods = usual
	sqlite3.Xsqlite3_free(tls, own)
}

func fileAt(p uintptr) *sqlite3.Tsqlite3_file { return (*sqlite3.Tsqlite3_file)(Pointer(p)) }

// MethodsAt are the methods at an address that OpenChanged has given.
func MethodsAt(p uintptr) *Methods { return (*Methods)(Pointer(p)) }

// Pointer is to memory of SQLite, which Go's collector neither knows nor moves.
func Pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) } //nolint:gosec // as said

// FunctionPointer is f, declared in a package and no closure, as SQLite's Go form has it.
func FunctionPointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) } //nolint:gosec // a func is a pointer

// Function is the function that a function pointer of SQLite's Go form is to.
func Function[F any](p *uintptr) *F { return (*F)(unsafe.Pointer(p)) } //nolint:gosec // a func is a pointer
