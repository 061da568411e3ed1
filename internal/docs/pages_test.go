// Package docs tries what the documentation says: its commands, its links, and
// the code in it.
package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/freeport"
)

const root = "../.."

// block is a fenced block of a page.
type block struct {
	language, text string
}

func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	var in *block
	for line := range strings.Lines(string(text)) {
		switch {
		case in == nil && strings.HasPrefix(line, "```"):
			in = &block{language: strings.TrimSpace(strings.TrimPrefix(line, "```"))}
		case in != nil && strings.TrimSpace(line) == "```":
			all, in = append(all, *in), nil
		case in != nil:
			in.text += line
		}
	}
	require.Nil(t, in, "%s: a block has no end", page)
	return all
}

// of gives the texts of the blocks in a language.
func of(all []block, language string) (texts []string) {
	for _, b := range all {
		if b.language == language {
			texts = append(texts, b.text)
		}
	}
	return texts
}

// needed are programs that a test can't do without.
func needed(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("it takes %s", p)
		}
	}
}

// built builds the service.
func built(t *testing.T, path string, args ...string) {
	t.Helper()
	absolute, err := filepath.Abs(path)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", absolute}, args...), "./cmd/belltower")...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// place is where a page's commands are run.
type place struct {
	folder string
	env    []string
	// replaced is what stands otherwise on the page: pairs of old and new.
	replaced []string
}

// run runs commands to their end, and gives what they said. What they leave
// running in the background is for the test to end.
func (p place) run(t *testing.T, commands ...string) string {
	t.Helper()
	script := "set -eu -o pipefail\n" + strings.NewReplacer(p.replaced...).Replace(strings.Join(commands, "\n"))
	// A bound against a command that waits for ever, far above what any takes.
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = p.folder
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.folder, "CURL_HOME=" + p.folder}, p.env...)
	// A file, as a pipe would be waited for until the last in the background has let go of it.
	out, err := os.CreateTemp(t.TempDir(), "out")
	require.NoError(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said, readErr := os.ReadFile(out.Name())
	require.NoError(t, readErr)
	require.NoError(t, err, "%s\n%s\n%s", script, said, p.log())
	return string(said)
}

// log is what the service has said.
func (p place) log() string {
	said, _ := os.ReadFile(filepath.Join(p.folder, "belltower.log"))
	return string(said)
}

// freePort is free now, and nobody's before it is used.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeport.Address(t))
	require.NoError(t, err)
	return port
}

// until looks until enough is true.
func until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !enough(); time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "waited in vain until %s", what)
	}
}

// ask makes a request of a service, and gives the answer's body. What is read may
// be behind what was written just now.
func ask(t *testing.T, method, url, token string, body any) (answer map[string]any) {
	t.Helper()
	until(t, method+" "+url+" is answered", func() bool {
		var status int
		status, answer = try(t, method, url, token, body)
		if method == "GET" && (status == http.StatusNotFound || status == http.StatusServiceUnavailable) {
			return false
		}
		require.Less(t, status, 400, fmt.Sprint(answer))
		return true
	})
	return answer
}

func try(t *testing.T, method, url, token string, body any) (status int, answer map[string]any) {
	t.Helper()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(t, err)
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, sent)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	got, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer got.Body.Close()
	require.NoError(t, json.NewDecoder(got.Body).Decode(&answer))
	return got.StatusCode, answer
}
