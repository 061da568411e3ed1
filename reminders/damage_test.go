package reminders

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// damage overwrites the middle of the planner's table.
func damage(t *testing.T, dir string) {
	path := filepath.Join(dir, "planner.db")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 4096; i < len(data); i++ {
		data[i] ^= 0xa5
	}
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
