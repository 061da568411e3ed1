// Package sabotage breaks the product one line at a time and demands that the
// suites notice: a suite that lets a fault pass proves nothing.
//
// The faults are patches that go build -overlay puts over the source, chosen by
// name, rather than code behind build tags: so no fault stands in the product's
// source, none can get into a binary by a wrong tag, and a row that the source
// has moved away from fails here by name.
package sabotage

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	catch = flag.Bool("catch", false, "build each fault and demand that its suites fail")
	only  = flag.String("fault", "", "regular expression of the faults to look at")
)

// TestFaults holds the table against the source; with -catch, each fault against
// the suites that are to catch it.
func TestFaults(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	wanted, err := regexp.Compile(*only)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(faults), 12)
	sound := &sources{tried: map[string]func() bool{}}
	for _, f := range faults {
		if !wanted.MatchString(f.name) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel() // one compiles while another waits
			overlay := f.apply(t, root)
			require.NotEmpty(t, f.caught)
			if !*catch {
				return
			}
			for _, suite := range f.caught {
				if _, err := os.Stat(filepath.Join(root, suite[0])); err != nil {
					t.Logf("%s is not in this tree", suite[0])
					continue
				}
				require.True(t, sound.passes(t, root, suite), "%v fails without the fault", suite)
				require.False(t, passes(t, root, suite, overlay), "%v doesn't notice", suite)
				t.Logf("caught by %s", strings.Join(suite, " "))
			}
		})
	}
}

// apply writes the source with the fault in it, and gives the overlay for it.
func (f fault) apply(t *testing.T, root string) (overlay string) {
	t.Helper()
	path := filepath.Join(root, f.file)
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(source), f.old), "%s has to have this once: %s", f.file, f.old)
	broken := strings.Replace(string(source), f.old, f.new, 1)
	require.NotEqual(t, string(source), broken)
	_, err = parser.ParseFile(token.NewFileSet(), f.file, broken, parser.SkipObjectResolution)
	require.NoError(t, err)
	patched := filepath.Join(t.TempDir(), filepath.Base(f.file))
	require.NoError(t, os.WriteFile(patched, []byte(broken), 0o600))
	data, err := json.Marshal(map[string]map[string]string{"Replace": {path: patched}})
	require.NoError(t, err)
	overlay = filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(overlay, data, 0o600))
	return overlay
}

// sources are those without a fault: a suite that several rows name is run on them once.
type sources struct {
	mu    sync.Mutex
	tried map[string]func() bool
}

func (s *sources) passes(t *testing.T, root string, suite []string) bool {
	t.Helper()
	s.mu.Lock()
	name := strings.Join(suite, " ")
	try, ok := s.tried[name]
	if !ok {
		try = sync.OnceValue(func() bool { return passes(t, root, suite) })
		s.tried[name] = try
	}
	s.mu.Unlock()
	return try()
}

// passes runs a suite, with an overlay if one is given. A fault that doesn't
// compile is none.
func passes(t *testing.T, root string, suite []string, overlay ...string) bool {
	t.Helper()
	args := append([]string{"test", "-vet=off", "-timeout=10m", "-run=" + suite[1], "./" + suite[0]}, suite[2:]...)
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Dir = root
	cmd.Env = os.Environ()
	for _, o := range overlay { // by the environment, so that it is also in what a suite itself builds
		cmd.Env = append(cmd.Env, "GOFLAGS=-overlay="+o)
	}
	out, err := cmd.CombinedOutput()
	said := string(out)
	if strings.Contains(said, "[build failed]") || strings.Contains(said, "[setup failed]") || strings.Contains(said, "no tests to run") {
		t.Fatalf("go %s:\n%s", strings.Join(args, " "), said)
	}
	if err == nil {
		return true
	}
	if len(overlay) == 0 {
		t.Log(said)
	} else {
		t.Log(firstFailure(said))
	}
	return false
}

// firstFailure gives the first lines that say what went wrong.
func firstFailure(said string) string {
	lines := strings.Split(said, "\n")
	for i, line := range lines {
		if strings.Contains(line, "Error:") || strings.Contains(line, "panic:") || strings.Contains(line, "seed ") || strings.Contains(line, "--- FAIL") {
			return fmt.Sprint(strings.Join(lines[i:min(len(lines), i+4)], "\n"))
		}
	}
	return said[:min(len(said), 500)]
}
