package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testAdmin = "admin-token-of-the-tests"

// far is not during a test.
const far = 48 * time.Hour

// patience is how long a test waits for what is to come soon.
const patience = 5 * time.Minute

var binary struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binary.dir != "" {
		_ = os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// built gives the path of the real binary, which is built once.
func built(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		binary.dir, binary.err = os.MkdirTemp("", "belltower-test-") //nolint:usetesting // it outlives the test that comes first
		if binary.err != nil {
			return
		}
		// Other users are to run it too: see the test of a folder that can't be written.
		if binary.err = os.Chmod(binary.dir, 0o755); binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir, "belltower.exe")
		args := []string{"build", "-o", binary.path}
		if raced {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	require.NoError(t, binary.err)
	return binary.path
}

// text gathers what a process writes; who waits for something hears of each change.
type text struct {
	mu      sync.Mutex
	all     strings.Builder
	changed chan struct{}
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	return len(p), nil
}

func (w *text) String() string {
	s, _ := w.now()
	return s
}

func (w *text) now() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.all.String(), w.changed
}

// process is the binary at work.
type process struct {
	cmd      *exec.Cmd
	url      string
	out, err text
	ended    chan struct{}
	waited   error // of cmd.Wait, once ended is closed

	writes sync.Mutex
	wrote  string // Consistency-Token of the last write
}

// launchOptions say how a binary is started.
type launchOptions struct {
	args   []string
	env    []string
	stdout io.Writer           // in place of process.out
	change func(cmd *exec.Cmd) // before it starts
}

// launch starts the binary with no more of the environment than it needs.
func launch(t *testing.T, o launchOptions) *process {
	t.Helper()
	p := &process{cmd: exec.Command(built(t), o.args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"), "GORACE=halt_on_error=1 atexit_sleep_ms=0"}, o.env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if o.stdout != nil {
		p.cmd.Stdout = o.stdout
	}
	if o.change != nil {
		o.change(p.cmd)
	}
	require.NoError(t, p.cmd.Start())
	go func() {
		p.waited = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// serving starts serve on a folder and waits for its address.
func serving(t *testing.T, folder string, env ...string) *process {
	t.Helper()
	p := launch(t, launchOptions{
		args: []string{"serve", "--listen", "127.0.0.1:0", "--data", folder},
		env:  append([]string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin}, env...),
	})
	p.await(t)
	return p
}

// await waits until p has said its address.
func (p *process) await(t *testing.T) {
	t.Helper()
	said := p.says(t, &p.out, "delivers to nobody")
	p.url = field(said, "address")
	require.NotEmpty(t, p.url, said)
}

// field finds a line of what serve says at its start.
func field(said, name string) string {
	lines := bufio.NewScanner(strings.NewReader(said))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// says waits until p has written want, and gives all that it has written.
func (p *process) says(t *testing.T, to *text, want string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		said, changed := to.now()
		if strings.Contains(said, want) {
			return said
		}
		select {
		case <-changed:
		case <-p.ended:
			if said = to.String(); strings.Contains(said, want) {
				return said
			}
			require.FailNow(t, "it ended without saying so", "%q: %v\nstdout:\n%s\nstderr:\n%s", want, p.waited, &p.out, &p.err)
		case <-deadline:
			require.FailNow(t, "it never said so", "%q\nstdout:\n%s\nstderr:\n%s", want, &p.out, &p.err)
		}
	}
}

// exit waits for the end of p and gives its exit code, -1 where a signal ended it.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(t, "it doesn't end", "stdout:\n%s\nstderr:\n%s", &p.out, &p.err)
	}
	if failed := (*exec.ExitError)(nil); p.waited != nil && !errors.As(p.waited, &failed) {
		require.NoError(t, p.waited)
	}
	return p.cmd.ProcessState.ExitCode()
}

// finish ends p by a signal and expects that it goes in order.
func (p *process) finish(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
	require.Equal(t, exitOK, p.exit(t), "stderr:\n%s", &p.err)
}

