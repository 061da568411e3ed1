package aggregates

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrSnapshot says that a snapshot is not what a state was written as.
var ErrSnapshot = errors.New("aggregates: not a snapshot of this version")

// encoder writes a state in the plainest form that is small: numbers as varints,
// text behind its length.
type encoder struct{ b []byte }

func (w *encoder) unsigned(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *encoder) count(n int)       { w.unsigned(uint64(n)) }
func (w *encoder) signed(n int64)    { w.b = binary.AppendVarint(w.b, n) }

func (w *encoder) flag(set bool) {
	if set {
		w.unsigned(1)
	} else {
		w.unsigned(0)
	}
}

func (w *encoder) text(s string) {
	w.count(len(s))
	w.b = append(w.b, s...)
}

func (w *encoder) texts(list []string) {
	if list == nil {
		w.count(0)
		return
	}
	w.count(len(list) + 1)
	for _, s := range list {
		w.text(s)
	}
}

// The forms of an id.
const (
	idText = iota
	idUUID
	idDigest // 16 bytes in base64, without padding
)

// id writes text that mostly is a UUID or a digest.
func (w *encoder) id(s string) {
	switch len(s) {
	case 36:
		if id, err := uuid.Parse(s); err == nil && id.String() == s {
			w.b = append(append(w.b, idUUID), id[:]...)
			return
		}
	case 22:
		if digest, err := base64.RawURLEncoding.Strict().DecodeString(s); err == nil {
			w.b = append(append(w.b, idDigest), digest...)
			return
		}
	}
	w.b = append(w.b, idText)
	w.text(s)
}

// The forms of a time.
const (
	timeZero = iota
	timeMicros
	timeOther
)

func (w *encoder) time(t time.Time) {
	switch {
	case t.IsZero() && t.Location() == time.UTC:
		w.b = append(w.b, timeZero)
	case t.Location() == time.UTC && t.Nanosecond()%1000 == 0:
		w.b = append(w.b, timeMicros)
		w.signed(t.UnixMicro())
	default:
		w.b = append(w.b, timeOther)
		data, _ := t.MarshalBinary() // it only fails for zones that no fact can name
		w.text(string(data))
	}
}

func (w *encoder) stamp(at Stamp) {
	w.signed(at.Revision)
	w.time(at.At)
}

// decoder reads what encoder wrote. Its first error stays, and all that is
// read after it is zero.
type decoder struct {
	b   string
	err error
	ids strings.Builder // text of ids, many to an allocation
}

func (r *decoder) fail() {
	if r.err == nil {
		r.err = ErrSnapshot
	}
	r.b = ""
}

func (r *decoder) byte() byte {
	if r.b == "" {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *decoder) unsigned() uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	r.fail()
	return 0
}

// count reads how many of something follow, each of which takes a byte at least.
func (r *decoder) count() int {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// number reads a number that is no count.
func (r *decoder) number() int {
	n := r.unsigned()
	if n > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *decoder) signed() int64 {
	n := r.unsigned()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *decoder) flag() bool {
	n := r.unsigned()
	if n > 1 {
		r.fail()
	}
	return n == 1
}

func (r *decoder) bytes(n int) string {
	if n > len(r.b) {
		r.fail()
		return ""
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *decoder) text() string { return r.bytes(r.count()) }

func (r *decoder) texts() []string {
	n := r.unsigned()
	if n == 0 || n-1 > uint64(len(r.b)) {
		if n > 0 {
			r.fail()
		}
		return nil
	}
	list := make([]string, n-1)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func (r *decoder) id() string {
	var long [36]byte
	switch r.byte() {
	case idText:
		return r.text()
	case idUUID:
		id := r.bytes(16)
		if r.err != nil {
			return ""
		}
		raw := []byte(id)
		hex.Encode(long[:], raw[:4])
		hex.Encode(long[9:], raw[4:6])
		hex.Encode(long[14:], raw[6:8])
		hex.Encode(long[19:], raw[8:10])
		hex.Encode(long[24:], raw[10:])
		long[8], long[13], long[18], long[23] = '-', '-', '-', '-'
		return r.keep(long[:])
	case idDigest:
		base64.RawURLEncoding.Encode(long[:22], []byte(r.bytes(16)))
		return r.keep(long[:22])
	}
	r.fail()
	return ""
}

func (r *decoder) keep(text []byte) string {
	if r.err != nil {
		return ""
	}
	before := r.ids.Len()
	r.ids.Write(text)
	return r.ids.String()[before:]
}

func (r *decoder) time() time.Time {
	switch r.byte() {
	case timeZero:
		return time.Time{}
	case timeMicros:
		return time.UnixMicro(r.signed()).UTC()
	case timeOther:
		var t time.Time
		if err := t.UnmarshalBinary([]byte(r.text())); err == nil {
			return t
		}
	}
	r.fail()
	return time.Time{}
}

func (r *decoder) stamp() Stamp { return Stamp{Revision: r.signed(), At: r.time()} }

// end tells whether all was read and nothing is left over.
func (r *decoder) end(what string) error {
	if r.err == nil && r.b != "" {
		r.err = ErrSnapshot
	}
	if r.err != nil {
		return fmt.Errorf("%s: %w", what, r.err)
	}
	return nil
}
