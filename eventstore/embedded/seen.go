package embedded

import "sync"

// seenEnds are where streams ended when somebody read them, as a rule to append
// to them next: so the writer need not look again.
type seenEnds struct {
	mu   sync.Mutex
	ends map[string]seenEnd
}

// seenEnd is the revision that a stream ended at; log is a position up to which all
// records were seen.
type seenEnd struct{ revision, log int64 }

// maxSeen bounds seenEnds, to about a megabyte.
const maxSeen = 8192

func newSeenEnds() *seenEnds { return &seenEnds{ends: map[string]seenEnd{}} }

func (s *seenEnds) put(stream string, end seenEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ends) >= maxSeen {
		clear(s.ends)
	}
	s.ends[stream] = end
}

func (s *seenEnds) take(stream string) (seenEnd, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, ok := s.ends[stream]
	delete(s.ends, stream)
	return end, ok
}
