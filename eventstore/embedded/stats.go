package embedded

import (
	"sync"
	"time"
)

// Stats counts since the log was opened.
type Stats struct {
	Appends     uint64        // appends that wrote records and were answered with success
	Records     uint64        // records that they wrote
	Syncs       uint64        // commits, each of which waits for the disk once
	LastBatch   int           // appends that shared the last commit
	SyncTime    time.Duration // spent in commits, in total
	Failures    uint64        // how often writing failed and the file was opened anew
	Checkpoints uint64        // how often the WAL was moved over and begun anew
}

type stats struct {
	mu sync.Mutex
	Stats
}

func (s *stats) change(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.Stats)
}

// Stats returns what was counted up to now.
func (l *Log) Stats() Stats {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	return l.stats.Stats
}
