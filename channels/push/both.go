package push

import (
	"context"

	"github.com/belltower/belltower/channels"
)

// Both carries messages to apps and to browsers: a token that is a subscription's
// JSON belongs to a browser.
type Both struct {
	Apps     *FCM
	Browsers *WebPush
}

// carrier is either of the two.
type carrier interface {
	channels.Channel
	Try(ctx context.Context, m channels.Message) (r channels.Result, words string)
}

func (b Both) carrier(m channels.Message) carrier {
	if isSubscription(m.To) {
		return b.Browsers
	}
	return b.Apps
}

// Check refuses what the one whom the message is for can't take.
func (b Both) Check(m channels.Message) error { return b.carrier(m).Check(m) }

// Endpoint names the push service of a browser, or FCM's server.
func (b Both) Endpoint(to string) string {
	if isSubscription(to) {
		return b.Browsers.Endpoint(to)
	}
	return b.Apps.Server()
}

// Send makes one attempt.
func (b Both) Send(ctx context.Context, m channels.Message) channels.Result {
	return b.carrier(m).Send(ctx, m)
}

// Try sends as Send does, and gives the provider's words as well.
func (b Both) Try(ctx context.Context, m channels.Message) (r channels.Result, words string) {
	return b.carrier(m).Try(ctx, m)
}

// Probe looks whether FCM takes messages from us; push services can't be asked.
func (b Both) Probe(ctx context.Context) (r channels.Result, words string) { return b.Apps.Probe(ctx) }

// Server names where messages go, for people.
func (b Both) Server() string { return b.Apps.Server() + " and " + b.Browsers.Server() }
