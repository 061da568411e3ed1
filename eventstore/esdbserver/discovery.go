package esdbserver

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
)

// version is the one whose behaviour is followed: the first whose
// subscriptions say that they have caught up.
const version = "23.10.0"

// features tells clients what they may call.
type features struct {
	serverfeatures.UnimplementedServerFeaturesServer
}

// GetSupportedMethods implements the ServerFeatures service. Batches aren't
// listed, so clients append one by one.
func (features) GetSupportedMethods(context.Context, *shared.Empty) (*serverfeatures.SupportedMethods, error) {
	methods := &serverfeatures.SupportedMethods{EventStoreServerVersion: version}
	for _, m := range []string{"append", "delete", "read", "tombstone"} {
		methods.Methods = append(methods.Methods, &serverfeatures.SupportedMethod{
			MethodName: m, ServiceName: "event_store.client.streams.streams",
		})
	}
	return methods, nil
}

// node is the one member of its cluster.
type node struct {
	gossip.UnimplementedGossipServer
	instance uuid.UUID
}

// Read implements the Gossip service. The node is where the client has found
// it: what it listens on may have another name from there.
func (n *node) Read(ctx context.Context, _ *shared.Empty) (*gossip.ClusterInfo, error) {
	at := &gossip.EndPoint{}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get(":authority")) > 0 {
		host, port, err := net.SplitHostPort(md.Get(":authority")[0])
		if number, numberErr := strconv.ParseUint(port, 10, 16); err == nil && numberErr == nil {
			at.Address, at.Port = host, uint32(number)
		}
	}
	return &gossip.ClusterInfo{Members: []*gossip.MemberInfo{{
		InstanceId: structured(n.instance), TimeStamp: ticks(time.Now()),
		State: gossip.MemberInfo_Leader, IsAlive: true, HttpEndPoint: at,
	}}}, nil
}
