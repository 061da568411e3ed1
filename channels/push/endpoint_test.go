package push_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/channels/push"
)

// Each push service fails by itself.
func TestEndpoint(t *testing.T) {
	browsers := &push.WebPush{}
	both := push.Both{Browsers: browsers}
	subscribed := newBrowser(t).subscription(t, "https://updates.push.services.mozilla.com/wpush/v2/abc")
	require.Equal(t, "updates.push.services.mozilla.com", both.Endpoint(subscribed))
	require.Equal(t, "updates.push.services.mozilla.com", browsers.Endpoint(subscribed))
	require.Empty(t, browsers.Endpoint(`{"endpoint":"https://x.org"}`))
	require.Empty(t, browsers.Endpoint(""))
}
