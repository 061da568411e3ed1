package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// timeHelp says which times are understood.
const timeHelp = "2027-06-01T18:00:00Z, \"2027-06-01 18:00\", tomorrow, \"tomorrow 18:00\", now, +90m, +2h, +3d"

var (
	relative = regexp.MustCompile(`^([+-])(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$`)
	civil    = regexp.MustCompile(`^(\d{4}-\d\d-\d\d|yesterday|today|tomorrow)(?:[ t](\d\d?:\d\d(?::\d\d)?))?$`)
)

// errNeedsZone says that a time depends on where it is read.
var errNeedsZone = errors.New("it depends on the time zone: name one with --time-zone, or write it with an offset, as in 2027-06-01T18:00:00Z")

// parseTime understands RFC 3339, and what people write where it can mean one
// thing only. Times of day without an offset are of zone; nil: there is none, so
// that they are refused. Days are counted by the calendar of zone.
func parseTime(text string, now time.Time, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1)); err == nil {
		return t, nil
	}
	lower := strings.ToLower(text)
	if lower == "now" {
		return now, nil
	}
	if m := relative.FindStringSubmatch(lower); m != nil && len(lower) > 1 {
		return later(m, now, zone), nil
	}
	m := civil.FindStringSubmatch(lower)
	if m == nil {
		return time.Time{}, fmt.Errorf("%q is not a time such as %s", text, timeHelp)
	}
	if zone == nil {
		return time.Time{}, fmt.Errorf("%q: %w", text, errNeedsZone)
	}
	return onDay(text, m[1], m[2], now, zone)
}

// later counts from now.
func later(m []string, now time.Time, zone *time.Location) time.Time {
	number := func(i int) int {
		n, _ := strconv.Atoi(m[i]) // none is 0
		if m[1] == "-" {
			return -n
		}
		return n
	}
	if zone == nil {
		zone = time.UTC
	}
	return now.In(zone).AddDate(0, 0, number(2)).
		Add(time.Duration(number(3))*time.Hour + time.Duration(number(4))*time.Minute + time.Duration(number(5))*time.Second)
}

// onDay is a time of day, midnight where none is given.
func onDay(text, day, clock string, now time.Time, zone *time.Location) (time.Time, error) {
	offset, named := map[string]int{"yesterday": -1, "today": 0, "tomorrow": 1}[day]
	if named {
		day = now.In(zone).AddDate(0, 0, offset).Format(time.DateOnly)
	}
	switch strings.Count(clock, ":") {
	case 0:
		clock = "00:00:00"
	case 1:
		clock += ":00"
	}
	wall, err := time.Parse("2006-01-02 15:04:05", day+" "+clock)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q: there is no such day or time of day", text)
	}
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	if t.Hour() != wall.Hour() || t.Minute() != wall.Minute() {
		return time.Time{}, fmt.Errorf("%q: clocks in %s are put forward then, so that there is no such time; write it with an offset", text, zone)
	}
	for _, other := range []time.Time{t.Add(-time.Hour), t.Add(-30 * time.Minute), t.Add(30 * time.Minute), t.Add(time.Hour)} {
		if other.Format(time.DateTime) == t.Format(time.DateTime) {
			return time.Time{}, fmt.Errorf("%q: clocks in %s are put back then, so that it comes twice; write it with an offset", text, zone)
		}
	}
	return t, nil
}

// parseSpan understands 90m, 2h, 1d12h: a day has 24 hours.
func parseSpan(text string) (time.Duration, error) {
	m := relative.FindStringSubmatch("+" + strings.ToLower(strings.TrimSpace(text)))
	if m == nil || strings.TrimSpace(text) == "" {
		return 0, fmt.Errorf("%q is not a duration such as 90m, 2h or 1d12h", text)
	}
	zero := time.Unix(0, 0).UTC()
	return later(m, zero, time.UTC).Sub(zero), nil
}

// machineZone is the time zone of who sits here.
func machineZone(env map[string]string) *time.Location {
	if name := env["TZ"]; name != "" {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone
		}
	}
	return time.Local
}

// shown is a time of the service's as people read it, in zone.
func shown(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(zone).Format("2006-01-02 15:04 MST")
}

// shownExactly has the seconds, too.
func shownExactly(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(zone).Format("2006-01-02 15:04:05 MST")
}

// zoneOf finds an event's zone; one that isn't known here is shown in UTC.
func zoneOf(name string) *time.Location {
	if zone, err := time.LoadLocation(name); err == nil && name != "" {
		return zone
	}
	return time.UTC
}

// span is a number of minutes as people say it.
func span(minutes int) string {
	if minutes == 0 {
		return "at the start"
	}
	var parts []string
	for _, unit := range []struct {
		minutes int
		name    string
	}{{24 * 60, "d"}, {60, "h"}, {1, "min"}} {
		if n := minutes / unit.minutes; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			minutes -= n * unit.minutes
		}
	}
	return strings.Join(parts, " ") + " before"
}
