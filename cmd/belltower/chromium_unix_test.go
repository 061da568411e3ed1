//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// chromium is a real one without a window, driven by its DevTools protocol over a pipe.
type chromium struct {
	t       *testing.T
	to      *os.File
	said    text
	reading sync.WaitGroup

	mu      sync.Mutex
	asked   int
	answers map[int]chan devtoolsAnswer
}

type devtoolsAnswer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("there is no chromium here; Debian's package of that name has it")
	return ""
}

// browse starts one, with a profile of its own.
func browse(t *testing.T, flags ...string) *chromium {
	t.Helper()
	home := t.TempDir()
	args := append([]string{
		"--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-component-update", "--disable-sync", "--disable-default-apps",
		"--no-default-browser-check", "--password-store=basic", "--remote-debugging-pipe",
		"--no-sandbox", // containers and root can't have one; it sees our own pages only
		"--user-data-dir=" + filepath.Join(home, "profile"),
	}, flags...)
	theirs, to, err := os.Pipe()
	require.NoError(t, err)
	from, theirOut, err := os.Pipe()
	require.NoError(t, err)
	c := &chromium{t: t, to: to, answers: map[int]chan devtoolsAnswer{}}
	cmd := exec.Command(findChromium(t), append(args, "about:blank")...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.ExtraFiles = []*os.File{theirs, theirOut} // it reads 3 and writes 4
	cmd.Stdout, cmd.Stderr = &c.said, &c.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	require.NoError(t, cmd.Start())
	_ = theirs.Close()
	_ = theirOut.Close()
	c.reading.Go(func() { c.read(from) })
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = to.Close()
		c.reading.Wait()
		_ = from.Close()
		if t.Failed() {
			t.Logf("Chromium said:\n%s", c.said.String())
		}
	})
	return c
}

// read hands answers to who waits for them. Messages end with a NUL.
func (c *chromium) read(from *os.File) {
	in := bufio.NewReader(from)
	for {
		message, err := in.ReadBytes(0)
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, waiting := range c.answers {
				close(waiting)
			}
			c.answers = nil
			return
		}
		var answer devtoolsAnswer
		if json.Unmarshal(message[:len(message)-1], &answer) != nil || answer.ID == 0 {
			continue // an event
		}
		c.mu.Lock()
		if waiting, ok := c.answers[answer.ID]; ok {
			delete(c.answers, answer.ID)
			waiting <- answer
		}
		c.mu.Unlock()
	}
}

// call asks for one thing of a session, or of the browser itself where that is "".
func (c *chromium) call(session, method string, params object, into any) error {
	c.mu.Lock()
	if c.answers == nil {
		c.mu.Unlock()
		return errors.New("chromium has ended")
	}
	c.asked++
	id, waiting := c.asked, make(chan devtoolsAnswer, 1)
	c.answers[id] = waiting
	message := object{"id": id, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = c.to.Write(append(text, 0))
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	answer, ok := <-waiting
	switch {
	case !ok:
		return errors.New("chromium has ended")
	case answer.Error != nil:
		return fmt.Errorf("%s: %s", method, answer.Error.Message)
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer.Result, into)
}

func (c *chromium) must(session, method string, params object, into any) {
	c.t.Helper()
	require.NoError(c.t, c.call(session, method, params, into))
}

// tab is a page, or a worker, that scripts are run in.
type tab struct {
	*chromium
	session string
}

func (c *chromium) open(url string) tab {
	c.t.Helper()
	var target struct {
		TargetID string `json:"targetId"`
	}
	c.must("", "Target.createTarget", object{"url": url}, &target)
	return c.attach(target.TargetID)
}

func (c *chromium) attach(target string) tab {
	c.t.Helper()
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	c.must("", "Target.attachToTarget", object{"targetId": target, "flatten": true}, &attached)
	return tab{c, attached.SessionID}
}

// worker is the service worker of a page, once it runs.
func (c *chromium) worker() tab {
	c.t.Helper()
	var id string
	until(c.t, "the service worker runs", func() bool {
		var all struct {
			TargetInfos []struct {
				TargetID string `json:"targetId"`
				Type     string `json:"type"`
			} `json:"targetInfos"`
		}
		c.must("", "Target.getTargets", object{}, &all)
		for _, one := range all.TargetInfos {
			if one.Type == "service_worker" {
				id = one.TargetID
			}
		}
		return id != ""
	})
	return c.attach(id)
}

// run gives the value of an expression, a promise's once it is kept; as if somebody
// had just clicked.
func (b tab) run(expression string) any {
	b.t.Helper()
	value, err := b.try(expression)
	require.NoError(b.t, err, expression)
	return value
}

func (b tab) try(expression string) (any, error) {
	var got struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := b.call(b.session, "Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &got); err != nil {
		return nil, err
	}
	if got.Exception != nil {
		return nil, errors.New(got.Exception.Text + " " + got.Exception.Exception.Description)
	}
	return got.Result.Value, nil
}

// reload loads the page again. What is shown next is no longer the old one's.
func (b tab) reload() {
	b.t.Helper()
	b.run(`window.old = true; location.reload()`)
	until(b.t, "the page is loaded again", func() bool {
		anew, err := b.try(`window.old === undefined && document.readyState === "complete"`)
		return err == nil && anew == true
	})
}

// shows waits until the page says something. A page that is being loaded can't
// be asked.
func (b tab) shows(words string) {
	b.t.Helper()
	last := any("nothing")
	defer func() {
		if b.t.Failed() {
			b.t.Logf("the page shows: %v", last)
		}
	}()
	until(b.t, "the page shows: "+words, func() bool {
		said, err := b.try(`document.body ? document.body.innerText : ""`)
		if err != nil {
			return false
		}
		last = said
		shown, _ := said.(string)
		return slices.Contains(strings.Split(shown, "\n"), words)
	})
}
