package esdbserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/belltower/belltower/eventstore"
)

// open are the services that need no login: clients call them before they log in.
var open = []string{"/event_store.client.gossip.Gossip/", "/event_store.client.server_features.ServerFeatures/"}

// writes are the methods that a read-only server refuses.
var writes = map[string]bool{
	api.Streams_Append_FullMethodName: true, api.Streams_BatchAppend_FullMethodName: true,
	api.Streams_Delete_FullMethodName: true, api.Streams_Tombstone_FullMethodName: true,
}

func (s *Server) admitCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (s *Server) admitStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := s.admit(stream.Context(), info.FullMethod); err != nil {
		if info.IsClientStream {
			drain(stream)
		}
		return err
	}
	return handle(srv, stream)
}

// drain takes what a client still sends: one that is refused while it sends
// hears that the stream has ended, and not why.
func drain(stream grpc.ServerStream) {
	for range eventstore.MaxAppendRecords {
		if stream.RecvMsg(&api.AppendReq{}) != nil {
			return
		}
	}
}

// admit refuses who may not call a method.
func (s *Server) admit(ctx context.Context, method string) error {
	for _, service := range open {
		if strings.HasPrefix(method, service) {
			return nil
		}
	}
	if len(s.o.Users) > 0 && !s.known(ctx) {
		return status.Error(codes.Unauthenticated, "a login and its password are needed")
	}
	if s.o.ReadOnly && writes[method] {
		return exception(ctx, codes.PermissionDenied, "access-denied", "this server is read only")
	}
	return nil
}

// known tells whether a call brings a login and its password. It takes the
// same time for those that are nearly right.
func (s *Server) known(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, value := range md.Get("authorization") {
		scheme, encoded, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Basic") {
			continue
		}
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			continue
		}
		login, password, _ := strings.Cut(string(decoded), ":")
		want, exists := s.o.Users[login]
		given, held := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(given[:], held[:]) == 1 && exists {
			return true
		}
	}
	return false
}
