package aggregates

import "sort"

// advance says that everybody behind a place in the line moved up.
type advance struct {
	behind int64 // Participant.Line of who left
	at     Stamp
}

// advances are when those who wait last moved up. A later one holds for all
// behind its place, so that older ones matter only to places before it: they are
// in the order of places and of time both.
type advances []advance

// of tells when p, who waits, last moved up.
func (a advances) of(p *Participant) (Stamp, bool) {
	i := sort.Search(len(a), func(i int) bool { return a[i].behind >= p.Line })
	if i == 0 {
		return Stamp{}, false
	}
	return a[i-1].at, true
}

// left notes that the place line became free; before is the place of the next
// who waits before it, 0 where none does. What nobody goes by any more is forgotten.
func (a *advances) left(line, before int64, behind bool, at Stamp) {
	kept := *a
	for len(kept) > 0 && kept[len(kept)-1].behind >= before {
		kept = kept[:len(kept)-1]
	}
	if behind {
		kept = append(kept, advance{line, at})
	}
	if len(kept) == 0 {
		kept = nil
	}
	*a = kept
}
