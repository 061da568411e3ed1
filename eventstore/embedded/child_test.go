//go:build unix

package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/eventstore"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("EMBEDDED_TEST_CHILD"); mode != "" {
		os.Exit(child(mode, os.Getenv("EMBEDDED_TEST_DIR")))
	}
	goleak.VerifyTestMain(m)
}

// child is what this binary does when a test has started it again.
func child(mode, dir string) int {
	run := map[string]func(context.Context, *Log) error{"append": appendForEver, "full": appendUntilFull}[mode]
	l, err := Open(context.Background(), dir, quiet())
	if err == nil {
		err = run(context.Background(), l)
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startChild runs this binary again; what it prints is returned line by line.
func startChild(t *testing.T, mode, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_CHILD="+mode, "EMBEDDED_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// appendForEver prints the stream and id of each record that was acknowledged.
func appendForEver(ctx context.Context, l *Log) error {
	var mu sync.Mutex
	for i := range 16 {
		go func() {
			stream := fmt.Sprintf("s%d-%s", i, uuid.NewString())
			for n := int64(0); ; n++ {
				record := some(1)
				if _, err := l.Append(ctx, stream, n-1, record); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(stream, record[0].ID)
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestWhatWasAcknowledgedOutlivesAKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string][]string{}
	for round := range 5 {
		cmd, lines := startChild(t, "append", dir)
		for n := 0; lines.Scan(); n++ {
			if n == 100+150*round {
				require.NoError(t, cmd.Process.Kill())
			}
			stream, id, ok := strings.Cut(lines.Text(), " ")
			if ok && len(id) == 36 { // the kill may have cut the last line
				acknowledged[stream] = append(acknowledged[stream], id)
			}
		}
		require.Error(t, cmd.Wait())

		l := mustOpen(t, dir, Options{})
		for i, r := range everything(t, l) {
			require.Equal(t, position(int64(i+1)), r.Position)
		}
		for stream, ids := range acknowledged {
			got, err := l.ReadStream(t.Context(), stream, 0, len(ids))
			require.NoError(t, err)
			require.Len(t, got, len(ids))
			for i, r := range got {
				require.Equal(t, ids[i], r.ID.String())
			}
		}
		require.NoError(t, l.Close())
	}
}

// appendUntilFull lets no file grow past 1 MiB, as a full disk would, and then again.
func appendUntilFull(ctx context.Context, l *Log) error {
	limit := func(bytes uint64) error {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			return err
		}
		l.Cur = min(bytes, l.Max)
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
	}
	if err := limit(1 << 20); err != nil {
		return err
	}
	record := func() []eventstore.NewRecord {
		r := some(1)
		r[0].Data = []byte(`"` + strings.Repeat("x", 50_000) + `"`)
		return r
	}
	n := int64(0)
	for ; ; n++ {
		if _, err := l.Append(ctx, "s", n-1, record()); errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrUnknownOutcome) {
			break
		} else if err != nil || n > 100 {
			return fmt.Errorf("append %d: %v instead of unavailable", n, err)
		}
	}
	got, err := l.ReadStream(ctx, "s", 0, 1000)
	if err != nil || int64(len(got)) != n {
		return fmt.Errorf("read %d records of %d: %w", len(got), n, err)
	}
	if err := limit(1 << 40); err != nil {
		return err
	}
	return untilWritten(func() error {
		_, err := l.Append(ctx, "s", n-1, record())
		return err
	})
}

func TestAFullDiskIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := startChild(t, "full", dir)
	for lines.Scan() {
		t.Log(lines.Text())
	}
	require.NoError(t, cmd.Wait())
	require.FileExists(t, filepath.Join(dir, "events.db"))
	l := mustOpen(t, dir, Options{})
	require.NotEmpty(t, everything(t, l))
}
