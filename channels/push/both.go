package push

import (
	"context"
	"strings"

	"github.com/belltower/belltower/channels"
)

// Both sends to browsers by Web Push, and to apps through FCM: a push token that is
// JSON is a browser's subscription.
type Both struct {
	Browsers *WebPush
	Apps     *FCM
}

type sender interface {
	channels.Channel
	Try(ctx context.Context, m channels.Message) (channels.Result, string)
}

func (b Both) of(m channels.Message) sender {
	if strings.HasPrefix(strings.TrimSpace(m.To), "{") {
		return b.Browsers
	}
	return b.Apps
}

// Server names who is called for apps, for people; browsers name their own.
func (b Both) Server() string { return b.Apps.Server() }

// Check refuses what whoever is to carry it would not take.
func (b Both) Check(m channels.Message) error { return b.of(m).Check(m) }

// Send makes one attempt.
func (b Both) Send(ctx context.Context, m channels.Message) channels.Result {
	return b.of(m).Send(ctx, m)
}

// Try sends as Send does, and gives the provider's words as well.
func (b Both) Try(ctx context.Context, m channels.Message) (channels.Result, string) {
	return b.of(m).Try(ctx, m)
}

// Probe looks whether FCM would take messages; push services can't be asked.
func (b Both) Probe(ctx context.Context) (channels.Result, string) { return b.Apps.Probe(ctx) }
