package esdb

import (
	"context"
	"errors"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// withLeader asks for an answer of the cluster's leader. The client has an
// option for that, but never sends it.
func withLeader(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, leader)
}

var leader = metadata.Pairs("requires-leader", "true")

func isCode(err error, code client.ErrorCode) bool {
	var e *client.Error
	return errors.As(err, &e) && e.IsErrorCode(code)
}

// grpcCode is the status of the call behind an error of the client.
func grpcCode(err error) codes.Code {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.Unknown
}

// refused tells that the server has answered, and will answer the same again.
func refused(err error) bool {
	for _, code := range []client.ErrorCode{
		client.ErrorCodeUnauthenticated, client.ErrorCodeAccessDenied, client.ErrorCodeUnsupportedFeature,
		client.ErrorCodeStreamDeleted, client.ErrorCodeResourceNotFound, client.ErrorCodeWrongExpectedVersion, client.ErrorCodeParsing,
	} {
		if isCode(err, code) {
			return true
		}
	}
	switch grpcCode(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.ResourceExhausted, codes.DataLoss:
		return true
	}
	return false
}

// connected tells that an error says nothing against the connection: the
// server is there, and can't do it now.
func connected(err error) bool {
	return isCode(err, client.ErrorCodeNotLeader) || isCode(err, client.ErrorAborted)
}
