package torture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const admin = "admin-token-of-the-tests"

// patience is how long a test waits for what is to come soon.
const patience = 5 * time.Minute

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// binary gives the path of the service, which is built once.
func binary(t *testing.T) string {
	t.Helper()
	if *binaryPath != "" {
		return *binaryPath
	}
	built.once.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "belltower-torture-") //nolint:usetesting // it outlives the test that comes first
		if built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "belltower.exe")
		args := []string{"build", "-o", built.path}
		if raced {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/belltower/belltower/cmd/belltower")...).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	require.NoError(t, built.err)
	return built.path
}

// service is the binary at work. Its standard output is a file of the provider:
// what was written to it is delivered, whatever becomes of the service.
type service struct {
	cmd    *exec.Cmd
	url    string
	out    *delivered
	err    string // path of what it logs
	ended  chan struct{}
	waited error // of cmd.Wait, once ended is closed
	api    api
	pid    int // of the service itself, which may run under another program
}

// launched says how a service is started.
type launched struct {
	folder string
	env    []string
	under  []string // a program that runs it, with its arguments
}

// launch starts serve on a folder with no more of the environment than it needs.
func (p *provider) launch(t *testing.T, o launched) *service {
	t.Helper()
	argv := append(append([]string{}, o.under...), binary(t), "serve", "--listen", "127.0.0.1:0", "--data", o.folder)
	v := &service{cmd: exec.Command(argv[0], argv[1:]...), ended: make(chan struct{})}
	v.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.Getenv("TMPDIR"), "GORACE=halt_on_error=1 atexit_sleep_ms=0",
		"BELLTOWER_ADMIN_TOKEN=" + admin,
	}, o.env...)
	v.cmd.Dir = p.dir
	// strace must not outlive what it runs, nor the other way round.
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	v.out = p.receive(t)
	v.cmd.Stdout = v.out.file
	v.err = filepath.Join(p.dir, fmt.Sprintf("log-%d.txt", v.out.boot))
	log, err := os.Create(v.err)
	require.NoError(t, err)
	defer log.Close()
	v.cmd.Stderr = log
	require.NoError(t, v.cmd.Start())
	v.pid = v.cmd.Process.Pid
	go func() {
		v.waited = v.cmd.Wait()
		close(v.ended)
	}()
	t.Cleanup(v.end)
	return v
}

// end kills whatever is left of it.
func (v *service) end() {
	_ = syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL)
	<-v.ended
	v.out.stop()
	v.api.close()
}

// serve starts the service and waits for its address.
func (p *provider) serve(t *testing.T, folder string) *service {
	t.Helper()
	v := p.launch(t, launched{folder: folder, env: p.env})
	require.True(t, v.up(t), "it ended by itself\n%s", v.logged())
	return v
}

// up waits until v has said its address; it is false when v ends before that.
func (v *service) up(t *testing.T) bool {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if said, err := os.ReadFile(v.out.path); err == nil && bytes.Contains(said, []byte("delivers to nobody")) {
			v.url = field(string(said), "address")
			require.NotEmpty(t, v.url, "%s", said)
			v.api = newAPI(v.url)
			return true
		}
		select {
		case <-tick.C:
		case <-v.ended:
			return false
		case <-deadline:
			require.FailNow(t, "it never said its address", v.logged())
		}
	}
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

// logged is what v wrote to its log.
func (v *service) logged() string {
	said, err := os.ReadFile(v.err)
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// last is the end of a long text.
func last(text string) string { return text[max(0, len(text)-3000):] }

// exit waits for the end of v and gives its exit code, -1 where a signal ended it.
func (v *service) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-v.ended:
	case <-time.After(patience):
		require.FailNow(t, "it doesn't end", v.logged())
	}
	if failed := (*exec.ExitError)(nil); v.waited != nil && !errors.As(v.waited, &failed) {
		require.NoError(t, v.waited)
	}
	v.out.stop()
	v.api.close()
	return v.cmd.ProcessState.ExitCode()
}

// finish ends v by SIGTERM and expects that it goes in order.
func (v *service) finish(t *testing.T) {
	t.Helper()
	require.NoError(t, syscall.Kill(v.pid, syscall.SIGTERM))
	require.Equal(t, 0, v.exit(t), v.logged())
}

// kill ends v at once, as kill -9 does.
func (v *service) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		require.NoError(t, err)
	}
	require.Equal(t, -1, v.exit(t))
}

// ready waits until the read models have caught up.
func (v *service) ready(t *testing.T) {
	t.Helper()
	within(t, v, 10*time.Minute, "it is ready", func() bool {
		got, err := v.api.ask(t.Context(), request{method: "GET", path: "/readyz"})
		return err == nil && got.status == 200
	})
}

// does makes a request and expects a status.
func (v *service) does(t *testing.T, status int, method, path string, body object) object {
	t.Helper()
	var got reply
	until(t, v, method+" "+path+" is answered", func() (answered bool) {
		var err error
		got, err = v.api.ask(t.Context(), request{method: method, path: path, body: body})
		require.NoError(t, err, v.logged())
		// The read models may be behind for longer than a request waits.
		return method != "GET" || got.status != 503 || status == 503
	})
	require.Equal(t, status, got.status, "%s %s: %v", method, path, got.body)
	return got.body
}

// until looks every few milliseconds until enough is true.
func until(t *testing.T, v *service, what string, enough func() bool) {
	t.Helper()
	within(t, v, patience, what, enough)
}

// within does so for as long as it may take.
func within(t *testing.T, v *service, long time.Duration, what string, enough func() bool) {
	t.Helper()
	deadline := time.After(long)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !enough() {
		select {
		case <-tick.C:
		case <-v.ended:
			require.FailNow(t, "it ended by itself", last(v.logged()))
		case <-deadline:
			require.FailNow(t, "waited in vain", "until %s\n… %s", what, last(v.logged()))
		}
	}
}
