package push_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/channels/channeltest"
	"github.com/belltower/belltower/channels/outgoing"
	"github.com/belltower/belltower/channels/push"
)

func both(t *testing.T, base string, client *outgoing.Client) push.Both {
	return push.Both{Browsers: webPush(t, client), Apps: fcm(t, base, client)}
}

// What is no subscription goes to FCM, and is held to the same.
func TestBothContract(t *testing.T) {
	h := fcmHTTP
	h.New = func(t *testing.T, base string, client *outgoing.Client) channels.Channel { return both(t, base, client) }
	channeltest.RunHTTP(t, h)
}

func TestSubscriptionsGoToBrowsers(t *testing.T) {
	called := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == endpointPath {
			called++
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	c := both(t, server.URL, onThisMachine(t))
	m := message()
	m.To = theBrowser().subscription(server.URL + endpointPath)
	require.NoError(t, c.Check(m))
	require.Equal(t, channels.Accepted, c.Send(t.Context(), m).Outcome)
	require.Equal(t, 1, called)
	m.To = `{"endpoint":"https://push.example.net/x"}`
	require.Equal(t, channels.Rejected, c.Send(t.Context(), m).Outcome, "a wrong subscription is no token of FCM's")
}
