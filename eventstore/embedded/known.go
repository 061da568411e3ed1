package embedded

// known tells of most hashes that are not in the index that they aren't, without a
// search: of those of new streams, and of streams that have no metadata. It is a
// list of Bloom filters, each as large as all before it together.
type known struct {
	filters []filter
	room    int // how many hashes the last filter still takes
}

type filter []uint64

const (
	firstFilter    = 1 << 16 // hashes
	bitsPerHash    = 16
	probesPerHash  = 4 // with it, about one hash in 400 is taken for known that isn't
	bitsPerElement = 64
)

func (k *known) add(hash int64) {
	if k.may(hash) {
		return
	}
	if k.room == 0 {
		k.room = firstFilter << max(0, len(k.filters)-1)
		k.filters = append(k.filters, make(filter, k.room*bitsPerHash/bitsPerElement))
	}
	k.room--
	last := k.filters[len(k.filters)-1]
	last.probes(hash, func(element, bit uint64) bool {
		last[element] |= bit
		return true
	})
}

// may is false where hash was never added.
func (k *known) may(hash int64) bool {
	for _, f := range k.filters {
		all := true
		f.probes(hash, func(element, bit uint64) bool {
			all = f[element]&bit != 0
			return all
		})
		if all {
			return true
		}
	}
	return false
}

func (f filter) probes(hash int64, yield func(element, bit uint64) bool) {
	h := mix(uint64(hash))
	step := h>>32 | 1
	for range probesPerHash {
		n := h % uint64(len(f)*bitsPerElement)
		if !yield(n/bitsPerElement, 1<<(n%bitsPerElement)) {
			return
		}
		h += step
	}
}
