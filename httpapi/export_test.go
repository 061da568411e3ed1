package httpapi

import "net/http"

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

// CanonicalBody gives the canonical form of a body, for comparison.
func CanonicalBody(data []byte) (string, error) {
	b, err := parseBody(data)
	if err != nil {
		return "", err
	}
	return string(b.canonical()), nil
}
