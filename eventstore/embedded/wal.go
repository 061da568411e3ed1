package embedded

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/belltower/belltower/eventstore"
)

// The file format of SQLite's write-ahead log: https://sqlite.org/fileformat2.html#walformat
const (
	walHeader   = 32
	frameHeader = 24
)

// checkWAL looks whether the write-ahead log beside path, which a process that
// was ended has left, is as it was written. SQLite takes it up to the first frame
// whose sum differs, as it can't tell a commit that was cut off from a bit that
// was lost in one that was acknowledged. Here both can be told, but for the last
// commit: a commit that another one follows was on disk before that was written.
func checkWAL(path string) error {
	path += "-wal"
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	err = readWAL(bufio.NewReaderSize(file, 1<<20))
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func readWAL(file io.Reader) error {
	w, ok, err := openWAL(file)
	if err != nil || !ok {
		return err
	}
	broken, sum := 0, w.sum // the first frame whose sum differs, and the sum up to it
	f, ok, err := w.next()
	for n := 1; ok && err == nil; n++ {
		is := f.sumAfter(w.order, sum)
		if broken == 0 && f.salt == w.salt && is == f.sum {
			sum = is
			f, ok, err = w.next()
			continue
		}
		var next frame
		next, ok, err = w.next()
		follows := func(sum walSum) bool {
			return ok && f.commit && next.salt == w.salt && next.sumAfter(w.order, sum) == next.sum
		}
		followed := follows(f.sum)
		if broken == 0 {
			broken = n
			followed = followed || follows(is) // it may be its own sum that is damaged
		}
		if followed {
			return fmt.Errorf("%w: frame %d is not as it was written, and commits follow it", eventstore.ErrCorrupt, broken)
		}
		f = next
	}
	return err
}

// wal is a file whose header was read.
type wal struct {
	file  io.Reader
	order binary.ByteOrder // of the words that are summed up
	salt  [8]byte
	sum   walSum
	bytes [2][]byte // of this frame and of the one before
}

// openWAL reads the header; ok is false where there is none, as of a log that
// was never synced. It lies within a sector, so that it is never half there.
func openWAL(file io.Reader) (w wal, ok bool, err error) {
	var header [walHeader]byte
	if ok, err := readAll(file, header[:]); err != nil || !ok {
		return wal{}, false, err
	}
	if header == [walHeader]byte{} {
		return wal{}, false, nil
	}
	w = wal{file: file, order: binary.LittleEndian, salt: [8]byte(header[16:24])}
	if header[3]&1 != 0 {
		w.order = binary.BigEndian
	}
	w.sum = walSum{}.after(w.order, header[:24])
	const magic, version = 0x377f0682, 3007000
	if binary.BigEndian.Uint32(header[:])&^1 != magic || binary.BigEndian.Uint32(header[4:]) != version || w.sum != readSum(header[24:]) {
		return wal{}, false, fmt.Errorf("%w: its header is not as it was written", eventstore.ErrCorrupt)
	}
	for i := range w.bytes {
		w.bytes[i] = make([]byte, frameHeader+binary.BigEndian.Uint32(header[8:]))
	}
	return w, true, nil
}

// frame is a page as a transaction has changed it, until the next but one is read.
type frame struct {
	bytes  []byte
	commit bool // it is the last one of its transaction
	salt   [8]byte
	sum    walSum // of all frames up to this one, as it stands there
}

// next reads a frame; ok is false behind the last one.
func (w *wal) next() (f frame, ok bool, err error) {
	w.bytes[0], w.bytes[1] = w.bytes[1], w.bytes[0]
	bytes := w.bytes[0]
	if ok, err := readAll(w.file, bytes); err != nil || !ok {
		return frame{}, false, err
	}
	return frame{bytes, binary.BigEndian.Uint32(bytes[4:]) != 0, [8]byte(bytes[8:16]), readSum(bytes[16:])}, true, nil
}

// readAll fills b; ok is false where the file ends before.
func readAll(file io.Reader, b []byte) (ok bool, err error) {
	_, err = io.ReadFull(file, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return err == nil, err
}

// sumAfter is what the sum is to be behind frames whose sum is before.
func (f frame) sumAfter(order binary.ByteOrder, before walSum) walSum {
	return before.after(order, f.bytes[:8]).after(order, f.bytes[frameHeader:])
}

// walSum is SQLite's running sum.
type walSum [2]uint32

func readSum(b []byte) walSum {
	return walSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func (s walSum) after(order binary.ByteOrder, b []byte) walSum {
	if order == binary.LittleEndian { // without an indirect call for each word
		for ; len(b) >= 8; b = b[8:] {
			s[0] += binary.LittleEndian.Uint32(b) + s[1]
			s[1] += binary.LittleEndian.Uint32(b[4:]) + s[0]
		}
		return s
	}
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}
