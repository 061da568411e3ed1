package httpapi

import (
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"
)

// Document is openapi.json.
var Document = openAPI

// Routes lists the routes of h as "METHOD /path".
func Routes(h http.Handler) []string {
	var out []string
	for _, r := range h.(*server).routes() {
		out = append(out, r.method+" "+r.path)
	}
	return out
}

// WithPanic makes a handler whose route panics, for the wrapper's tests.
func WithPanic(h http.Handler, method, path string, reason any) http.Handler {
	s := *h.(*server)
	s.router = newRouter([]route{{method: method, path: path, open: true, handle: func(*call) (*answer, error) { panic(reason) }}})
	return &s
}

var (
	EncodeToken     = encodeToken
	DecodeToken     = decodeToken
	IdempotencyKey  = idempotencyKey
	CanonicalNumber = canonicalNumber
	ParseTime       = parseTime
	IfMatch         = ifMatch
	NoneMatch       = noneMatch
	HistoryCursor   = historyCursor
)

// ParseJSON reads what parseBody takes for JSON.
func ParseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errNotJSON
	}
	return parseJSON(data)
}

// AppendCanonical writes a value in its canonical form.
func AppendCanonical(v any) []byte { return appendCanonical(nil, v) }

// CanonicalNumbers gives a value with its numbers in their canonical form.
func CanonicalNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			out[name] = CanonicalNumbers(member)
		}
		return out
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, CanonicalNumbers(item))
		}
		return out
	case json.Number:
		return canonicalNumber(v)
	}
	return v
}

// CanonicalBody gives the canonical form of a body, for comparison.
func CanonicalBody(data []byte) (string, error) {
	b, err := parseBody(data)
	if err != nil {
		return "", err
	}
	return string(b.canonical()), nil
}

// Crowded makes a handler that answers one request at a time and lets another
// wait, for as long as they like; POST /v1/notifications/send-due goes on when
// release is closed. Waiting tells how many wait.
func Crowded(h http.Handler, patience time.Duration, release <-chan struct{}) (crowded http.Handler, waiting func() int) {
	s := *h.(*server)
	s.admission = newAdmission(limits{working: 1, waiting: 1, present: 3, streams: 1, bodies: 100, patience: patience})
	routes := s.routes()
	for i := range routes {
		if routes[i].path == "/v1/notifications/send-due" {
			routes[i].handle = func(c *call) (*answer, error) {
				if _, err := c.optionalBody(); err != nil {
					return nil, err
				}
				<-release
				return ok(SendDueResult{}), nil
			}
		}
	}
	s.router = newRouter(routes)
	return &s, func() int { return len(s.admission.work) + len(s.admission.line) }
}
