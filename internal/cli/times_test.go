package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimes(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	require.NoError(t, err)
	now := time.Date(2027, 3, 27, 22, 30, 0, 0, time.UTC) // 23:30 in Vienna, where clocks go forward that night
	for text, want := range map[string]string{
		"2027-06-01T18:00:00Z":        "2027-06-01T18:00:00Z",
		"2027-06-01T18:00:00+02:00":   "2027-06-01T16:00:00Z",
		"2027-06-01 18:00:00.5Z":      "2027-06-01T18:00:00.5Z",
		"2027-06-01 18:00":            "2027-06-01T16:00:00Z",
		"2027-06-01T18:00":            "2027-06-01T16:00:00Z",
		"2027-06-01t18:00:30":         "2027-06-01T16:00:30Z",
		"2027-01-01":                  "2026-12-31T23:00:00Z",
		"today":                       "2027-03-26T23:00:00Z",
		"Tomorrow 9:05":               "2027-03-28T07:05:00Z",
		"yesterday 12:00":             "2027-03-26T11:00:00Z",
		"now":                         "2027-03-27T22:30:00Z",
		"+90m":                        "2027-03-28T00:00:00Z",
		"+1d":                         "2027-03-28T21:30:00Z", // by the calendar: the day has 23 hours
		"-1d2h3m4s":                   "2027-03-26T20:26:56Z",
		" +2h ":                       "2027-03-28T00:30:00Z",
		"2027-10-31T02:30:00+02:00":   "2027-10-31T00:30:00Z",
		"2027-06-01T18:00:00.000001Z": "2027-06-01T18:00:00.000001Z",
	} {
		got, err := parseTime(text, now, vienna)
		require.NoError(t, err, text)
		require.Equal(t, want, got.UTC().Format(time.RFC3339Nano), text)
	}
	for text, says := range map[string]string{
		"":                 "is not a time such as",
		"noon":             "is not a time such as",
		"18:00":            "is not a time such as", // of which day?
		"01/06/2027":       "is not a time such as", // January or June?
		"+":                "is not a time such as",
		"+1y":              "is not a time such as",
		"2027-02-30":       "there is no such day",
		"2027-06-01 25:00": "there is no such day or time of day",
		"2027-03-28 02:30": "no such time",
		"2027-10-31 02:30": "comes twice",
	} {
		_, err := parseTime(text, now, vienna)
		require.ErrorContains(t, err, says, text)
	}
	for _, text := range []string{"2027-06-01 18:00", "tomorrow", "2027-06-01"} {
		_, err := parseTime(text, now, nil)
		require.ErrorIs(t, err, errNeedsZone, text)
	}
	_, err = parseTime("+3d", now, nil)
	require.NoError(t, err)
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "2h": 2 * time.Hour, "1d12h": 36 * time.Hour, "0m": 0, "30S": 30 * time.Second} {
		got, err := parseSpan(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "90", "1.5h", "-2h", "h", "2h1d", "99999999999999h"} {
		_, err := parseSpan(text)
		require.Error(t, err, text)
	}
	for minutes, want := range map[int]string{0: "at the start", 1: "1 min before", 60: "1 h before", 1440 + 61: "1 d 1 h 1 min before"} {
		require.Equal(t, want, span(minutes))
	}
}
