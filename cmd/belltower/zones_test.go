package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// folder makes a folder of zones that says it is of a version, and where it is
// Vienna in all of them.
func zonesFolder(t *testing.T, file, text string) string {
	t.Helper()
	dir := t.TempDir()
	if file != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	return dir
}

func TestZonesVersion(t *testing.T) {
	for name, row := range map[string]struct{ file, text, want string }{
		"Debian":          {"tzdata.zi", "# version 2025b\n# This zic input file\n", "2025b"},
		"BSD":             {"+VERSION", "2024a\n", "2024a"},
		"ours":            {"VERSION", "2025c\n", "2025c"},
		"two letters":     {"+VERSION", "2024ab\n", "2024ab"},
		"nothing":         {"", "", "unknown"},
		"something else":  {"tzdata.zi", "R d 1916 o\n", "unknown"},
		"another version": {"VERSION", "1.2.3\n", "unknown"},
	} {
		require.Equal(t, row.want, zonesVersion(zonesFolder(t, row.file, row.text)), name)
	}
}

// The newer of two is used, and what doesn't say how old it is is not.
func TestWhichZonesAreUsed(t *testing.T) {
	t.Setenv(zoneVariable, "") // restores it
	older, newer := zonesFolder(t, "tzdata.zi", "# version 2019c\n"), zonesFolder(t, "tzdata.zi", "# version 2999a\n")
	silent := zonesFolder(t, "", "")
	s := settings{data: t.TempDir()}
	ours := filepath.Join(s.data, zonesFile)
	for name, row := range map[string]struct {
		system                []string
		version, source, from string
	}{
		"none":   {nil, linkedZonesVersion(), "linked in", ours},
		"older":  {[]string{older}, linkedZonesVersion(), "linked in", ours},
		"silent": {[]string{silent}, linkedZonesVersion(), "linked in", ours},
		"newer":  {[]string{silent, older, newer}, "2999a", newer, newer},
	} {
		zones, err := useZones(s, row.system)
		require.NoError(t, err, name)
		require.Equal(t, row.version, zones.Version, name)
		require.Equal(t, row.source, zones.Source, name)
		require.Equal(t, row.from, os.Getenv(zoneVariable), name)
	}
	s.zones = older
	zones, err := useZones(s, []string{newer})
	require.NoError(t, err)
	require.Equal(t, "2019c", zones.Version, "who names one gets it")
}

// What is linked in is what a Go release has, and not a copy that somebody has
// changed: lib/time/zoneinfo.zip, and the version in update.bash beside it. A
// newer release may have newer ones; copying these over is part of upgrading Go.
func TestLinkedZonesAreGosOwn(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	folder := filepath.Join(strings.TrimSpace(string(root)), "lib", "time")
	script, err := os.ReadFile(filepath.Join(folder, "update.bash"))
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^DATA=(\w+)$`).FindSubmatch(script)
	require.NotNil(t, version)
	require.True(t, isZonesVersion(linkedZonesVersion()))
	if string(version[1]) != linkedZonesVersion() {
		t.Logf("Go has the time zones of %s, and %s is linked in", version[1], linkedZonesVersion())
		return
	}
	theirs, err := os.ReadFile(filepath.Join(folder, "zoneinfo.zip"))
	require.NoError(t, err)
	ours, err := linkedZones.ReadFile("zones/" + zonesFile)
	require.NoError(t, err)
	require.True(t, bytes.Equal(theirs, ours))
}

// serve says which zones are in force, and takes others for good.
func TestServeSaysItsZones(t *testing.T) {
	p := serving(t, filepath.Join(t.TempDir(), "data"))
	said := field(p.out.String(), "time zones")
	zones := object(p.does(t, 200, "GET", "/v1/stats", nil)["time_zones"].(map[string]any))
	require.Equal(t, said, zones.text("version")+", "+zones.text("source"))
	require.True(t, isZonesVersion(zones.text("version")), said)
	require.GreaterOrEqual(t, zones.text("version"), linkedZonesVersion())
	// A zone that few know works, wherever it comes from.
	p.does(t, 201, "POST", "/v1/events", anEvent(far, object{"time_zone": "Antarctica/Troll"}))
	p.finish(t, syscall.SIGTERM)

	// In these zones London is where Tokyo is.
	dir := zonesFolder(t, "VERSION", "2999b\n")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "Europe"), 0o700))
	tokyo := filepath.Join(t.TempDir(), "tokyo")
	unzip(t, "Asia/Tokyo", tokyo)
	require.NoError(t, os.Rename(tokyo, filepath.Join(dir, "Europe", "London")))
	p = serving(t, filepath.Join(t.TempDir(), "data"), "BELLTOWER_TZDATA="+dir)
	require.Equal(t, "2999b, "+dir, field(p.out.String(), "time zones"))
	event := p.does(t, 201, "POST", "/v1/events", object{
		"title": "T", "description": "D", "start_time": "2099-01-01T12:00:00Z", "end_time": "2099-01-01T13:00:00Z", "time_zone": "Europe/London",
	}).text("id")
	history := p.does(t, 200, "GET", "/v1/events/"+event+"/history", nil).items()
	require.Equal(t, "2099-01-01T21:00:00", object(history[0]["data"].(map[string]any)).text("local_start"))
	p.finish(t, syscall.SIGTERM)

	for wrong, says := range map[string]string{"not-there": "no such file", t.TempDir(): "no folder of compiled time zones", os.Args[0]: "neither a folder"} {
		code, _, said := once(t, nil, "serve", "--tzdata", wrong)
		require.Equal(t, exitUsage, code)
		require.Contains(t, said, "--tzdata (BELLTOWER_TZDATA)")
		require.Contains(t, said, says)
	}
}

// unzip writes a zone of the linked-in ones to a file.
func unzip(t *testing.T, name, to string) {
	t.Helper()
	data, err := linkedZones.ReadFile("zones/" + zonesFile)
	require.NoError(t, err)
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	file, err := archive.Open(name)
	require.NoError(t, err)
	zone, err := io.ReadAll(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, os.WriteFile(to, zone, 0o600))
}

// A folder that can't take the linked-in zones doesn't keep the service from starting.
func TestZonesThatCantBeKept(t *testing.T) {
	t.Setenv(zoneVariable, "")
	missing := filepath.Join(t.TempDir(), "missing")
	zones, err := useZones(settings{data: missing}, nil)
	require.NoError(t, err)
	require.Contains(t, zones.Source, "could not be kept")
	require.Empty(t, os.Getenv(zoneVariable))
}
