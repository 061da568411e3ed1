package aggregates

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/osteele/liquid/filters"
	"github.com/osteele/liquid/render"
)

// library are the filters that are taken as they are: they make at most a few
// times as much as they are given.
var library = []string{
	"default", "compact", "concat", "join", "reverse", "sort", "first", "last",
	"abs", "ceil", "floor", "modulo", "minus", "plus", "times", "divided_by", "round",
	"append", "prepend", "downcase", "upcase", "escape", "newline_to_br", "remove", "remove_first",
	"strip", "lstrip", "rstrip", "strip_html", "strip_newlines", "url_encode",
}

// own replace filters of the library that panic, break characters apart, read
// the clock or know no limit. Left out are those that make control characters
// of plain text, and those that show what a value is inside.
func (t *template) own() map[string]any {
	return map[string]any{
		"capitalize": func(s string) string {
			r, n := utf8.DecodeRuneInString(s)
			if n == 0 {
				return s
			}
			return string(unicode.ToUpper(r)) + s[n:]
		},
		"date":          t.date,
		"replace":       func(s, old, by string) (string, error) { return replace(s, old, by, -1) },
		"replace_first": func(s, old, by string) (string, error) { return replace(s, old, by, 1) },
		"size": func(v any) int {
			if s, ok := v.(string); ok {
				return utf8.RuneCountInString(s)
			}
			list, _ := elements(v)
			return len(list)
		},
		"slice": func(s string, start int, length func(int) int) string {
			runes := []rune(s)
			if start < 0 {
				start += len(runes)
			}
			n := length(1)
			if start < 0 || start > len(runes) || n < 0 {
				return ""
			}
			return string(runes[start : start+min(n, len(runes)-start)])
		},
		"split": split,
		"truncate": func(s string, length func(int) int, ellipsis func(string) string) string {
			n, more, runes := length(50), ellipsis("..."), []rune(s)
			if len(runes) <= max(n, 0) {
				return s
			}
			return string(runes[:max(n-utf8.RuneCountInString(more), 0)]) + more
		},
		"truncatewords": func(s string, length func(int) int, ellipsis func(string) string) string {
			words, n := strings.Fields(s), max(length(15), 1)
			if len(words) <= n {
				return s
			}
			return strings.Join(words[:n], " ") + ellipsis("...")
		},
		"uniq": func(list []any) []any {
			var out []any
			seen := map[string]bool{}
			for _, item := range list {
				if key := fmt.Sprintf("%T %v", item, item); !seen[key] {
					seen[key] = true
					out = append(out, item)
				}
			}
			return out
		},
	}
}

func replace(s, old, by string, n int) (string, error) {
	found := strings.Count(s, old)
	if n >= 0 {
		found = min(found, n)
	}
	if len(s)+found*max(len(by)-len(old), 0) > maxValue {
		return "", errTooLong
	}
	return strings.Replace(s, old, by, n), nil
}

func split(s, sep string) ([]any, error) {
	parts := strings.Fields(s)
	if sep != " " {
		parts = strings.SplitN(s, sep, maxElements+2)
	}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return elements(parts)
}

var tooWide = regexp.MustCompile(`%[-_^#0:]*[0-9]{3}`)

// date writes a time in the zone of whoever reads it.
func (t *template) date(value any, format func(string) string) (string, error) {
	at, ok := value.(time.Time)
	if !ok {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, fmt.Sprint(value)); err != nil {
			return "", errors.New("date needs a time, such as event.start_time")
		}
	}
	layout := format("%a, %b %d, %y")
	if len(layout) > maxLine || tooWide.MatchString(layout) {
		return "", errTooLong
	}
	return strftime(layout, at.In(t.zone))
}

// standard is the library's filters by name.
type standard map[string]any

func (s standard) AddFilter(name string, fn any) { s[name] = fn }

var (
	standards = func() standard {
		s := standard{}
		filters.AddStandardFilters(s)
		return s
	}()
	strftime = func(layout string, at time.Time) (string, error) {
		return standards["date"].(func(time.Time, func(string) string) (string, error))(at, func(string) string { return layout })
	}
	// arguments is how many each filter takes at most, after what it is applied to.
	arguments = func() map[string]int {
		n := map[string]int{}
		for name, fn := range new(template).allFilters() {
			n[name] = reflect.TypeOf(fn).NumIn() - 1
		}
		for _, name := range []string{"downcase", "upcase"} {
			n[name] = 0 // the library declares one that it ignores
		}
		return n
	}()
)

func (t *template) allFilters() map[string]any {
	all := t.own()
	for _, name := range library {
		all[name] = standards[name]
	}
	return all
}

func (t *template) addFilters(c *render.Config) {
	for name, fn := range t.allFilters() {
		c.AddFilter(name, t.paid(fn))
	}
}

// paid is a filter that is paid for: what it reads before it runs, what it makes after.
func (t *template) paid(fn any) any {
	call := reflect.ValueOf(fn)
	of := call.Type()
	results := []reflect.Type{of.Out(0), reflect.TypeFor[error]()}
	return reflect.MakeFunc(reflect.FuncOf(slices.Collect(of.Ins()), results, false), func(in []reflect.Value) []reflect.Value {
		failed := func(err error) []reflect.Value {
			return []reflect.Value{reflect.Zero(of.Out(0)), reflect.ValueOf(err)}
		}
		read := 0
		for _, arg := range in {
			read += weight(arg)
		}
		if err := t.spend(read); err != nil {
			return failed(err)
		}
		out := call.Call(in)
		if len(out) == 1 {
			out = append(out, reflect.Zero(reflect.TypeFor[error]()))
		}
		made := weight(out[0])
		if made > maxValue {
			return failed(errTooLong)
		}
		if err := t.spend(made); err != nil {
			return failed(err)
		}
		return out
	}).Interface()
}

// weight is how many bytes there are in a value, or so.
func weight(v reflect.Value) (n int) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Slice:
		if v.Len() > maxElements {
			return maxValue + 1
		}
		for i := range v.Len() {
			n += 8 + weight(v.Index(i))
		}
	}
	return n
}
