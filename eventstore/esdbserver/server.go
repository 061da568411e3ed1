// Package esdbserver speaks EventStoreDB's gRPC protocol over any
// eventstore.Store, so that EventStoreDB's clients can use it: they append,
// read and delete streams, read $all and subscribe. What else the protocol has
// (persistent subscriptions, projections, users, operations, batches) is
// UNIMPLEMENTED. docs/eventstoredb.md lists where it differs from EventStoreDB.
package esdbserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	api "github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/belltower/belltower/eventstore"
)

// Options is how a Server serves.
type Options struct {
	Store eventstore.Store
	// Users are logins with their passwords. Where there are any, every call but
	// those of discovery needs one of them.
	Users map[string]string
	// ReadOnly refuses what would write.
	ReadOnly bool
	// TLS encrypts; nil serves in the clear.
	TLS *tls.Config
}

// Server serves one store. Its methods may be called concurrently.
type Server struct {
	api.UnimplementedStreamsServer
	o        Options
	instance uuid.UUID
	grpc     *grpc.Server
	streams  *streams
	closing  chan struct{}
	close    sync.Once
}

const streamWorkers = 64

// New returns a Server; Serve makes it serve and Close ends it. The store
// stays the caller's.
func New(o Options) *Server {
	s := &Server{o: o, instance: uuid.New(), streams: newStreams(o.Store), closing: make(chan struct{})}
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.admitCall), grpc.StreamInterceptor(s.admitStream),
		// Workers keep the deep stacks that a call needs.
		grpc.NumStreamWorkers(streamWorkers),
		// The clients send a ping every 10 seconds, also while nothing goes on.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	api.RegisterStreamsServer(s.grpc, s)
	gossip.RegisterGossipServer(s.grpc, &node{instance: s.instance})
	serverfeatures.RegisterServerFeaturesServer(s.grpc, features{})
	return s
}

// Serve serves connections of l, which it closes, until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve EventStoreDB's protocol: %w", err)
	}
	return nil
}

// closeWait bounds how long calls in flight may take to end.
const closeWait = 5 * time.Second

// Close ends subscriptions, waits for other calls in flight, and closes all connections.
func (s *Server) Close() {
	s.close.Do(func() {
		close(s.closing)
		timer := time.AfterFunc(closeWait, s.grpc.Stop)
		defer timer.Stop()
		s.grpc.GracefulStop()
	})
}

// subscribed ends with ctx or the server.
func (s *Server) subscribed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-ended
	}
}
