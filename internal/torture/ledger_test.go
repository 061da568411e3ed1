package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is what the clients of a tortured service know to have happened: each
// request before it goes out, each answer before anything follows from it. It is
// on disk before the next step, so that a test which dies can be read too.
type ledger struct {
	path     string
	provider *provider

	mu      sync.Mutex
	file    *os.File
	written int64 // entries
	count   tally
	faults  map[fault][]string

	syncing sync.Mutex
	synced  int64 // entries on disk
}

// fault is a way in which the law of reminders is broken.
type fault string

const (
	lost      fault = "lost"      // acknowledged and gone, or due and nowhere
	early     fault = "early"     // sent before its time
	phantom   fault = "phantom"   // sent after what makes it unwanted was acknowledged, or never asked for
	gap       fault = "gap"       // in the log's positions or a stream's revisions
	diverged  fault = "diverged"  // rows that differ from those of a rebuild
	duplicate fault = "duplicate" // one key accepted twice, and no outcome was unknown
)

// tally counts what a ledger holds.
type tally struct {
	asked        int // requests that write, repetitions apart
	acknowledged int
	refused      int
	unavailable  int // answers 503 and 429, which were asked again
	unanswered   int // by a fault
	found        int // of these, done before the fault, as their repetition showed
	repeated     int // acknowledged ones, asked again
	checked      int // looks at what was acknowledged

	delivered int
	inDoubt   int // keys delivered more than once, each time after an unknown outcome
	overtaken int // sends that a change was acknowledged during, after it had waited its second
}

// entry is a line of the file.
type entry struct {
	At     time.Time
	Client string
	What   string // "ask", "answer" or "no answer"
	Method string
	Path   string
	Key    string `json:",omitempty"`
	Body   any    `json:",omitempty"`
	Status int    `json:",omitempty"`
}

func newLedger(t *testing.T, p *provider) *ledger {
	l := &ledger{path: filepath.Join(p.dir, "ledger.jsonl"), provider: p, faults: map[fault][]string{}}
	var err error
	l.file, err = os.Create(l.path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.file.Close() })
	return l
}

// write puts e on disk, together with what others write meanwhile, and counts.
func (l *ledger) write(e entry, count func(*tally)) error {
	e.At = time.Now()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	number, err := l.append(line, count)
	if err != nil {
		return err
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.synced >= number {
		return nil
	}
	l.mu.Lock()
	written := l.written
	l.mu.Unlock()
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.synced = written
	return nil
}

func (l *ledger) append(line []byte, count func(*tally)) (number int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count(&l.count)
	l.written++
	_, err = l.file.Write(append(line, '\n'))
	return l.written, err
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

// blame reports a fault.
func (l *ledger) blame(what fault, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults[what] = append(l.faults[what], fmt.Sprintf(format, args...))
}

// clean expects that there is no fault.
func (l *ledger) clean(t *testing.T, when string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var said []string
	for what, all := range l.faults {
		said = append(said, fmt.Sprintf("%d %s:\n  %s", len(all), what, strings.Join(all[:min(len(all), 3)], "\n  ")))
	}
	slices.Sort(said)
	require.True(t, len(said) == 0, "%s; the ledger is %s (kept by go test -artifacts)\n%s", when, l.path, strings.Join(said, "\n"))
}

// tell shows what was counted, with the bound that so many clean trials give: were
// the fault in one of n trials, 3n clean ones would be seen by chance 5 times of 100.
func (l *ledger) tell(t *testing.T, trials int, of string) {
	t.Helper()
	n := l.counts()
	t.Logf("%d %s: %d lost, %d early, %d phantom, %d gap, %d diverged, %d duplicate: each below %.2g for one of them (three in N)",
		trials, of, len(l.faults[lost]), len(l.faults[early]), len(l.faults[phantom]), len(l.faults[gap]), len(l.faults[diverged]),
		len(l.faults[duplicate]), 3/float64(max(trials, 1)))
	t.Logf("%d delivered, %d of them again in doubt, %d overtaken; %d writes asked for, %d acknowledged, %d refused, %d told to come again, "+
		"%d unanswered, %d of these found done; %d answered ones repeated; %d looks", n.delivered, n.inDoubt, n.overtaken,
		n.asked, n.acknowledged, n.refused, n.unavailable, n.unanswered, n.found, n.repeated, n.checked)
}

// span is when something was asked for and when it was acknowledged. The zero
// span has not been.
type span struct {
	from, to     time.Time
	asked, acked moment
}

func (s span) is() bool { return !s.to.IsZero() }

// during tells whether t is a time at which it was done.
func (s span) during(t time.Time) bool { return s.is() && !t.Before(s.from) && !t.After(s.to) }

// covers tells whether m came after s was acknowledged, and before until was asked for.
func (s span) covers(m moment, until span) bool {
	return s.is() && !m.before(s.acked) && (!until.is() || m.before(until.asked))
}

// happening is an event as its client knows it.
type happening struct {
	id, title     string
	capacity      int // 0: any number
	starts        []*schedule
	people        []*person // in the order of their registration
	reminders     []*rule
	announcements []*announced
	cancelled     span
	deleted       span
	crowd         bool // not one to do anything at random to
}

// schedule is a start that an event has or had.
type schedule struct {
	at       time.Time
	set      span
	replaced span
}

// due is when a reminder of this start is due.
func (s *schedule) due(r *rule) time.Time { return s.at.Add(-r.before) }

// planned tells whether a reminder of p may be due then by this start, the last
// one: where it is set or accepted when its reminder's time has passed, they are
// reminded at once.
func (s *schedule) planned(r *rule, p *person, due time.Time) bool {
	late := s.set.during(due)
	for _, a := range p.away {
		late = late || (s.set.from.Before(a.accepted.to) && a.accepted.during(due))
	}
	return due.Equal(s.due(r)) || (late && due.After(s.due(r)))
}

type person struct {
	id, user  string
	joined    span
	confirmed span   // since when they have a seat
	away      []away // what they declined and accepted
	removed   span
}

// away is a time of not coming.
type away struct{ declined, accepted span }

// coming tells whether they have or wait for a seat.
func (p *person) coming() bool { return !p.removed.is() && !p.declined() }

func (p *person) declined() bool {
	return len(p.away) > 0 && !p.away[len(p.away)-1].accepted.is()
}

// rule is a reminder, so long before the event's start.
type rule struct {
	id             string
	before         time.Duration
	added, removed span
}

type announced struct {
	id string
	to []*person
}

func (h *happening) start() *schedule { return h.starts[len(h.starts)-1] }

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
		if p.coming() {
			there = append(there, p)
		}
	}
	return there
}

// rules gives the reminders that hold.
func (h *happening) rules() (kept []*rule) {
	for _, r := range h.reminders {
		if !r.removed.is() {
			kept = append(kept, r)
		}
	}
	return kept
}

// seat gives free seats to those who are next in the line.
func (h *happening) seat(when span) {
	for i, p := range h.coming() {
		if (h.capacity == 0 || i < h.capacity) && !p.confirmed.is() {
			p.confirmed = when
		}
	}
}
