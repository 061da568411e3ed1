package torture

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tracer runs the service under strace, which counts and spoils its system calls.
// strace counts for each thread by itself, and Go's threads share the work: the
// n-th call is the n-th of each thread, so one run may be hit several times.
type tracer struct {
	path string // what strace writes
}

// needsTrace skips where strace can't be used.
func needsTrace(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	said, err := exec.Command(path, "-f", "--seccomp-bpf", "-e", "trace=fsync", "-o", os.DevNull, "true").CombinedOutput()
	if err != nil {
		t.Skipf("strace can't trace here: %v: %s", err, said)
	}
}

// launchTraced starts the service under strace with these rules; paths narrows them to files.
func (r *run) launchTraced(paths []string, rules ...string) (*service, tracer) {
	boot := len(r.provider.boots) + 1
	tr := tracer{filepath.Join(r.provider.dir, fmt.Sprintf("trace-%d.txt", boot))}
	under := []string{"strace", "-f", "-qq", "-y", "-e", "signal=none", "-o", tr.path}
	if !strings.Contains(strings.Join(rules, " "), "signal=SIG") { // which it can't send from there
		under = append(under, "--seccomp-bpf") // stops at what is asked for alone
	}
	for _, path := range paths {
		under = append(under, "-P", path)
	}
	for _, rule := range rules {
		under = append(under, "-e", rule)
	}
	v := r.provider.launch(r.t, launched{folder: r.folder, under: under})
	return v, tr
}

// traced finds the service that v's strace runs.
func (v *service) traced(t *testing.T) {
	children := fmt.Sprintf("/proc/%d/task/%d/children", v.cmd.Process.Pid, v.cmd.Process.Pid)
	said, err := os.ReadFile(children)
	require.NoError(t, err)
	fields := strings.Fields(string(said))
	require.NotEmpty(t, fields, children)
	v.pid, err = strconv.Atoi(fields[0])
	require.NoError(t, err)
}

// call is a system call on a file.
type call struct {
	thread, name string
	fd, path     string
	failed       bool // by us
	done         bool // it succeeded
}

var (
	begun   = regexp.MustCompile(`^(\d+) +(\w+)\((\d+)<([^>]*)>`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
)

// calls reads what strace wrote, in the order in which the calls ended.
func (tr tracer) calls(t *testing.T) (all []call) {
	said, err := os.ReadFile(tr.path)
	require.NoError(t, err)
	open := map[string]call{} // by thread
	for line := range strings.Lines(string(said)) {
		var c call
		if m := begun.FindStringSubmatch(line); m != nil {
			c = call{thread: m[1], name: m[2], fd: m[3], path: m[4]}
			if strings.Contains(line, "<unfinished ...>") {
				open[c.thread] = c
				continue
			}
		} else if m := resumed.FindStringSubmatch(line); m != nil {
			c = open[m[1]]
			delete(open, m[1])
		} else {
			continue
		}
		c.failed = strings.Contains(line, "(INJECTED)")
		c.done = !strings.Contains(line, " = -1 ") && !strings.Contains(line, " = ?")
		all = append(all, c)
	}
	for _, c := range open { // it was killed in them
		all = append(all, c)
	}
	return all
}

// busiest is how many of these calls the thread with most of them made.
func busiest(calls []call, names string) (most int) {
	count := map[string]int{}
	for _, c := range calls {
		if strings.Contains(names, c.name) {
			count[c.thread+c.name]++
			most = max(most, count[c.thread+c.name])
		}
	}
	return most
}

// lasting are the files that nothing else could be made from again.
var lasting = regexp.MustCompile(`/(events|keys)\.db(-wal)?$`)

// goneOnWith finds files that answers rest on and that were synced with success
// after a sync of the same handle had failed.
func goneOnWith(calls []call) (wrong []string) {
	broken := map[string]call{} // by descriptor
	for _, c := range calls {
		switch failed, ok := broken[c.fd]; {
		case c.name == "close":
			delete(broken, c.fd)
		case !strings.HasSuffix(c.name, "sync") || !lasting.MatchString(c.path):
		case c.failed:
			broken[c.fd] = c
		case c.done && ok:
			wrong = append(wrong, fmt.Sprintf("%s of %s, handle %s, on which %s of %s had failed", c.name, c.path, c.fd, failed.name, failed.path))
		}
	}
	return wrong
}
