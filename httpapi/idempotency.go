package httpapi

import (
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

const maxKey = 255 // characters

// idempotencyKey reads Idempotency-Key: a string as RFC 8941 has it, or the
// same without quotes, which names the same key.
func idempotencyKey(h http.Header) (key string, given bool, err error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", false, errBadKey
	}
	key = strings.Trim(values[0], " \t")
	if strings.HasPrefix(key, `"`) {
		var quoted bool
		if key, quoted = unquote(key); !quoted {
			return "", false, errBadKey
		}
	}
	if n := utf8.RuneCountInString(key); n < 1 || n > maxKey || !utf8.ValidString(key) {
		return "", false, errBadKey
	}
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", false, errBadKey
	}
	return key, true, nil
}

func unquote(s string) (string, bool) {
	var key strings.Builder
	escaped := false
	for i, r := range s[1:] {
		switch {
		case escaped:
			if r != '"' && r != '\\' {
				return "", false
			}
			key.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '"':
			return key.String(), i == len(s)-2
		default:
			key.WriteRune(r)
		}
	}
	return "", false
}

// gated is a command that something outside its aggregate has to say to: a
// body that can't be read or understood, or a read model that doesn't know the
// resource. Neither may be said before Do has looked the idempotency key up, so
// it is said where the command is decided.
type gated[S any] struct {
	commands.Command[S]
	refusal error
	faults  []aggregates.Fault
}

// judged refuses a body that can't be read, and has the faults that b was found
// to have told together with those that the rules find.
func judged[S any](b *body, cmd commands.Command[S]) commands.Command[S] {
	if b.refusal == nil && len(b.said.faults) == 0 {
		return cmd
	}
	return gated[S]{Command: cmd, refusal: b.refusal, faults: b.said.faults}
}

// unless refuses cmd, where refusal isn't nil.
func unless[S any](refusal error, cmd commands.Command[S]) commands.Command[S] {
	if refusal == nil {
		return cmd
	}
	return gated[S]{Command: cmd, refusal: refusal}
}

// Decide refuses. What the rules find missing only because it couldn't be
// understood is not told twice.
func (g gated[S]) Decide(state S, now aggregates.Now) ([]events.Fact, error) {
	if g.refusal != nil {
		return nil, g.refusal
	}
	_, err := g.Command.Decide(state, now)
	var no *aggregates.Refusal
	if errors.As(err, &no) && statuses[no.Code] == http.StatusNotFound {
		return nil, err
	}
	faults := g.faults
	var invalid *aggregates.Invalid
	if errors.As(err, &invalid) {
		faults = append([]aggregates.Fault(nil), g.faults...)
		for _, f := range invalid.Faults {
			if !g.found(f.Field) {
				faults = append(faults, f)
			}
		}
	}
	return nil, &aggregates.Invalid{Faults: faults}
}

func (g gated[S]) found(field string) bool {
	for _, f := range g.faults {
		if f.Field == field {
			return true
		}
	}
	return false
}

// OwnRevision is the command's own. A resource that isn't there has none.
func (g gated[S]) OwnRevision(state S) (int64, bool) {
	own, has := g.Command.(interface{ OwnRevision(S) (int64, bool) })
	if !has || g.refusal != nil {
		return 0, false
	}
	return own.OwnRevision(state)
}
