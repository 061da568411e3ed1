package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/internal/durable"
)

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "a", "b", "c")
	for range 2 {
		require.NoError(t, durable.MkdirAll(deep))
		require.DirExists(t, deep)
	}
	file := filepath.Join(top, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, durable.MkdirAll(file), "not a directory")
	require.Error(t, durable.MkdirAll(filepath.Join(file, "below")))
}
