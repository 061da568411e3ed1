package aggregates

// Opened is e with all contacts read, so that it can be compared with one that was folded.
func (e *Event) Opened() *Event {
	for p := range e.Participants() {
		_ = p
	}
	e.contacts = nil
	return e
}

// InPartsOf has snapshots made in parts of so many participants until the end is called.
func InPartsOf(n int) (end func()) {
	before := partSize
	partSize = n
	return func() { partSize = before }
}
