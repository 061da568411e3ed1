package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

// call is a request with what the wrapper found out about it.
type call struct {
	*http.Request
	w     *recorder
	id    string // of the request
	actor string // name of the token; empty on open routes
	vars  map[string]string
	place place
}

// uuid gives the id that stands in the path under name; ok is false where it
// can't be one.
func (c *call) uuid(name string) (id string, ok bool) { return canonicalID(c.vars[name]) }

// control reaches the connection behind the answer.
func (c *call) control() *http.ResponseController { return http.NewResponseController(c.w) }

// patient lets the handler take its time: the connection's deadline for
// reading would otherwise end the request's context, and that for writing the
// answer. Whoever writes sets a new one.
func (c *call) patient() {
	// A connection without deadlines, as in tests, is patient already.
	_ = c.control().SetReadDeadline(time.Time{})
	_ = c.control().SetWriteDeadline(time.Time{})
}

// answer is what a handler says.
type answer struct {
	status   int
	body     any    // nil: none
	revision *int64 // becomes the ETag
	location string
	position *eventstore.Position // of a write; becomes the Consistency-Token
	replayed bool
	volatile bool // changes with time alone, without a new revision
}

func ok(body any) *answer { return &answer{status: http.StatusOK, body: body} }

// resource is the answer with one resource.
func resource(status int, body any, revision int64) *answer {
	return &answer{status: status, body: body, revision: &revision}
}

// write sends a; it is the only place where answers with JSON come from, but
// for problems.
func (s *server) write(c *call, a *answer) error {
	header := c.w.Header()
	if a.location != "" {
		header.Set("Location", a.location)
	}
	if a.position != nil {
		header.Set("Consistency-Token", encodeToken(*a.position))
	}
	if a.replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if a.revision != nil {
		header.Set("ETag", etag(*a.revision))
		if !a.volatile && (c.Method == http.MethodGet || c.Method == http.MethodHead) && noneMatch(c.Request, *a.revision) {
			c.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if a.body == nil {
		c.w.WriteHeader(a.status)
		return nil
	}
	return writeJSON(c.w, a.status, "application/json", a.body)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) error {
	data, err := encode(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // who doesn't listen can't be told
	return nil
}

func encode(body any) ([]byte, error) {
	if data, ok := body.(encoded); ok {
		return data, nil
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(body); err != nil {
		return nil, fmt.Errorf("encode %T: %w", body, err)
	}
	return b.Bytes(), nil
}

// do decides cmd; view makes the answer from the state right after it.
func do[T any, S commands.State[T]](s *server, c *call, cmd commands.Command[S], by commands.Caller, view func(S, time.Time) *answer) (*answer, error) {
	got, err := commands.Do(c.Context(), s.o.Commands, cmd, by, view)
	if err != nil {
		return nil, err
	}
	a := got.View
	a.position, a.replayed = &got.Position, got.Replayed
	return a, nil
}

// gone is the view of what was removed.
func gone[S any](S, time.Time) *answer { return &answer{status: http.StatusNoContent} }

// caller says for whom a command without a key is done.
func (c *call) caller() (commands.Caller, error) {
	match, err := ifMatch(c.Request)
	if err != nil {
		return commands.Caller{}, err
	}
	return commands.Caller{Actor: c.actor, CorrelationID: c.id, CausationID: c.id, IfMatch: match}, nil
}

// keyed says for whom a command is done that an idempotency key may come with.
// A body that can't be read is refused, with a key only once that was looked up.
func (c *call) keyed(b *body) (commands.Caller, error) {
	b.refusal = b.end()
	by, err := c.caller()
	if err != nil {
		return by, err
	}
	value, given, err := idempotencyKey(c.Header)
	if err != nil {
		return by, err
	}
	if !given {
		return by, b.refusal
	}
	// Ids may be spelt in capitals, and name the same then.
	by.Key = &commands.Key{Route: c.Method + " " + strings.ToLower(c.URL.Path), Value: value, Body: b.canonical()}
	return by, nil
}
