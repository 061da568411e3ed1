package keys_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/belltower/belltower/keys"
)

func TestOnlyTheOwnerReads(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	take(t, r)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 3, "the file, its write-ahead log and that one's index")
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, f.Name())
	}
	require.NoError(t, r.Close())

	path := filepath.Join(dir, keys.FileName)
	require.NoError(t, os.Chmod(path, 0o644))
	open(t, dir)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestRefusedFiles(t *testing.T) {
	text := func(s string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
	}
	sql := func(sql string) func(string) error {
		return func(path string) error { return execute(path, sql) }
	}
	for name, tt := range map[string]struct {
		make func(path string) error
		want error
	}{
		"short garbage":       {text("hello"), keys.ErrNotKeys},
		"long garbage":        {text(string(bytes.Repeat([]byte("garbage!"), 4096))), keys.ErrNotKeys},
		"a folder":            {func(path string) error { return os.Mkdir(path, 0o700) }, keys.ErrNotKeys},
		"another's tables":    {sql("CREATE TABLE t (x)"), keys.ErrNotKeys},
		"another application": {sql("PRAGMA application_id = 7; CREATE TABLE t (x)"), keys.ErrNotKeys},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, keys.FileName)
			require.NoError(t, tt.make(path))
			before, _ := os.ReadFile(path) // fails for the folder, before and after

			_, err := keys.Open(t.Context(), dir)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, path)
			after, _ := os.ReadFile(path)
			require.Equal(t, before, after, "the file was changed")
		})
	}
}

func execute(path, script string) error {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return err
	}
	defer conn.Close()
	return sqlitex.ExecuteScript(conn, script, nil)
}

func TestAFileBegunAndNotFinishedIsTakenUp(t *testing.T) {
	for name, script := range map[string]string{
		"nothing in it":  "",
		"only its mode":  "PRAGMA journal_mode = WAL",
		"an empty table": "CREATE TABLE t (x); DROP TABLE t",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, keys.FileName)
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
			require.NoError(t, err)
			for script != "" {
				stmt, trailing, err := conn.PrepareTransient(script)
				require.NoError(t, err)
				_, err = stmt.Step()
				require.NoError(t, err)
				require.NoError(t, stmt.Finalize())
				script = script[len(script)-trailing:]
			}
			require.NoError(t, conn.Close())
			take(t, open(t, dir))
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	_, err := keys.Open(t.Context(), filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keys.Open(ctx, t.TempDir())
	require.ErrorIs(t, err, context.Canceled)
}

// A restore onto a full disk leaves an empty file: with facts in the log, that
// is a missing one, and not one to begin anew.
func TestExistingRefusesAnEmptyFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, keys.FileName), nil, 0o600))
	for range 2 {
		_, err := keys.Open(t.Context(), dir, keys.Existing())
		require.ErrorIs(t, err, keys.ErrMissing)
	}
}
