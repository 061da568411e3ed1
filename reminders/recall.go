package reminders

import (
	"context"
	"slices"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

// recall writes down what an attempt sent of which only a receipt tells that it was
// taken, as its process ended before it could conclude it. Where the event changed
// meanwhile, so that it may have been one of several texts, none is claimed.
func (s *sender) recall(ctx context.Context, id string, attempt int) {
	if !s.leads() {
		return
	}
	s.inFlight.Go(func() {
		if err := s.recallNow(context.WithoutCancel(ctx), id, attempt); err != nil {
			s.logger.Warn("what an attempt sent could not be written down", "notification", id, "error", err)
		}
	})
}

func (s *sender) recallNow(ctx context.Context, id string, attempt int) error {
	n, err := commands.View(ctx, s.commands, commands.NotificationStream(id), func(n *aggregates.Notification, _ int64) aggregates.Notification {
		seen := *n
		seen.Log = slices.Clone(n.Log)
		return seen
	})
	if err != nil {
		return err
	}
	made := slices.IndexFunc(n.Log, func(a aggregates.Attempt) bool { return a.Number == attempt })
	if made < 0 || n.Message != "" {
		return nil
	}
	c, a := s.lane(n.Channel).carriers[0], n.Log[made]
	claim, err := s.bounds(ctx, id, attempt)
	if err != nil || claim.boot == s.boot { // whoever made it is about to say
		return err
	}
	versions, err := s.versions(ctx, c, n, a)
	if err != nil || len(versions) != 1 {
		return err
	}
	n.Attempts = attempt
	_, err = commands.Do(ctx, s.commands, commands.RecordSent{Fact: sentFact(c, n, versions[0], channels.Result{}, a.StartedAt)}, system(id), nothing[*aggregates.Notification])
	return err
}
