package projections

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), fileName)
	require.NoError(t, os.WriteFile(path, []byte("rows"), 0o600))
	is := func(want string) {
		t.Helper()
		reason, err := changed(path)
		require.NoError(t, err)
		require.Equal(t, want, reason)
	}
	is("") // it was never sealed
	seal(path)
	is("")
	seal(path)
	require.NoError(t, os.WriteFile(path, []byte("sows"), 0o600))
	is("the file has changed since it was closed")
	is("") // the seal is broken
	require.NoError(t, os.WriteFile(path+"-wal", nil, 0o600))
	seal(path)
	require.NoFileExists(t, path+sumSuffix, "somebody has it open")
}
