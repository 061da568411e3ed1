package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/belltower/belltower/aggregates"
)

// Limits of a body.
const (
	maxBody  = 1 << 20
	maxDepth = 32
)

// body is a JSON object that a handler reads field by field. Handlers say
// which fields they know and what they take; done finds fault with the rest.
// encoding/json isn't asked to fill structs, as it takes fields in any case of
// letters, fields twice and text that isn't UTF-8, and stops at the first fault.
type body struct {
	members map[string]any
	prefix  string // of the names of fields, in a nested object
	known   map[string]bool
	said    *verdicts
	refusal error // of a keyed request's body that can't be read; see judged
}

// verdicts is what was found wrong: bad makes a request that can't be read
// (400), faults one that is against a rule (422).
type verdicts struct{ bad, faults []aggregates.Fault }

// mediaTypes that a body may have; a merge patch has one of its own besides.
const (
	mediaJSON  = "application/json"
	mediaPatch = "application/merge-patch+json"
)

// body reads the request's body, which must be there.
func (c *call) body() (*body, error) { return c.readBody(false) }

// optionalBody reads the request's body; none is the same as an empty object.
func (c *call) optionalBody() (*body, error) { return c.readBody(true) }

func (c *call) readBody(optional bool) (*body, error) {
	if c.ContentLength > maxBody {
		return nil, errTooLarge
	}
	takes := c.takesBody()
	if !takes && !optional {
		return nil, errNotJSONType
	}
	data, err := c.readRaw(maxBody)
	switch {
	case err != nil:
		return nil, err
	case optional && len(data) == 0:
		data = []byte("{}")
	case !takes:
		return nil, errNotJSONType
	}
	c.patient()
	if err := c.enter(); err != nil {
		return nil, err
	}
	return parseBody(data)
}

// readRaw reads the body as it is, of most bytes at most.
func (c *call) readRaw(most int64) ([]byte, error) {
	// It wants the connection's own writer, to close the connection behind the answer.
	data, err := io.ReadAll(held{http.MaxBytesReader(c.w.ResponseWriter, c.Body, most), &c.place})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.Is(err, errOverloaded):
		return nil, errOverloaded
	case err != nil:
		return nil, newProblem(http.StatusBadRequest, "unreadable_body", "the body could not be read to its end")
	}
	return data, nil
}

// takesBody tells whether the body says of itself that it is JSON in UTF-8.
func (c *call) takesBody() bool {
	if encoding := c.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	given := c.Header.Get("Content-Type")
	if given == mediaJSON {
		return true
	}
	media, params, err := mime.ParseMediaType(given)
	if err != nil {
		return false
	}
	if charset, given := params["charset"]; given && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return media == mediaJSON || (media == mediaPatch && c.Method == http.MethodPatch)
}

func badBody(detail string) *problem {
	return newProblem(http.StatusBadRequest, "bad_body", detail)
}

func parseBody(data []byte) (*body, error) {
	if !utf8.Valid(data) {
		return nil, badBody("the body is not UTF-8")
	}
	value, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	members, isObject := value.(map[string]any)
	if !isObject {
		return nil, badBody("the body is not a JSON object")
	}
	return &body{members: members, known: map[string]bool{}, said: &verdicts{}}, nil
}

func badFields(faults ...aggregates.Fault) *problem {
	return newProblem(http.StatusBadRequest, "bad_body", "the body has fields that can't be read; see errors", faults...)
}

// shorten keeps a problem short, whatever the name of a field.
func shorten(name string) string {
	const most = 100
	if utf8.RuneCountInString(name) <= most {
		return name
	}
	return string([]rune(name)[:most]) + "…"
}

// take gives the value of a field, and notes that it is known. A null is given too.
func (b *body) take(name string) (value any, given bool) {
	b.known[name] = true
	value, given = b.members[name]
	return value, given
}

// wrongType says what a value of another JSON type should have been.
type wrongType string

func (w wrongType) Error() string { return "must be " + string(w) }

// wrongValue is a value of the right JSON type that means nothing.
type wrongValue struct{ code, message string }

func (w wrongValue) Error() string { return w.message }

func (b *body) judge(name string, err error) {
	var value wrongValue
	if errors.As(err, &value) {
		b.said.faults = append(b.said.faults, fault(b.prefix+name, value.code, value.message))
		return
	}
	b.said.bad = append(b.said.bad, fault(b.prefix+name, "wrong_type", err.Error()))
}

