package main

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/belltower/belltower/httpapi"
)

// linkedZones is the time zone database that comes with Belltower: the file
// lib/time/zoneinfo.zip of the Go release that it is built with, and its version.
//
//go:embed zones
var linkedZones embed.FS

func linkedZonesVersion() string {
	version, err := linkedZones.ReadFile("zones/VERSION")
	if err != nil {
		panic(err) // it is linked in
	}
	return strings.TrimSpace(string(version))
}

// systemZones are the folders that package time looks into, in its order.
var systemZones = []string{"/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}

// zoneVariable is what package time reads, once, before it loads the first zone.
const zoneVariable = "ZONEINFO"

// zonesFile keeps the linked-in zones in the data folder, as package time takes
// them from files alone.
const zonesFile = "zoneinfo.zip"

// chooseZones tells which time zone database is to be in force: the one that is
// named, else the newer one of the system's and the linked-in one; and where it
// stands, empty for the linked-in one.
func chooseZones(s settings, system []string) (zones httpapi.TimeZones, at string) {
	if s.zones != "" {
		return httpapi.TimeZones{Version: zonesVersion(s.zones), Source: s.zones}, s.zones
	}
	if dir, version := newest(system); version > linkedZonesVersion() {
		return httpapi.TimeZones{Version: version, Source: dir}, dir
	}
	return httpapi.TimeZones{Version: linkedZonesVersion(), Source: "linked in"}, ""
}

// useZones puts the chosen time zones into force. It comes before anything loads
// a zone. Where the data folder has no room for the linked-in ones, those that
// package time finds are used, which is said.
func useZones(s settings, system []string) (httpapi.TimeZones, error) {
	zones, at := chooseZones(s, system)
	if at == "" {
		path, err := keepLinkedZones(s.data)
		if err != nil {
			zones = httpapi.TimeZones{Version: unknownZones, Source: fmt.Sprintf("those that Go finds, as the linked-in ones could not be kept: %v", err)}
			if dir, version := newest(system); dir != "" {
				zones.Version = version
			}
			return zones, nil
		}
		at = path
	}
	return zones, os.Setenv(zoneVariable, at)
}

// keepLinkedZones writes the linked-in zones into the data folder, where they
// aren't there already, and gives their path.
func keepLinkedZones(data string) (string, error) {
	path, err := filepath.Abs(filepath.Join(data, zonesFile))
	if err != nil {
		return "", err
	}
	linked, err := linkedZones.ReadFile("zones/" + zonesFile)
	if err != nil {
		return "", err
	}
	if kept, err := os.ReadFile(path); err == nil && bytes.Equal(kept, linked) {
		return path, nil
	}
	if err := os.WriteFile(path+".new", linked, 0o600); err != nil {
		_ = os.Remove(path + ".new") // half of it would be in the way of nobody but take room
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// newest gives the folder whose zones say that they are the newest.
func newest(dirs []string) (dir, version string) {
	for _, d := range dirs {
		if v := zonesVersion(d); v != unknownZones && v > version {
			dir, version = d, v
		}
	}
	return dir, version
}

const unknownZones = "unknown"

// zonesVersion reads which version the zones in a folder are, such as 2025c.
// Versions are compared as text.
func zonesVersion(dir string) string {
	for name, prefix := range map[string]string{"tzdata.zi": "# version ", "+VERSION": "", "VERSION": ""} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		scanner := bufio.NewScanner(file)
		scanner.Scan()
		_ = file.Close()
		if version, ok := strings.CutPrefix(scanner.Text(), prefix); ok && isZonesVersion(version) {
			return version
		}
	}
	return unknownZones
}

// isZonesVersion tells whether text is a year and letters.
func isZonesVersion(text string) bool {
	if len(text) < 5 || len(text) > 6 {
		return false
	}
	for i, r := range text {
		if digit := r >= '0' && r <= '9'; i < 4 && !digit || i >= 4 && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}

// wrongZones tells why zones can't be used. They are not loaded by package time,
// which would then not look elsewhere any more.
func wrongZones(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err.Error()
	case info.IsDir():
		data, err := os.ReadFile(filepath.Join(path, "Europe", "London"))
		if err == nil {
			_, err = time.LoadLocationFromTZData("Europe/London", data)
		}
		if err != nil {
			return "it is no folder of compiled time zones, such as /usr/share/zoneinfo: " + err.Error()
		}
	case !strings.HasSuffix(path, ".zip"):
		return "it is neither a folder of time zones nor a zip file of them"
	}
	return ""
}
