package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// provider is where messages arrive: the console channel writes each as one
// line, with the notification's id as its key, to a file of the provider's, a new
// one for each start of the service. The kernel has the line when the write
// returns, so that a kill takes nothing back; and the size of the file tells,
// without a clock, what was delivered before a request was answered and what
// after it.
type provider struct {
	dir string
	// window is for services that deliver side by side. Then moments are by the
	// clock, and what is acknowledged holds for messages only after this long: a
	// change doesn't wait for what another instance is just handing over.
	window time.Duration
	// taken counts what arrived so far, where messages go to a simulator instead.
	// Then moments are by that.
	taken func() int64
	env   []string // of the service

	mu    sync.Mutex
	boots []*delivered
}

func newProvider(t *testing.T) *provider {
	dir, err := os.MkdirTemp(t.ArtifactDir(), "run-") //nolint:usetesting // it is one of the artifacts
	require.NoError(t, err)
	return &provider{dir: dir}
}

// moment is a point in what is delivered: so many bytes by this start of the service.
type moment struct {
	boot   int
	offset int64
}

func (m moment) before(o moment) bool {
	return m.boot < o.boot || (m.boot == o.boot && m.offset < o.offset)
}

// delivered is what one start of the service delivers.
type delivered struct {
	boot int
	path string
	file *os.File // stays open, as its size is asked for after each answer

	halt     chan struct{}
	halted   sync.WaitGroup
	stopOnce sync.Once
	mu       sync.Mutex
	seen     []arrival
	lines    int // messages
}

// arrival: at this time the file had this size already.
type arrival struct {
	size int64
	at   time.Time
}

// receive opens the file for the next start of the service.
func (p *provider) receive(t *testing.T) *delivered {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &delivered{boot: len(p.boots) + 1, halt: make(chan struct{})}
	d.path = filepath.Join(p.dir, fmt.Sprintf("deliveries-%d.jsonl", d.boot))
	var err error
	d.file, err = os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_RDWR, 0o600)
	require.NoError(t, err)
	p.boots = append(p.boots, d)
	d.halted.Go(d.watch)
	return d
}

// watch notes when the file grows.
func (d *delivered) watch() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	last := int64(0)
	for ended := false; ; {
		if size := d.size(); size > last {
			now := time.Now()
			grown := make([]byte, size-last)
			_, _ = d.file.ReadAt(grown, last)
			last = size
			d.mu.Lock()
			d.seen = append(d.seen, arrival{size, now})
			d.lines += bytes.Count(grown, []byte(`{"notification_id"`))
			d.mu.Unlock()
		}
		if ended {
			return
		}
		select {
		case <-tick.C:
		case <-d.halt:
			ended = true // and one more look
		}
	}
}

func (d *delivered) size() int64 {
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// stop ends watching; the service has ended.
func (d *delivered) stop() {
	d.stopOnce.Do(func() {
		close(d.halt)
		d.halted.Wait()
		_ = d.file.Close()
	})
}

// count is about how many messages were delivered so far.
func (d *delivered) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines
}

// now is the present moment.
func (p *provider) now() moment {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken != nil {
		return moment{offset: p.taken()}
	}
	if p.window > 0 {
		return moment{offset: time.Now().UnixNano()}
	}
	if len(p.boots) == 0 {
		return moment{}
	}
	d := p.boots[len(p.boots)-1]
	return moment{d.boot, d.size()}
}

// acknowledged is the moment from which on an answer that has just come holds.
func (p *provider) acknowledged() moment {
	m := p.now()
	m.offset += int64(p.window)
	return m
}

// message is a line of the console channel.
type message struct {
	Notification string `json:"notification_id"`
	Channel      string `json:"channel"`
	To           string `json:"to"`
	Attempt      int    `json:"attempt"`
	Text         string `json:"message"`

	at   moment    // where it begins, or when it had been seen
	seen time.Time // it had been delivered by then
}

// messages reads what was delivered. A line without its end was cut off by a
// kill: no provider would have taken it.
func (d *delivered) messages(t *testing.T) (all []message) {
	said, err := os.ReadFile(d.path)
	require.NoError(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	next := 0
	for offset := int64(0); ; {
		line, rest, whole := bytes.Cut(said, []byte("\n"))
		if !whole {
			return all
		}
		said = rest
		begin := offset
		offset += int64(len(line)) + 1
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		m := message{at: moment{d.boot, begin}}
		require.NoError(t, json.Unmarshal(line, &m), "%s", line)
		require.NotEmpty(t, m.Notification, "%s", line)
		for next < len(d.seen) && d.seen[next].size < offset {
			next++
		}
		if next < len(d.seen) {
			m.seen = d.seen[next].at
		}
		all = append(all, m)
	}
}

// messages reads what all starts of the service delivered.
func (p *provider) messages(t *testing.T) (all []message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.boots {
		all = append(all, d.messages(t)...)
	}
	if p.window > 0 {
		for i, m := range all {
			all[i].at = moment{offset: m.seen.UnixNano()}
		}
	}
	return all
}
