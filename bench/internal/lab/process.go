package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/belltower/belltower/bench/internal/measure"
)

// Command is a program of this machine with its arguments; the end of ctx kills it.
func Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, program, args...) //nolint:gosec // which programs are run is for the bench to say, and none of it comes from others
}

// Process is a program that was started. What it writes goes to files.
type Process struct {
	Out string // path of its standard output
	Log string // path of its standard error

	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts cmd, with its output in files in dir.
func Start(dir string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Out: filepath.Join(dir, "out"), Log: filepath.Join(dir, "log"), cmd: cmd, ended: make(chan struct{})}
	out, err := os.Create(p.Out)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	log, err := os.Create(p.Log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended shows in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop asks the process by sig to end in order and waits for that. A minute
// later it is killed, which is an error.
func (p *Process) Stop(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(time.Minute):
		return errors.Join(fmt.Errorf("%s didn't end within a minute", p.cmd.Path), p.Kill())
	}
}

// Kill ends the process at once, as kill -9 does, and waits for that.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.cmd.Path, err)
	}
	<-p.ended
	return nil
}

// Until asks ready again and again until it is true, fails, or the process ends.
func (p *Process) Until(ctx context.Context, every time.Duration, ready func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := ready()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended by itself: %s", p.cmd.Path, p.Logged())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Logged is the end of what the process wrote to its standard error.
func (p *Process) Logged() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Memory is what the process has in memory now and had at most, in bytes.
func (p *Process) Memory() (now, most float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, fmt.Errorf("/proc, which tells how much memory a process has, is %w", measure.ErrMissing)
	} else if err != nil {
		return 0, 0, fmt.Errorf("read how much memory it has: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		for field, to := range map[string]*float64{"VmRSS:": &now, "VmHWM:": &most} {
			if rest, ok := strings.CutPrefix(line, field); ok {
				kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
				if err != nil {
					return 0, 0, fmt.Errorf("read %s of /proc: %w", field, err)
				}
				*to = kib * 1024
			}
		}
	}
	if now == 0 || most == 0 {
		return 0, 0, errors.New("/proc doesn't tell how much memory it has")
	}
	return now, most, nil
}

// freePort gives a port of loopback that nothing listens on at this moment.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// as makes cmd run as that user.
func as(cmd *exec.Cmd, uid, gid uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
}
