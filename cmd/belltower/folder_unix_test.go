//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Permissions don't hold root back, so that the binary runs as nobody then.
func TestFolderCannotBeWritten(t *testing.T) {
	outer, err := os.MkdirTemp("", "belltower-test-") //nolint:usetesting // nobody can't enter a test's own folder
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(outer) })
	folder := filepath.Join(outer, "data")
	require.NoError(t, os.Mkdir(folder, 0o755))
	for _, dir := range []string{folder, outer} {
		require.NoError(t, os.Chmod(dir, 0o555))
	}
	for _, data := range []string{folder, filepath.Join(outer, "new")} {
		p := launch(t, launchOptions{
			args: []string{"serve", "--listen", "127.0.0.1:0", "--data", data}, env: []string{"BELLTOWER_ADMIN_TOKEN=" + testAdmin},
			change: func(cmd *exec.Cmd) {
				cmd.Dir = "/"
				if os.Geteuid() == 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				}
			},
		})
		require.Equal(t, exitFailure, p.exit(t), &p.err)
		require.Contains(t, p.err.String(), data)
		require.Contains(t, p.err.String(), "permission denied")
		require.Empty(t, p.out.String())
	}
	require.NoError(t, os.Chmod(outer, 0o755))
}
