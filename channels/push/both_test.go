package push_test

import (
	"testing"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

// Whoever carries it, it is held to the same.
func TestBothContract(t *testing.T) {
	both := func(t *testing.T, base string, client *outgoing.Client) channels.Channel {
		return push.Both{Browsers: webPush(t, client), Apps: fcm(t, base, client)}
	}
	for name, h := range map[string]channeltest.HTTP{"apps": fcmHTTP, "browsers": webPushHTTP} {
		h.New = both
		t.Run(name, func(t *testing.T) { channeltest.RunHTTP(t, h) })
	}
}
