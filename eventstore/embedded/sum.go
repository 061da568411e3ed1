package embedded

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/google/uuid"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is what stands in the column of that name: a CRC-32C of all that a record
// is, so that a bit that a disk has lost is told from what was appended. SQLite
// itself has no sums in its pages.
func sum(position int64, stream string, revision, appended int64, id uuid.UUID, kind string, data, metadata []byte, created int64) int64 {
	var head [6 * 8]byte
	for i, n := range []int64{position, revision, appended, created, int64(len(stream))<<32 | int64(len(kind)), int64(len(data))} {
		binary.LittleEndian.PutUint64(head[8*i:], uint64(n))
	}
	crc := crc32.Update(0, castagnoli, head[:])
	for _, part := range [][]byte{[]byte(stream), id[:], []byte(kind), data, metadata} {
		crc = crc32.Update(crc, castagnoli, part)
	}
	return int64(crc)
}
