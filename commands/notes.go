package commands

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
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
// Notes are only ever added, so that the list as it was can be kept beside it.
type notes struct {
	list  []note
	byKey map[digest]int32
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
	if len(n.list) == 0 {
		return note{}, false
	}
	i, ok := n.byKey[digestOf(key)]
	if !ok {
		return note{}, false
	}
	return n.list[i], true
}

// notesInPart is how many notes have a part of a snapshot of their own.
const notesInPart = 1024

// grow makes room for so many more.
func (n *notes) grow(more int) {
	n.list = slices.Grow(n.list, more)
	if n.byKey == nil {
		n.byKey = make(map[digest]int32, more)
	}
}

// noteParts gives the parts of a snapshot that list makes; those of the first whole
// parts before are known by their ids.
func noteParts(list []note, before []aggregates.PartID, notesBefore int) []aggregates.Part {
	var parts []aggregates.Part
	for from := 0; from < len(list); from += notesInPart {
		if n := len(parts); from+notesInPart <= notesBefore && n < len(before) {
			parts = append(parts, aggregates.Part{ID: before[n]})
			continue
		}
		data := encodeNotes(list[from:min(from+notesInPart, len(list))])
		parts = append(parts, aggregates.Part{ID: aggregates.PartIDOf(data), Data: data})
	}
	return parts
}

func encodeNotes(list []note) []byte {
	data := make([]byte, 0, 40*len(list))
	revision, at := int64(0), int64(0)
	for _, n := range list {
		data = append(append(data, n.key[:]...), n.body[:]...)
		data = binary.AppendVarint(data, n.revision-revision)
		data = binary.AppendVarint(data, n.at.UnixMicro()-at)
		revision, at = n.revision, n.at.UnixMicro()
	}
	return data
}

var errNotes = errors.New("not a list of keyed requests")

func decodeNotes(data []byte, each func(note)) error {
	revision, at := int64(0), int64(0)
	for len(data) > 0 {
		var one note
		if len(data) < len(one.key)+len(one.body) {
			return errNotes
		}
		data = data[copy(one.key[:], data):]
		data = data[copy(one.body[:], data):]
		for _, to := range []*int64{&revision, &at} {
			more, n := binary.Varint(data)
			if n <= 0 {
				return errNotes
			}
			*to, data = *to+more, data[n:]
		}
		one.revision, one.at = revision, time.UnixMicro(at).UTC()
		each(one)
	}
	return nil
}
