package embedded

// tally is what an index over the first records must hold: how many entries, and
// a sum over them that doesn't depend on their order. With it, the index alone has
// to be read to know that it hides nothing: SQLite's pages have no sums, and a
// record that the index hides would be missed by nobody when it is the last of its
// stream.
type tally struct {
	records int64
	sum     uint64
}

func (t *tally) add(e entry) {
	t.records++
	t.sum += mix(mix(mix(uint64(e.hash))+uint64(e.revision)) + uint64(e.position))
}

// mix is the finalizer of SplitMix64: each bit of x changes about half of the bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
