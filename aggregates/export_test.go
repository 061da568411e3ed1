package aggregates

// Opened is e with all contacts read, so that it can be compared with one that was folded.
func (e *Event) Opened() *Event {
	for p := range e.Participants() {
		_ = p
	}
	e.contacts = nil
	return e
}
