package esdbserver

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/belltower/belltower/eventstore"
)

// exception is an error that clients tell apart by the trailer "exception";
// further trailers come in pairs.
func exception(ctx context.Context, code codes.Code, name, message string, trailers ...string) error {
	for i := range trailers {
		trailers[i] = strings.Map(visible, trailers[i])
	}
	// It fails only where there is no call, and then nobody reads it.
	_ = grpc.SetTrailer(ctx, metadata.Pairs(append([]string{"exception", name}, trailers...)...))
	return status.Error(code, message)
}

// visible keeps what a trailer can carry.
func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

func streamDeleted(ctx context.Context, stream string) error {
	return exception(ctx, codes.FailedPrecondition, "stream-deleted", "the stream is deleted", "stream-name", stream)
}

func wrongVersion(ctx context.Context, stream string, expected expectation, actual int64) error {
	return exception(ctx, codes.FailedPrecondition, "wrong-expected-version", "the stream is at another revision",
		"stream-name", stream, "expected-version", strconv.FormatInt(expected.number(), 10), "actual-version", strconv.FormatInt(actual, 10))
}

func tooLarge(ctx context.Context) error {
	return exception(ctx, codes.InvalidArgument, "maximum-append-size-exceeded", "the append is too large",
		"maximum-append-size", strconv.Itoa(eventstore.MaxAppendBytes))
}

// failed is an error of the store as clients are told.
func failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, eventstore.ErrTooLarge):
		return tooLarge(ctx)
	case errors.Is(err, eventstore.ErrUnknownOutcome):
		return status.Error(codes.Aborted, "the operation timed out: whether it took place is unknown")
	case errors.Is(err, eventstore.ErrUnavailable), errors.Is(err, eventstore.ErrClosed):
		return status.Error(codes.Unavailable, "the store is not available")
	case errors.Is(err, eventstore.ErrCorrupt):
		return status.Error(codes.DataLoss, "stored bytes are not what was written")
	}
	return status.Error(codes.Unknown, err.Error())
}
