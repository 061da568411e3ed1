package aggregates

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"
)

// How long texts may be, in runes.
const (
	maxLine        = 1000 // title, location, name, user_id, creator_id
	maxDescription = 100_000
	maxMessage     = 20_000 // a template
	maxReason      = 10_000
	maxTag         = 100
	maxTags        = 100
	maxPushToken   = 4096
	maxLocale      = 100
)

// line checks a text of one line: no control characters and nothing that ends
// a line, so that it can stand in a header or a log.
func (f *faults) line(field, text string, max int) bool {
	return f.text(field, text, max, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}

// lines checks a text that may have several lines, which forms end with CR LF.
func (f *faults) lines(field, text string, max int) bool {
	return f.text(field, strings.ReplaceAll(text, "\r\n", "\n"), max, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t'
	})
}

func (f *faults) text(field, text string, max int, refused func(rune) bool) bool {
	switch {
	case !utf8.ValidString(text) || strings.IndexFunc(text, refused) >= 0:
		f.add(field, "invalid_characters", "must be text without control characters")
	case utf8.RuneCountInString(text) > max:
		f.add(field, "too_long", fmt.Sprintf("must have at most %d characters", max))
	default:
		return true
	}
	return false
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

func (f *faults) required(field, text string) bool {
	if blank(text) {
		f.add(field, "required", "must not be blank")
		return false
	}
	return true
}

func (f *faults) requiredLine(field, text string) bool {
	return f.required(field, text) && f.line(field, text, maxLine)
}

func (f *faults) requiredTime(field string, t time.Time) bool {
	if t.IsZero() {
		f.add(field, "required", "must be given")
		return false
	}
	return f.year(field, t)
}

// year leaves what follows from a time, such as when a reminder expires, room
// before the year 10000, which RFC 3339 can't write.
func (f *faults) year(field string, t time.Time) bool {
	if y := t.UTC().Year(); y < 1970 || y > 9998 {
		f.add(field, "out_of_range", "must be between the years 1970 and 9998")
		return false
	}
	return true
}

// micros is t as it is kept: UTC and microseconds.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func (f *faults) capacity(n int) {
	if n < 1 {
		f.add("capacity", "out_of_range", "must be at least 1")
	}
}

func (f *faults) tags(tags []string) []string {
	if len(tags) > maxTags {
		f.add("tags", "too_long", fmt.Sprintf("must be at most %d tags", maxTags))
		return nil
	}
	for _, tag := range tags {
		if !f.required("tags", tag) || !f.line("tags", tag, maxTag) {
			return nil
		}
	}
	return distinct(tags)
}

func (f *faults) channels(channels []string, now Now) []string {
	for _, c := range channels {
		if _, ok := now.Channels[c]; !ok {
			f.add("channels", "unknown_channel", "must be configured channels")
			return nil
		}
	}
	return distinct(channels)
}

// oneOf checks a list of words against those that are known.
func (f *faults) oneOf(field string, words []string, known ...string) []string {
	for _, w := range words {
		if !slices.Contains(known, w) {
			f.add(field, "unknown_value", "must be of "+strings.Join(known, ", "))
			return nil
		}
	}
	return distinct(words)
}

// distinct is list without repetitions, in its order; nil when it is empty.
func distinct(list []string) []string {
	var out []string
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// set is list as a sorted set.
func set(list []string) []string {
	out := distinct(list)
	slices.Sort(out)
	return out
}

func (f *faults) zone(name string) *time.Location {
	zone, ok := loadZone(name)
	if !ok {
		f.add("time_zone", "unknown_time_zone", "must be the name of an IANA time zone")
	}
	return zone
}

func (f *faults) locale(name string) {
	if len(name) > maxLocale {
		f.add("locale", "too_long", fmt.Sprintf("must have at most %d characters", maxLocale))
	} else if _, err := language.Parse(name); err != nil {
		f.add("locale", "invalid_locale", "must be a BCP 47 language tag")
	}
}

// template checks a message that is a template.
func (f *faults) template(field string, kind TemplateKind, source string) bool {
	if !f.required(field, source) || !f.lines(field, source, maxMessage) {
		return false
	}
	if code, message := CheckTemplate(kind, source); code != "" {
		f.add(field, code, message)
		return false
	}
	return true
}

var zones sync.Map // name → *time.Location; only names that exist, so it is bounded

// loadZone knows the names of the IANA data base, which begin with a capital:
// what else a machine keeps beside them ("posixrules", "right/UTC") is not portable.
func loadZone(name string) (*time.Location, bool) {
	if name == "" || name == "Local" || name[0] < 'A' || name[0] > 'Z' {
		return time.UTC, false
	}
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), true
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, false
	}
	zones.Store(name, zone)
	return zone, true
}
