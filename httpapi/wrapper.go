package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
)

// ServeHTTP is what every request passes, those that no route takes too.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{Request: r, w: &recorder{ResponseWriter: w, head: r.Method == http.MethodHead}, id: requestID(r)}
	f := s.router.find(r)
	c.vars = f.vars
	header := w.Header()
	header.Set("X-Request-Id", c.id)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-cache") // kept, but asked for again with If-None-Match

	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		if reason := recover(); reason != nil {
			s.panicked(c, reason)
		}
		s.note(c, f, time.Since(began))
		if c.w.aborted {
			// The client must not take what it has for the whole.
			panic(http.ErrAbortHandler)
		}
	}()

	a, err := s.answer(c, f)
	// From here on it is the client's turn.
	_ = c.control().SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil && a != nil {
		err = s.write(c, a)
	}
	if err != nil {
		s.fail(c, err)
	}
}

// answer finds out who calls before anything else is said, so that a stranger
// can't even learn which routes there are.
func (s *server) answer(c *call, f found) (*answer, error) {
	if !f.open {
		actor, ok := s.guard.admit(c.Request)
		if !ok {
			c.w.Header().Set("WWW-Authenticate", "Bearer")
			return nil, errNoToken
		}
		c.actor = actor
	}
	switch {
	case f.template == "":
		return nil, errNoRoute
	case f.route == nil:
		c.w.Header().Set("Allow", f.allow)
		return nil, errNoMethod
	}
	if f.open {
		return f.route.handle(c)
	}
	if !f.route.query {
		if err := c.query().end(); err != nil {
			return nil, err
		}
	}
	if err := s.awaitToken(c); err != nil {
		return nil, err
	}
	return f.route.handle(c)
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9._~:+/=-]{1,128}$`)

// requestID takes the caller's id of the request where it is harmless in
// headers and logs, and makes one otherwise.
func requestID(r *http.Request) string {
	if given := r.Header.Values("X-Request-Id"); len(given) == 1 && plainID.MatchString(given[0]) {
		return given[0]
	}
	return uuid.NewString()
}

func (s *server) panicked(c *call, reason any) {
	if reason == http.ErrAbortHandler { //nolint:errorlint // it is a panic's value, compared as net/http does
		c.w.aborted = true
		return
	}
	s.log.ErrorContext(c.Context(), "panic", "request_id", c.id, "reason", reason, "stack", string(debug.Stack()))
	if c.w.status != 0 {
		c.w.aborted = true
		return
	}
	s.writeProblem(c, errInternal)
}

// note logs the request and counts it. Neither the path, which may hold what
// somebody typed, nor the query is logged: the route says enough.
func (s *server) note(c *call, f found, took time.Duration) {
	template := f.template
	if template == "" {
		template = "none"
	}
	method := c.Method
	if !knownMethods[method] {
		method = "other"
	}
	s.metrics.count(method, template, c.w.code(), took)
	level := slog.LevelInfo
	if template == "/healthz" || template == "/readyz" || template == "/metrics" {
		level = slog.LevelDebug // who asks every few seconds would drown the rest
	}
	s.log.LogAttrs(c.Context(), level, "request",
		slog.String("method", method), slog.String("route", template), slog.Int("status", c.w.code()),
		slog.Duration("took", took), slog.Int64("bytes", c.w.bytes),
		slog.String("actor", c.actor), slog.String("request_id", c.id))
}

// knownMethods keeps what clients invent out of labels and logs.
var knownMethods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "OPTIONS": true,
}

// fail is the one place where an error becomes an answer.
func (s *server) fail(c *call, err error) {
	p := problemOf(err)
	if c.Context().Err() != nil && errors.Is(err, context.Canceled) {
		// Nobody is there to read it, unless the server itself is closing.
		s.log.DebugContext(c.Context(), "request abandoned", "request_id", c.id)
	} else if p.Status >= http.StatusInternalServerError && p.Code != errUnreadyModels.Code { // readiness is asked for to learn it
		s.log.ErrorContext(c.Context(), "request failed", "request_id", c.id, "code", p.Code, "error", err)
	}
	if c.w.status != 0 {
		c.w.aborted = true
		return
	}
	s.writeProblem(c, p)
}

func (s *server) writeProblem(c *call, p *problem) {
	header := c.w.Header()
	if p.Status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	header.Del("ETag")
	header.Set("Cache-Control", "no-store")
	if err := writeJSON(c.w, p.Status, "application/problem+json", p); err != nil {
		s.log.ErrorContext(c.Context(), "problem not written", "request_id", c.id, "error", err)
	}
}

// recorder counts what passes, and drops the body of an answer to HEAD.
type recorder struct {
	http.ResponseWriter
	head    bool
	status  int // 0: nothing was said yet
	bytes   int64
	aborted bool
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.head {
		return len(data), nil
	}
	n, err := w.ResponseWriter.Write(data)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
