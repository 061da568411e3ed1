package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/keys"
)

// giveKeys gives a key of their own to participants who are registered in
// facts. Rules don't do it: the number of a key is nothing that they decide on.
func (h *Handler) giveKeys(ctx context.Context, facts []events.Fact) ([]events.Fact, error) {
	for i, f := range facts {
		registered, ok := f.(events.ParticipantRegistered)
		if !ok || registered.Personal.Key != 0 {
			continue
		}
		key, err := h.o.Keys.Take(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: take a key: %w", eventstore.ErrUnavailable, err)
		}
		registered.Personal.Key = key
		facts[i] = registered
	}
	return facts, nil
}

func (h *Handler) decode(r eventstore.Record) (events.Fact, events.Metadata, error) {
	var m events.Metadata
	if err := json.Unmarshal(r.Metadata, &m); err != nil {
		return nil, m, fmt.Errorf("%w: metadata of %s at %d: %w", eventstore.ErrCorrupt, r.Stream, r.Revision, err)
	}
	f, err := events.Decode(h.o.Keys, r.ID, r.Type, r.Data)
	if errors.Is(err, events.ErrNewerFact) {
		return nil, m, fmt.Errorf("%s at %d: %w", r.Stream, r.Revision, err)
	} else if errors.Is(err, keys.ErrUnavailable) {
		return nil, m, fmt.Errorf("%w: %s at %d: %w", eventstore.ErrUnavailable, r.Stream, r.Revision, err)
	} else if err != nil { // the fact or its key is not what it was
		return nil, m, fmt.Errorf("%w: %s at %d: %w", eventstore.ErrCorrupt, r.Stream, r.Revision, err)
	}
	return f, m, nil
}