// optional reads a field: nil where it is absent, null or wrong.
func optional[T any](b *body, name string, as func(any) (T, error)) *T {
	value, given := b.take(name)
	if !given || value == nil {
		return nil
	}
	t, err := as(value)
	if err != nil {
		b.judge(name, err)
		return nil
	}
	return &t
}

// plain reads a field: its zero value where it is absent, null or wrong.
func plain[T any](b *body, name string, as func(any) (T, error)) T {
	if t := optional(b, name, as); t != nil {
		return *t
	}
	var zero T
	return zero
}

// patched reads a field of a merge patch, in which null means something.
func patched[T any](b *body, name string, as func(any) (T, error)) aggregates.Patch[T] {
	value, given := b.take(name)
	if !given || value == nil {
		return aggregates.Patch[T]{Given: given, Null: given}
	}
	return aggregates.Patch[T]{Given: true, Value: plain(b, name, as)}
}

// object reads a nested object: an empty one where it is absent, null or wrong.
func (b *body) object(name string) *body {
	nested := &body{prefix: b.prefix + name + ".", known: map[string]bool{}, said: b.said}
	nested.members = plain(b, name, func(v any) (map[string]any, error) {
		if members, ok := v.(map[string]any); ok {
			return members, nil
		}
		return nil, wrongType("an object")
	})
	return nested
}

// done finds fault with fields that nobody asked for.
func (b *body) done() {
	for _, name := range slices.Sorted(maps.Keys(b.members)) {
		if !b.known[name] {
			b.said.bad = append(b.said.bad, fault(shorten(b.prefix+name), "unknown_field", "is not known here"))
		}
	}
}

// end is done for the whole body: it gives the error of one that can't be read.
func (b *body) end() error {
	b.done()
	if len(b.said.bad) > 0 {
		return badFields(b.said.bad...)
	}
	return nil
}

func asText(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", wrongType("a string")
}

func asTexts(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, wrongType("a list of strings")
	}
	texts := make([]string, len(list))
	for i, item := range list {
		if texts[i], ok = item.(string); !ok {
			return nil, wrongType("a list of strings")
		}
	}
	return texts, nil
}

// asInteger takes 5, 5.0 and 5e0 alike, as JSON doesn't tell them apart.
func asInteger(v any) (int, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, wrongType("an integer")
	}
	mantissa, exponent, ok := splitNumber(n.String())
	if ok && exponent < 0 {
		return 0, wrongType("an integer")
	}
	if ok && exponent <= 20 {
		if i, err := strconv.Atoi(mantissa + strings.Repeat("0", int(exponent))); err == nil {
			return i, nil
		}
	}
	return 0, wrongValue{"out_of_range", "is out of every range"}
}

// asTime takes RFC 3339 and nothing else; times keep microseconds.
func asTime(v any) (time.Time, error) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, wrongType("a time as a string")
	}
	t, err := parseTime(s)
	if err != nil {
		return time.Time{}, wrongValue{"invalid_time", err.Error()}
	}
	return t, nil
}

var errNotTime = errors.New("must be a time in RFC 3339, such as 2031-05-06T07:08:09Z")

// parseTime reads RFC 3339, which allows small letters for T and Z.
func parseTime(s string) (time.Time, error) {
	var t time.Time
	// UnmarshalText is strict where time.Parse takes commas and hours of one digit.
	if err := t.UnmarshalText([]byte(strings.ToUpper(s))); err != nil {
		return time.Time{}, errNotTime
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.IsZero() {
		t = t.Add(time.Microsecond) // the zero time means none
	}
	return t, nil
}

// canonical gives the body in a form in which equal bodies are equal.
func (b *body) canonical() []byte { return appendCanonical(nil, b.members) }

// canonicalNumber is the same for 1, 1.0 and 1e0. Numbers are never worked out:
// 1e999999999 is short, but its digits are not.
func canonicalNumber(n json.Number) json.Number {
	mantissa, exponent, ok := splitNumber(n.String())
	if !ok {
		return n
	}
	return json.Number(mantissa + "e" + strconv.FormatInt(exponent, 10))
}

// splitNumber gives a JSON number as an integer without zeros at its end, times
// a power of ten. An exponent that doesn't fit is not ok.
func splitNumber(s string) (mantissa string, exponent int64, ok bool) {
	digits, sign := strings.CutPrefix(s, "-")
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.ParseInt(digits[i+1:], 10, 32); err != nil {
			return s, 0, false
		}
		digits = digits[:i]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	exponent -= int64(len(fraction))
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0", 0, true
	}
	exponent += int64(len(digits) - len(short))
	if sign {
		short = "-" + short
	}
	return short, exponent, true
}
