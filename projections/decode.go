package projections

import (
	"context"
	"errors"
	"fmt"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// batch is what was decoded of a batch. With err, facts are those before what failed.
type batch struct {
	facts    []fact
	position eventstore.Position
	caughtUp bool
	err      error
}

// leaseStream is no part of what is shown.
const leaseStream = "lease"

// errEnded says that nothing more comes, as the subscription's context has ended.
var errEnded = errors.New("the subscription has ended")

// decode decodes what sub delivers, until something fails or ctx ends, and rests
// at the end of the log.
func decode(ctx context.Context, sub eventstore.Subscription, keys events.Keys, decoded chan<- batch, rest func(ctx context.Context, behind []eventstore.Record)) {
	defer close(decoded)
	for {
		var b batch
		got, err := sub.Next(ctx)
		if err != nil {
			b.err = fmt.Errorf("subscription: %w", err)
		}
		b.position, b.caughtUp = got.Position, got.CaughtUp
		for _, r := range got.Records {
			if r.Stream == leaseStream {
				continue
			}
			f, err := read(keys, r)
			if err != nil {
				b.err = err
				break
			}
			b.facts = append(b.facts, f)
		}
		select {
		case decoded <- b:
		case <-ctx.Done():
			return
		}
		if b.err != nil {
			return
		}
		if b.caughtUp && len(b.facts) > 0 {
			rest(ctx, got.Records)
		}
	}
}
