// Package seal notes what a database is while nobody has it open, so that one that
// can be built anew is, where the disk has lost a bit of it meanwhile.
package seal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// Suffix is of a file that stands beside the database while nobody has it open:
// SQLite would not notice a bit that the disk has lost meanwhile. After a crash
// there is none.
const Suffix = ".sum"

// Put notes what a database is that was closed and can be built anew. Where that
// can't be done, it is gone on with as after a crash.
func Put(path string) {
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		return // another program has it open: it may still change
	}
	sum, err := checksum(path)
	if err == nil {
		err = os.WriteFile(path+Suffix, []byte(sum), 0o600)
	}
	if err != nil {
		_ = os.Remove(path + Suffix)
	}
}

// Break breaks the seal of a database that is to be opened. It is sealed when
// there was one, and changed when the file isn't what was sealed.
func Break(path string) (sealed, changed bool, err error) {
	was, err := os.ReadFile(path + Suffix)
	if errors.Is(err, os.ErrNotExist) {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	if err := os.Remove(path + Suffix); err != nil {
		return false, false, err
	}
	is, err := checksum(path)
	return true, is != strings.TrimSpace(string(was)), err
}

// checksum is a CRC-32C and the length of a file.
func checksum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(sum, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x %d", sum.Sum32(), n), nil
}
