package commands

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// digest is that of a request's key or body.
type digest [16]byte

// digestOf reads a digest as shortDigest wrote it; of any other text it makes one.
func digestOf(s string) (d digest) {
	if b, err := base64.RawURLEncoding.Strict().DecodeString(s); err == nil && len(b) == len(d) {
		return digest(b)
	}
	sum := sha256.Sum256([]byte(s))
	return digest(sum[:16])
}

// note is what a stream remembers of a keyed request.
type note struct {
	key, body digest
	revision  int64 // of its last fact
	at        time.Time
}

// notes are all that a stream remembers of keyed requests, in their order.
// Notes are only ever added, so that they can be kept as they were beside it.
type notes struct {
	parts []aggregates.Part // of the first ones, as they were read from a snapshot
	list  []note            // those behind them
	byKey map[digest]int32  // of list
}

func (n *notes) add(r events.Request, revision int64, at time.Time) {
	n.put(note{key: digestOf(r.Key), body: digestOf(r.Body), revision: revision, at: at})
}

func (n *notes) put(one note) {
	if n.byKey == nil {
		n.byKey = map[digest]int32{}
	}
	n.byKey[one.key] = int32(len(n.list))
	n.list = append(n.list, one)
}

func (n *notes) find(key string) (note, bool) {
	if len(n.list)+len(n.parts) == 0 {
		return note{}, false
	}
	d := digestOf(key)
	if i, ok := n.byKey[d]; ok {
		return n.list[i], true
	}
	for _, p := range n.parts {
		if one, ok := findNote(p.Data, d); ok {
			return one, true
		}
	}
	return note{}, false
}

// len is how many there are.
func (n *notes) len() int { return len(n.parts)*notesInPart + len(n.list) }

// frozen is n as it is now: it doesn't change with it.
func (n *notes) frozen() notes {
	return notes{parts: n.parts, list: n.list[:len(n.list):len(n.list)]}
}

// notesInPart is how many notes have a part of a snapshot of their own.
const notesInPart = 1024

// inParts gives the parts of a snapshot that n makes; those of the first whole
// parts before are known by their ids.
func (n *notes) inParts(before []aggregates.PartID, notesBefore int) []aggregates.Part {
	whole := notesBefore / notesInPart
	parts := make([]aggregates.Part, 0, n.len()/notesInPart+1)
	for _, p := range n.parts {
		if i := len(parts); i < whole && i < len(before) && before[i] == p.ID {
			p.Data = nil
		}
		parts = append(parts, p)
	}
	for list := range slices.Chunk(n.list, notesInPart) {
		if i := len(parts); i < whole && i < len(before) {
			parts = append(parts, aggregates.Part{ID: before[i]})
			continue
		}
		data := encodeNotes(list)
		parts = append(parts, aggregates.Part{ID: aggregates.PartIDOf(data), Data: data})
	}
	return parts
}

// noteSize is how many bytes a note takes in a part, in which they stand in the order
// of their keys: one is found without reading the others.
const noteSize = 16 + 16 + 8 + 8

func encodeNotes(list []note) []byte {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b note) int { return bytes.Compare(a.key[:], b.key[:]) })
	data := make([]byte, 0, noteSize*len(list))
	for _, n := range list {
		data = append(append(data, n.key[:]...), n.body[:]...)
		data = binary.BigEndian.AppendUint64(data, uint64(n.revision))
		data = binary.BigEndian.AppendUint64(data, uint64(n.at.UnixMicro()))
	}
	return data
}

// noteAt reads note i of a part.
func noteAt(data []byte, i int) (n note) {
	data = data[i*noteSize:]
	copy(n.key[:], data)
	copy(n.body[:], data[16:])
	n.revision = int64(binary.BigEndian.Uint64(data[32:]))
	n.at = time.UnixMicro(int64(binary.BigEndian.Uint64(data[40:]))).UTC()
	return n
}

func findNote(data []byte, key digest) (note, bool) {
	keyAt := func(i int) []byte { return data[i*noteSize : i*noteSize+len(key)] }
	count := len(data) / noteSize
	i := sort.Search(count, func(i int) bool { return bytes.Compare(keyAt(i), key[:]) >= 0 })
	if i == count || !bytes.Equal(keyAt(i), key[:]) {
		return note{}, false
	}
	return noteAt(data, i), true
}

var errNotes = errors.New("not a list of keyed requests")

// notesOf are the notes in the parts of a snapshot.
func notesOf(parts []aggregates.Part) (n notes, err error) {
	for i, p := range parts {
		count := len(p.Data) / noteSize
		switch {
		case count*noteSize != len(p.Data), count > notesInPart, count < notesInPart && i < len(parts)-1:
			return notes{}, errNotes
		case count == notesInPart:
			n.parts = append(n.parts, p)
			continue
		}
		list := make([]note, count)
		for i := range list {
			list[i] = noteAt(p.Data, i)
		}
		slices.SortFunc(list, func(a, b note) int { return cmp.Compare(a.revision, b.revision) })
		for _, one := range list {
			n.put(one)
		}
	}
	return n, nil
}
