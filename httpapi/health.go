package httpapi

import (
	"context"
	"fmt"
	"time"
)

// What makes an instance unready.
const (
	maxLag       = 30 * time.Second
	storeTimeout = 2 * time.Second
)

type health struct {
	Status string `json:"status"`
}

// getHealth says that the process answers, and nothing about what it stands on:
// who restarts it for that would only make it worse.
func (s *server) getHealth(*call) (*answer, error) { return ok(health{"ok"}), nil }

// getReady says whether requests should come here. It is open to all, so that
// the reason names no error as it is; that is in the log.
func (s *server) getReady(c *call) (*answer, error) {
	if reason := s.unready(c.Context()); reason != "" {
		return nil, newProblem(errUnreadyModels.Status, errUnreadyModels.Code, reason)
	}
	return ok(health{"ready"}), nil
}

func (s *server) unready(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if _, err := s.o.Store.End(ctx); err != nil {
		return "the event store can't be reached"
	}
	status := s.o.Models.Status()
	switch {
	case status.Err != nil:
		return fmt.Sprintf("the read models stand still at position %v", status.Position)
	case !status.CaughtUp:
		return fmt.Sprintf("the read models have not caught up with the log; they are at position %v", status.Position)
	case status.Lag > maxLag:
		return fmt.Sprintf("the read models are %s behind the log", status.Lag.Round(time.Second))
	}
	return ""
}
