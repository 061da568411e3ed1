package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is what the clients of a service that is killed know to have happened:
// each request before it goes out, each answer before anything follows from it.
// It is on disk before the next step, so that a test which dies can be read too.
type ledger struct {
	t    *testing.T
	path string
	boot atomic.Int64 // how often the service was started

	mu    sync.Mutex
	file  *os.File
	count tally
	lost  []string // what was acknowledged and isn't there
}

// tally counts what a ledger holds.
type tally struct {
	asked        int // requests that write, repetitions apart
	acknowledged int
	refused      int
	unanswered   int // by a kill
	found        int // of these, done before the kill, as their repetition showed
	repeated     int // acknowledged ones, asked again
	checked      int // looks at what was acknowledged
}

// entry is a line of the file.
type entry struct {
	At     time.Time
	Boot   int64
	Client string
	What   string // "ask", "answer" or "no answer"
	Method string
	Path   string
	Key    string `json:",omitempty"`
	Body   any    `json:",omitempty"`
	Status int    `json:",omitempty"`
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{t: t, path: filepath.Join(t.ArtifactDir(), "ledger.jsonl")}
	var err error
	l.file, err = os.Create(l.path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.file.Close() })
	return l
}

// write puts e on disk and counts.
func (l *ledger) write(e entry, count func(*tally)) error {
	e.At, e.Boot = time.Now(), l.boot.Load()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	count(&l.count)
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return l.file.Sync()
}

func (l *ledger) counts() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

func (l *ledger) note(count func(*tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count(&l.count)
}

// lose reports something acknowledged that isn't as it was acknowledged.
func (l *ledger) lose(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, fmt.Sprintf(format, args...))
}

// span is when something was asked for and when, and by which start of the
// service, it was acknowledged. The zero span has not been.
type span struct {
	from, to time.Time
	boot     int64
}

func (s span) is() bool { return !s.to.IsZero() }

// happening is an event as its client knows it.
type happening struct {
	id, title     string
	capacity      int // 0: any number
	starts        []schedule
	people        []*person // in the order of their registration
	reminders     []*rule
	announcements []*announced
	deleted       span
}

// schedule is a start that an event has or had.
type schedule struct {
	at       time.Time
	set      span
	replaced span
}

type person struct {
	id, user  string
	joined    span
	confirmed span // since when they have a seat
	declined  span
	removed   span
}

// gone is since when they are not coming; who declined is not removed as well.
func (p *person) gone() span {
	if p.removed.is() {
		return p.removed
	}
	return p.declined
}

// rule is a reminder at the event's start.
type rule struct {
	id             string
	added, removed span
}

type announced struct {
	id string
	to []*person
}

func (h *happening) start() *schedule { return &h.starts[len(h.starts)-1] }

// registered gives those who are on the event, the declined too.
func (h *happening) registered() (there []*person) {
	for _, p := range h.people {
		if !p.removed.is() {
			there = append(there, p)
		}
	}
	return there
}

// coming gives those who have or wait for a seat.
func (h *happening) coming() (there []*person) {
	for _, p := range h.people {
		if !p.gone().is() {
			there = append(there, p)
		}
	}
	return there
}

// seat gives free seats to those who are next in the line.
func (h *happening) seat(when span) {
	for i, p := range h.coming() {
		if (h.capacity == 0 || i < h.capacity) && !p.confirmed.is() {
			p.confirmed = when
		}
	}
}
