package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

// problem is an error as RFC 9457 has it. It is also a Go error, so that
// handlers can return one.
type problem struct {
	Type   string             `json:"type"`
	Title  string             `json:"title"`
	Status int                `json:"status"`
	Detail string             `json:"detail"`
	Code   string             `json:"code"`
	Errors []aggregates.Fault `json:"errors,omitempty"`
}

func (p *problem) Error() string { return p.Detail }

func newProblem(status int, code, detail string, faults ...aggregates.Fault) *problem {
	return &problem{
		Type: "urn:belltower:problem:" + code, Title: http.StatusText(status),
		Status: status, Detail: detail, Code: code, Errors: faults,
	}
}

// What the API itself refuses.
var (
	errNoToken        = newProblem(http.StatusUnauthorized, "unauthorized", "a valid bearer token is needed")
	errNoRoute        = newProblem(http.StatusNotFound, "not_found", "there is nothing at this path")
	errNoMethod       = newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path does not take this method; see Allow")
	errTooLarge       = newProblem(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than 1 MiB")
	errTooMuch        = newProblem(http.StatusRequestEntityTooLarge, "too_large", "this is more than can be stored at once")
	errNotJSONType    = newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "the body must be application/json in UTF-8")
	errUnavailable    = newProblem(http.StatusServiceUnavailable, "unavailable", "the event store can't be reached or can't write now; try again")
	errUnreadable     = newProblem(http.StatusServiceUnavailable, "unavailable", "what is stored can't be read now; try again")
	errUnknown        = newProblem(http.StatusServiceUnavailable, "outcome_unknown", "it is not known whether this was done; try again, with the same Idempotency-Key if there was one")
	errNewerFact      = newProblem(http.StatusServiceUnavailable, "newer_fact", "a newer version of Belltower wrote to this; upgrade this instance")
	errCatchingUp     = newProblem(http.StatusServiceUnavailable, "catching_up", "the read models have not caught up with what was asked for; try again")
	errShuttingDown   = newProblem(http.StatusServiceUnavailable, "interrupted", "the request was interrupted; try again")
	errInternal       = newProblem(http.StatusInternalServerError, "internal", "something went wrong here")
	errBadToken       = newProblem(http.StatusBadRequest, "bad_consistency_token", "the Consistency-Token can't be read")
	errBadKey         = newProblem(http.StatusBadRequest, "bad_idempotency_key", "Idempotency-Key must be one value of 1 to 255 visible characters")
	errBadMatch       = newProblem(http.StatusBadRequest, "bad_if_match", "If-Match must be * or a list of entity tags")
	errBadCursor      = newProblem(http.StatusBadRequest, "bad_cursor", "the cursor can't be read or belongs to another list", fault("cursor", "bad_cursor", "can't be read or belongs to another list"))
	errNoSuchRevision = newProblem(http.StatusBadRequest, "revision_beyond_end", "the notification has no such revision", fault("as_of", "beyond_end", "the notification has no such revision"))
	errBeyondEnd      = newProblem(http.StatusBadRequest, "revision_beyond_end", "the event has no such revision", fault("as_of", "beyond_end", "the event has no such revision"))
	errBadLastID      = newProblem(http.StatusBadRequest, "bad_last_event_id", "Last-Event-ID can't be read")
	errFutureLastID   = newProblem(http.StatusBadRequest, "bad_last_event_id", "Last-Event-ID is beyond the end of the log; read again from the start, or without it from now on")
	errUnreadyModels  = newProblem(http.StatusServiceUnavailable, "not_ready", "the read models have not caught up with the log")
)

func fault(field, code, message string) aggregates.Fault {
	return aggregates.Fault{Field: field, Code: code, Message: message}
}

// statuses is the one table from refusal to status; what is not in it is a
// state that forbids what was asked: 409.
var statuses = map[string]int{
	aggregates.ErrEventNotFound.Code:        http.StatusNotFound,
	aggregates.ErrParticipantNotFound.Code:  http.StatusNotFound,
	aggregates.ErrReminderNotFound.Code:     http.StatusNotFound,
	aggregates.ErrNotificationNotFound.Code: http.StatusNotFound,
	aggregates.ErrPrecondition.Code:         http.StatusPreconditionFailed,
	aggregates.ErrKeyReused.Code:            http.StatusUnprocessableEntity,
}

// problemOf says what a client is told of err: a refusal with its code, and of
// anything unforeseen nothing, as that is for the log.
func problemOf(err error) *problem {
	var (
		own     *problem
		no      *aggregates.Refusal
		invalid *aggregates.Invalid
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &no):
		status, ok := statuses[no.Code]
		if !ok {
			status = http.StatusConflict
		}
		return newProblem(status, no.Code, no.Message)
	case errors.As(err, &invalid):
		return newProblem(http.StatusUnprocessableEntity, "invalid", "the request is against the rules; see errors", invalid.Faults...)
	case errors.Is(err, projections.ErrCursor):
		return errBadCursor
	case errors.Is(err, events.ErrNewerFact):
		return errNewerFact
	case errors.Is(err, eventstore.ErrTooLarge):
		return errTooMuch
	case errors.Is(err, eventstore.ErrUnknownOutcome):
		return errUnknown
	case errors.Is(err, eventstore.ErrUnavailable), errors.Is(err, eventstore.ErrClosed):
		return errUnavailable
	case errors.Is(err, eventstore.ErrCorrupt), projections.Unreadable(err):
		return errUnreadable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, projections.ErrClosed):
		return errShuttingDown
	}
	return errInternal
}
