package bare

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncData puts what was written to f on disk, and of what is about f as much
// as it takes to read it again.
func SyncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
