package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/bench/internal/measure"
)

func TestWhatIsWrongIsRefusedByName(t *testing.T) {
	for args, want := range map[string]string{
		"speed":                   `"speed"`,
		"register -rounds 0":      "-rounds",
		"register -each 0s":       "-each",
		"register -callers x":     "-callers",
		"register -speed 3":       "-speed",
		"register 7":              `"7"`,
		"all -callers 3":          "-callers",
		"burst -reminders -1":     "-reminders",
		"burst -redis-fsync soon": "redis-fsync",
	} {
		var out, progress strings.Builder
		err := run(t.Context(), strings.Fields(args), &out, &progress)
		var wrong *usageError
		require.ErrorAs(t, err, &wrong, args)
		require.ErrorContains(t, err, want, args)
		require.Empty(t, out.String(), args)
	}
}

func TestHelpListsTheSuites(t *testing.T) {
	var out strings.Builder
	require.ErrorIs(t, run(t.Context(), nil, &out, &out), flag.ErrHelp)
	for _, suite := range []string{"create", "append", "register", "burst", "steady", "read", "restart", "footprint", "replay", "big"} {
		require.Contains(t, out.String(), "\n  "+suite+" ")
	}
}

func TestTheTableAndTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "register.json")
	var out, progress strings.Builder
	require.NoError(t, run(t.Context(), []string{"register", "-short", "-rounds", "2", "-callers", "8", "-json", path}, &out, &progress))
	require.Contains(t, out.String(), "one write for each")
	require.Contains(t, progress.String(), "register: round 2 of 2: belltower")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var results []measure.Result
	require.NoError(t, json.Unmarshal(text, &results))
	require.Len(t, results, 1)
	require.Equal(t, "register", results[0].Suite)
	require.Equal(t, map[string]string{"rounds": "2", "callers": "8", "each": "100ms"}, results[0].Sizes)
	require.NotNil(t, results[0].Goals[0].Got)
	for _, row := range results[0].Rows {
		require.Len(t, row.Rounds, 2)
		require.Equal(t, row.Contender != "belltower", row.Ratio != nil)
	}
}
