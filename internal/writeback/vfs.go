// Package writeback has SQLite's files written in few calls, and evenly.
//
// SQLite writes each page of a commit to its write-ahead log in two calls. Here the
// pages of a commit are written together.
//
// With synchronous = NORMAL a database is synced when it is checkpointed: some
// megabytes at once, which nobody hurried to write until then. A sync of another
// file on the same disk, such as the log's, waits for all of them. Here, on Linux,
// the system begins to write a piece as soon as there is one, and the piece before it
// is waited for: as much is written, by the same time, and what others wait for is two
// pieces at most.
//
// What is in a file when others may look for it, and what is on disk after a sync, and
// in which order, is as with SQLite's own VFS.
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

var (
	register    = sync.OnceValue(func() string { return registered("belltower-writeback", openEvenly) })
	registerLog = sync.OnceValue(func() string { return registered("belltower-log", openOneSynced) })
)

// VFS returns the name of the VFS, or none where SQLite can't be given one.
func VFS() string { return register() }

// LogVFS is one for a connection that syncs its write-ahead log at each commit: that
// log is not begun with before.
func LogVFS() string { return registerLog() }

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

// openFunc is an xOpen of a VFS: https://sqlite.org/c3ref/vfs.html
type openFunc = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32

func openEvenly(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr) int32 {
	return open(tls, vfs, name, at, flags, outFlags, true)
}

func openOneSynced(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr) int32 {
	return open(tls, vfs, name, at, flags, outFlags, false)
}

func open(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr, evenLog bool) int32 {
	switch {
	case flags&sqlite3.SQLITE_OPEN_MAIN_DB != 0:
		return openDatabase(tls, vfs, name, at, flags, outFlags)
	case flags&sqlite3.SQLITE_OPEN_WAL != 0:
		return openLog(tls, vfs, name, at, flags, outFlags, evenLog)
	}
	return openUsual(tls, vfs, name, at, flags, outFlags)
}

var usualOpen uintptr // the xOpen of SQLite's own VFS

// registered makes SQLite know a VFS that is the usual one but for how files are
// opened, and gives its name; none where it can't. open is declared in a package and no closure.
func registered(name string, open openFunc) string {
	tls := libc.NewTLS()
	defer tls.Close()
	usual := sqlite3.Xsqlite3_vfs_find(tls, 0)
	called, err := libc.CString(name)
	if usual == 0 || err != nil {
		return ""
	}
	vfs := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if vfs == 0 {
		return ""
	}
	at := func(p uintptr) *sqlite3.Tsqlite3_vfs { return (*sqlite3.Tsqlite3_vfs)(pointer(p)) }
	usualOpen = at(usual).FxOpen
	*at(vfs) = *at(usual)
	at(vfs).FzName = called
	at(vfs).FxOpen = functionPointer(open)
	if sqlite3.Xsqlite3_vfs_register(tls, vfs, 0) != sqlite3.SQLITE_OK {
		return ""
	}
	return name
}

func openUsual(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	return (*function[openFunc](&usualOpen))(tls, vfs, name, file, flags, outFlags)
}

// methods are those of an open file: https://sqlite.org/c3ref/io_methods.html
type methods = sqlite3.Tsqlite3_io_methods

// openChanged is openUsual, and gives the file methods that are the usual ones but for
// what change sets. Before any of them is called, opened is told of the usual ones, which
// restore gives back. Where there is no memory for them the file works as usual.
func openChanged(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr, change func(*methods), opened func(usual *methods)) int32 {
	rc := openUsual(tls, vfs, name, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK {
		return rc
	}
	own := sqlite3.Xsqlite3_malloc64(tls, uint64(unsafe.Sizeof(methods{})))
	if own == 0 {
		return rc
	}
	usual := methodsAt(fileAt(file).FpMethods)
	*methodsAt(own) = *usual
	change(methodsAt(own))
	opened(usual)
	fileAt(file).FpMethods = own
	return rc
}

// restore undoes what openChanged has done, before the file is closed.
func restore(tls *libc.TLS, file uintptr, usual *methods) {
	own := fileAt(file).FpMethods
	fileAt(file).FpMethods = uintptr(unsafe.Pointer(usual)) //nolint:gosec // it is memory of SQLite
	sqlite3.Xsqlite3_free(tls, own)
}

func fileAt(p uintptr) *sqlite3.Tsqlite3_file { return (*sqlite3.Tsqlite3_file)(pointer(p)) }

func methodsAt(p uintptr) *methods { return (*methods)(pointer(p)) }

// pointer is to memory of SQLite, which Go's collector neither knows nor moves.
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) } //nolint:gosec // as said

// functionPointer is f, declared in a package and no closure, as SQLite's Go form has it.
func functionPointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) } //nolint:gosec // a func is a pointer

// function is the function that a function pointer of SQLite's Go form is to.
func function[F any](p *uintptr) *F { return (*F)(unsafe.Pointer(p)) } //nolint:gosec // a func is a pointer
