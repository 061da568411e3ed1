package writeback

import (
	"sync"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// file is an open database or write-ahead log. It is used by one goroutine at a time.
type file struct {
	usual  *methods // its methods without ours
	evenly bool
	pieces pieces
	name   uintptr // a database's
	log    *log    // a database's, while it is open
}

var (
	// openFiles are those with methods of ours, *file or *log, by their address.
	openFiles sync.Map
	// databases are those among them, by the address of their name: each connection has a
	// copy of its own.
	databases sync.Map
)

// openDatabase is an xOpen of a database.
func openDatabase(tls *libc.TLS, vfs, name, at uintptr, flags int32, outFlags uintptr) int32 {
	return openChanged(tls, vfs, name, at, flags, outFlags, func(m *methods) {
		m.FxClose = functionPointer(closeFile)
		m.FxWrite = functionPointer(writeFile)
		m.FxSync = functionPointer(syncFile)
		m.FxShmLock = functionPointer(lockFile)
	}, func(usual *methods) {
		f := &file{usual: usual, evenly: true, name: name}
		openFiles.Store(at, f)
		databases.Store(name, f)
	})
}

func fileOf(at uintptr) *file {
	f, _ := openFiles.Load(at)
	return f.(*file)
}

// write writes to the file at an address.
func (f *file) write(tls *libc.TLS, at, from uintptr, n int32, offset int64) int32 {
	usual := *function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](&f.usual.FxWrite)
	if rc := usual(tls, at, from, n, offset); rc != sqlite3.SQLITE_OK || !f.evenly {
		return rc
	}
	return f.pieces.written(at, n, offset)
}

func (f *file) sync(tls *libc.TLS, at uintptr, flags int32) int32 {
	usual := *function[func(*libc.TLS, uintptr, int32) int32](&f.usual.FxSync)
	return f.pieces.synced(usual(tls, at, flags))
}

func (f *file) close(tls *libc.TLS, at uintptr) int32 {
	restore(tls, at, f.usual)
	return (*function[func(*libc.TLS, uintptr) int32](&f.usual.FxClose))(tls, at)
}

func writeFile(tls *libc.TLS, at, from uintptr, n int32, offset int64) int32 {
	return fileOf(at).write(tls, at, from, n, offset)
}

func syncFile(tls *libc.TLS, at uintptr, flags int32) int32 { return fileOf(at).sync(tls, at, flags) }

// lockFile is an xShmLock. Who gives up the right to write has written what it
// committed: the rest is never to be.
func lockFile(tls *libc.TLS, at uintptr, from, n, flags int32) int32 {
	f := fileOf(at)
	if f.log != nil && from == sqlite3.WAL_WRITE_LOCK && flags&sqlite3.SQLITE_SHM_UNLOCK != 0 {
		f.log.drop()
	}
	return (*function[func(*libc.TLS, uintptr, int32, int32, int32) int32](&f.usual.FxShmLock))(tls, at, from, n, flags)
}

func closeFile(tls *libc.TLS, at uintptr) int32 {
	f := fileOf(at)
	openFiles.Delete(at)
	databases.Delete(f.name)
	return f.close(tls, at)
}
