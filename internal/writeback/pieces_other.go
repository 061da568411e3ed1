//go:build !linux

package writeback

const even = false

// OpenFile is the xOpen of SQLite's own VFS: there is no other way to write here.
var OpenFile Open = OpenUsual
