package reminders

// turns is how often facts are planned that have come before large events have a turn too.
const turns = 4

// beside are the slices of large events that are planned while all else goes on:
// who has just come doesn't wait for them. It is used by one goroutine.
type beside struct {
	large  map[string]bool // events that were seen in the middle of being planned
	busy   map[string]bool // those whose slices are under way; nil: none are
	done   chan error      // nil while none are
	passed int             // how often facts went before
}

// begin does the slices of works beside.
func (b *beside) begin(works []work, do func([]work) error) {
	b.busy, b.done, b.passed = make(map[string]bool, len(works)), make(chan error, 1), 0
	for _, w := range works {
		b.busy[w.event] = true
	}
	done := b.done
	go func() { done <- do(works) }()
}

// ended takes note of what became of the slices.
func (b *beside) ended(err error) error {
	b.busy, b.done = nil, nil
	return err
}

// look ends what is done. Works are to be read after it: those read before may be over.
func (b *beside) look() error {
	select {
	case err := <-b.done:
		return b.ended(err)
	default:
		return nil
	}
}

// wait waits until nothing is under way.
func (b *beside) wait() error {
	if b.done == nil {
		return nil
	}
	return b.ended(<-b.done)
}

// part parts the works that have just come from those of large events that can
// be gone on with; all tells that works are all that there are.
func (b *beside) part(works []work, all bool) (fresh, large []work) {
	if all || b.large == nil {
		b.large = map[string]bool{}
	}
	for _, w := range works {
		switch {
		case b.busy[w.event]:
			b.large[w.event] = true
		case w.fresh():
			fresh = append(fresh, w)
		default:
			b.large[w.event] = true
			large = append(large, w)
		}
	}
	return fresh[:min(len(fresh), abreast)], large[:min(len(large), abreast)]
}

// may tells whether large events have a turn: while no facts wait, and now and then
// all the same.
func (b *beside) may(factsWait bool) bool {
	if b.done != nil {
		return false
	}
	if factsWait {
		b.passed++
	}
	return !factsWait || b.passed >= turns
}
