package httpapi

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/projections"
)

// Limits of a page.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// query is the request's query, read parameter by parameter like a body.
type query struct {
	values url.Values
	known  map[string]bool
	bad    []aggregates.Fault
}

func (c *call) query() *query {
	q := &query{known: map[string]bool{}}
	var err error
	if q.values, err = url.ParseQuery(c.URL.RawQuery); err != nil {
		q.refuse("query", "malformed", "can't be read")
	}
	return q
}

func (q *query) refuse(name, code, message string) {
	q.bad = append(q.bad, fault(name, code, message))
}

// text gives a parameter; given is false where it is absent or wrong.
func (q *query) text(name string) (value string, given bool) {
	q.known[name] = true
	values := q.values[name]
	switch {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		q.refuse(name, "repeated", "may be given once")
		return "", false
	case !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0):
		q.refuse(name, "bad_value", "must be text in UTF-8")
		return "", false
	}
	return values[0], true
}

// filter gives a parameter that narrows a list: no value narrows nothing, and
// is taken for a mistake.
func (q *query) filter(name string) string {
	value, given := q.text(name)
	if given && value == "" {
		q.refuse(name, "bad_value", "must not be empty")
	}
	return value
}

// search gives words to look for. Of too many none is passed over: every word
// must match.
func (q *query) search(name string) string {
	value, _ := q.text(name)
	if !projections.Searchable(value) {
		q.refuse(name, "too_many_words", fmt.Sprintf("may have at most %d different words", projections.MaxTerms))
	}
	return value
}

func (q *query) oneOf(name string, words ...string) string {
	value, given := q.text(name)
	if given && !slices.Contains(words, value) {
		q.refuse(name, "bad_value", "must be one of "+strings.Join(words, ", "))
	}
	return value
}

func (q *query) uuid(name string) string {
	value, given := q.text(name)
	if !given {
		return ""
	}
	id, good := canonicalID(value)
	if !good {
		q.refuse(name, "bad_value", "must be a UUID")
	}
	return id
}

func (q *query) time(name string) *time.Time {
	value, given := q.text(name)
	if !given {
		return nil
	}
	t, err := parseQueryTime(value)
	if err != nil {
		q.refuse(name, "bad_value", err.Error())
		return nil
	}
	return &t
}

// parseQueryTime forgives a + that wasn't escaped and came as a space.
func parseQueryTime(value string) (time.Time, error) {
	return parseTime(strings.Replace(value, " ", "+", 1))
}

func (q *query) integer(name string, otherwise, least, most int) int {
	value, given := q.text(name)
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most || strings.HasPrefix(value, "+") {
		q.refuse(name, "bad_value", fmt.Sprintf("must be an integer from %d to %d", least, most))
		return otherwise
	}
	return n
}

// longestDays is a thousand years: no notification is older, and times that
// far back can still be told.
const longestDays = 365_250

// days gives a number of days, of which more than longestDays are as good as these.
func (q *query) days(name string, otherwise int) int {
	value, given := q.text(name)
	switch {
	case !given:
		return otherwise
	case !digits.MatchString(value):
		q.refuse(name, "bad_value", "must be an integer of 0 or more")
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil { // digits can only be too many
		return longestDays
	}
	return min(n, longestDays)
}

// page gives what every list takes.
func (q *query) page() projections.Page {
	cursor, _ := q.text("cursor")
	return projections.Page{Limit: q.integer("limit", defaultLimit, 1, maxLimit), Cursor: cursor}
}

// end gives the error of a query that can't be read, or that has parameters
// which nobody asked for: a filter that is misspelt would otherwise filter nothing.
func (q *query) end() error {
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		if !q.known[name] {
			q.refuse(shorten(strings.ToValidUTF8(name, "\uFFFD")), "unknown_parameter", "is not known here")
		}
	}
	if len(q.bad) > 0 {
		return newProblem(http.StatusBadRequest, "bad_query", "the query can't be read; see errors", q.bad...)
	}
	return nil
}

// list is the answer with a page of a list.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

func listed[T any](items []T, next string) *answer {
	if items == nil {
		items = []T{}
	}
	return ok(list[T]{Items: items, NextCursor: next})
}

// A history is read from its stream, so that its cursor is a revision.
func encodeHistoryCursor(eventID string, next int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(eventID + ":" + strconv.FormatInt(next, 10)))
}

// historyCursor gives the revision at which a page begins.
func historyCursor(cursor, eventID string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, errBadCursor
	}
	next, ofThis := strings.CutPrefix(string(data), eventID+":")
	revision, err := strconv.ParseInt(next, 10, 64)
	if !ofThis || err != nil || revision < 0 {
		return 0, errBadCursor
	}
	return revision, nil
}
