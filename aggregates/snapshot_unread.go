package aggregates

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// unread are the parts of a restored roster that nobody has asked for yet. Whoever
// asks for somebody, or for a name that somebody may have, has the part read that it
// concerns: a registration that takes no name of another one needs none of them.
type unread struct {
	eventID string
	parts   []Part // by number; without data once they are read
	left    int    // of them
	names   nameTable
}

// at is the participant of an ordinal; nil where one was removed.
func (r *roster) at(n int32) *Participant {
	r.read(int(n) / partSize)
	p := r.inOrder[n]
	if p == nil && r.failed != nil { // what is said of it is not to be relied on
		return &Participant{Ordinal: int(n)}
	}
	return p
}

// named gives the ordinal of whoever has a name.
func (r *roster) named(kind nameKind, name string) (n int32, ok bool) {
	index := r.index(kind)
	if n, ok = index[name]; ok || r.unread == nil || name == "" {
		return n, ok
	}
	for _, part := range r.unread.names.of(sumOf(kind, name)) {
		r.read(part)
	}
	n, ok = index[name]
	return n, ok
}

func (r *roster) index(kind nameKind) map[string]int32 {
	switch kind {
	case idName:
		return r.byID
	case userName:
		return r.byUser
	default:
		return r.byDigest
	}
}

// read reads a part, where it is not yet read.
func (r *roster) read(part int) {
	u := r.unread
	if u == nil || part >= len(u.parts) || u.parts[part].Data == nil {
		return
	}
	from := part * partSize
	list := r.inOrder[from:min(from+partSize, len(r.inOrder))]
	header, err := readPartHeader(u.parts[part].Data)
	if err == nil {
		err = decodeParticipants(header.body, u.eventID, from, list)
	}
	if err != nil {
		r.failed = fmt.Errorf("read part %d of the participants: %w", part, err)
		clear(list)
	}
	for _, p := range list {
		if p == nil {
			continue
		}
		for kind, name := range p.names() {
			index := r.index(nameKind(kind))
			if later, ok := index[name]; name != "" && (!ok || int(later) < p.Ordinal) {
				index[name] = int32(p.Ordinal)
			}
		}
	}
	u.parts[part] = Part{}
	if u.left--; u.left == 0 {
		r.unread = nil
	}
}

// nameKind is one of the names that nobody on an event shares with another one.
type nameKind int

const (
	idName nameKind = iota
	userName
	digestName // of the e-mail address
)

// names are those of p, by their kind; one may be empty.
func (p *Participant) names() [3]string { return [...]string{p.ID, p.UserID, p.EmailDigest} }

// sumOf is a short sum of a name: other names may have the same.
func sumOf(kind nameKind, name string) uint32 {
	const prime = 16777619 // FNV-1a, and behind it the finalizer of MurmurHash3
	h := (2166136261 ^ uint32(kind)) * prime
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * prime
	}
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// partHeader is what is read of a part at once.
type partHeader struct {
	there     int // participants
	confirmed int
	waiting   []waiting
	sums      []byte // of all names, 4 bytes each
	body      []byte // the participants
}

// waiting is somebody in the line.
type waiting struct {
	offset int // of the ordinal, in the part
	line   int64
}

// encodePart writes the participants of the ordinals from on, behind a header.
func encodePart(eventID string, from int, list []*Participant) []byte {
	var h, waits encoder
	there, confirmed, waitlisted := 0, 0, 0
	sums := make([]byte, 0, 12*len(list))
	for i, p := range list {
		if p == nil {
			continue
		}
		there++
		switch p.Status {
		case Confirmed:
			confirmed++
		case Waitlisted:
			waitlisted++
			waits.count(i)
			waits.signed(p.Line)
		}
		for kind, name := range p.names() {
			if name != "" {
				sums = binary.BigEndian.AppendUint32(sums, sumOf(nameKind(kind), name))
			}
		}
	}
	h.count(there)
	h.count(confirmed)
	h.count(waitlisted)
	h.b = append(h.b, waits.b...)
	h.count(len(sums) / 4)
	data := binary.BigEndian.AppendUint32(nil, uint32(len(h.b)))
	data = append(append(data, h.b...), sums...)
	return append(data, encodeParticipants(eventID, from, list)...)
}

// readPartHeader reads what encodePart wrote before the participants.
func readPartHeader(data []byte) (h partHeader, err error) {
	if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) > uint64(len(data)-4) {
		return h, ErrSnapshot
	}
	size := int(binary.BigEndian.Uint32(data)) + 4
	r := decoder{b: string(data[4:size])}
	h.there, h.confirmed = r.number(), r.number()
	h.waiting = make([]waiting, r.count())
	for i := range h.waiting {
		h.waiting[i] = waiting{r.number(), r.signed()}
	}
	sums := r.number()
	if err := r.end("the header of participants"); err != nil {
		return h, err
	}
	if sums > (len(data)-size)/4 {
		return h, ErrSnapshot
	}
	h.sums, h.body = data[size:size+4*sums], data[size+4*sums:]
	return h, nil
}

// nameTable tells in which unread parts a sum is.
type nameTable []nameSlot

type nameSlot struct {
	sum  uint32
	part int32 // counted from 1; 0: nothing is here
}

// crowded is how far from its place a sum may stand.
const crowded = 128

func newNameTable(sums int) nameTable {
	return make(nameTable, 1<<bits.Len(uint(sums+sums/2)))
}

// put notes a sum of a part; it can't where others crowd its place.
func (t nameTable) put(sum uint32, part int) bool {
	slot := nameSlot{sum, int32(part) + 1}
	for i := range uint32(crowded) {
		at := &t[(sum+i)&uint32(len(t)-1)]
		if at.part == 0 {
			*at = slot
		}
		if *at == slot {
			return true
		}
	}
	return false
}

// of gives the parts that have a sum.
func (t nameTable) of(sum uint32) (parts []int) {
	for i := range uint32(crowded) {
		at := t[(sum+i)&uint32(len(t)-1)]
		if at.part == 0 {
			break
		}
		if at.sum == sum {
			parts = append(parts, int(at.part)-1)
		}
	}
	return parts
}
