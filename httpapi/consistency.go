package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/projections"
)

// maxWait is how long a request waits for the read models.
const maxWait = 5 * time.Second

// tokenVersion stands before the position in a Consistency-Token, so that
// another form can be told from this one.
const tokenVersion = "1:"

func encodeToken(p eventstore.Position) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenVersion + p.String()))
}

func decodeToken(s string) (eventstore.Position, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return eventstore.Position{}, errBadToken
	}
	position, known := strings.CutPrefix(string(data), tokenVersion)
	if !known {
		return eventstore.Position{}, errBadToken
	}
	p, err := eventstore.ParsePosition(position)
	if err != nil {
		return eventstore.Position{}, errBadToken
	}
	return p, nil
}

// awaitToken makes the request see at least the write whose token it carries.
func (s *server) awaitToken(c *call) error {
	given := c.Header.Values("Consistency-Token")
	if len(given) == 0 {
		return nil
	}
	if len(given) > 1 {
		return errBadToken
	}
	p, err := decodeToken(given[0])
	if err != nil {
		return err
	}
	return s.await(c.Context(), p)
}

// await waits until the read models have seen p.
func (s *server) await(ctx context.Context, p eventstore.Position) error {
	waiting, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	err := s.o.Models.WaitFor(waiting, p)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return errCatchingUp
	}
	return err
}

// known looks something up for a write. What the read models don't know may
// only not be known yet: then they are given the time to catch up.
func known[V any](ctx context.Context, s *server, look func(context.Context) (V, error)) (V, error) {
	v, err := look(ctx)
	if !errors.Is(err, projections.ErrNotFound) {
		return v, err
	}
	end, err := s.o.Store.End(ctx)
	if err != nil {
		return v, err
	}
	if err := s.await(ctx, end); err != nil {
		return v, err
	}
	return look(ctx)
}
