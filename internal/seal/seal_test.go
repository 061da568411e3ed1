package seal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "read.db")
	require.NoError(t, os.WriteFile(path, []byte("rows"), 0o600))
	is := func(wantSealed, wantChanged bool) {
		t.Helper()
		sealed, changed, err := Break(path)
		require.NoError(t, err)
		require.Equal(t, []bool{wantSealed, wantChanged}, []bool{sealed, changed})
	}
	is(false, false) // it never was
	Put(path)
	is(true, false)
	Put(path)
	require.NoError(t, os.WriteFile(path, []byte("sows"), 0o600))
	is(true, true)
	is(false, false) // the seal is broken
	require.NoError(t, os.WriteFile(path+"-wal", nil, 0o600))
	Put(path)
	require.NoFileExists(t, path+Suffix, "somebody has it open")
}
