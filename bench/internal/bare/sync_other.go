//go:build !linux

package bare

import "os"

// SyncData puts what was written to f on disk.
func SyncData(f *os.File) error { return f.Sync() }