// kill ends p at once, as kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	require.Equal(t, -1, p.exit(t))
}

// ready waits until the read models have caught up.
func (p *process) ready(t *testing.T) {
	t.Helper()
	until(t, "it is ready", func() bool {
		got, err := p.client().ask(t.Context(), "GET", "/readyz", "", nil)
		return err == nil && got.status == 200
	})
}

// client asks p as its administrator.
func (p *process) client() demoClient { return demoClient{url: p.url, token: testAdmin} }

// does makes a request and expects a status.
func (p *process) does(t *testing.T, status int, method, path string, body any) object {
	t.Helper()
	return p.sees(t, status, method, path, "", body).body
}

// sees does so behind a Consistency-Token; without one, a read sees what was last
// written by way of p.
func (p *process) sees(t *testing.T, status int, method, path, after string, body any) reply {
	t.Helper()
	if after == "" && method == "GET" {
		after = p.lastWrite("")
	}
	var got reply
	until(t, method+" "+path+" is answered", func() (answered bool) {
		var err error
		got, err = p.client().ask(t.Context(), method, path, after, body)
		require.NoError(t, err, "stderr:\n%s", &p.err)
		// The read models may be behind for longer than a request waits.
		return method != "GET" || got.status != http.StatusServiceUnavailable || status == http.StatusServiceUnavailable
	})
	require.Equal(t, status, got.status, "%s %s: %v", method, path, got.body)
	p.lastWrite(got.token())
	return got
}

// caughtUp waits until all that is derived from the log has come to its end.
func (p *process) caughtUp(t *testing.T) {
	t.Helper()
	until(t, "all that is derived has caught up", func() bool { return derived(p.does(t, 200, "GET", "/v1/stats", nil)) })
}

// derived tells from statistics whether all that is made from the log is at its end.
func derived(stats object) bool {
	end := stats.inner("store").text("position")
	for _, reader := range stats.list("projections") {
		if reader.text("position") != end {
			return false
		}
	}
	return stats.inner("planner").text("position") == end && len(stats.inner("planner").list("planning")) == 0
}

// lastWrite gives the token of the last write, which is token unless that is empty.
func (p *process) lastWrite(token string) string {
	p.writes.Lock()
	defer p.writes.Unlock()
	if token != "" {
		p.wrote = token
	}
	return p.wrote
}

// until looks every few milliseconds until enough is true.
func until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !enough() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "waited in vain", "until %s", what)
		}
	}
}

// once starts the binary, waits for its end, and gives the exit code.
func once(t *testing.T, env []string, args ...string) (code int, out, err string) {
	t.Helper()
	p := launch(t, launchOptions{args: args, env: env})
	code = p.exit(t)
	return code, p.out.String(), p.err.String()
}

// sentLine is a line of the console channel.
type sentLine struct {
	NotificationID string `json:"notification_id"`
	Channel        string `json:"channel"`
	To             string `json:"to"`
	Attempt        int    `json:"attempt"`
	Message        string `json:"message"`
}

// sentLines reads what the console channel carried from what a process wrote.
func sentLines(t *testing.T, said string) (sent []sentLine) {
	t.Helper()
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var l sentLine
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		require.NotEmpty(t, l.NotificationID, line)
		sent = append(sent, l)
	}
	return sent
}

// an event that starts in a while
func anEvent(in time.Duration, change object) object {
	start := time.Now().Add(in)
	e := object{
		"title": "Bell-ringing course", "description": "Rounds and call changes", "location": "The tower",
		"start_time": at(start), "end_time": at(start.Add(2 * time.Hour)), "time_zone": "Europe/Vienna",
	}
	for field, value := range change {
		e[field] = value
	}
	return e
}

func aPerson(i int, change object) object {
	p := object{"user_id": fmt.Sprintf("u-%d", i), "name": fmt.Sprintf("N%d", i), "email": fmt.Sprintf("n%d@example.org", i)}
	for field, value := range change {
		p[field] = value
	}
	return p
}
