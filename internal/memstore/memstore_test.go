package memstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/storetest"
	"github.com/belltower/belltower/internal/memstore"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) (eventstore.Store, func() eventstore.Store) {
		s := memstore.New()
		return s, func() eventstore.Store {
			s = s.Reopen()
			return s
		}
	})
}

func TestFailures(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	s.Fail = func(n int) error {
		if n == 2 {
			return fmt.Errorf("%w: crash before append %d", eventstore.ErrUnavailable, n)
		}
		return nil
	}
	s.FailAfter = func(n int) error {
		if n == 3 {
			return fmt.Errorf("%w: crash after append %d", eventstore.ErrUnknownOutcome, n)
		}
		return nil
	}
	record := func() []eventstore.NewRecord { return []eventstore.NewRecord{{ID: uuid.New(), Type: "t"}} }

	_, err := s.Append(ctx, "s", eventstore.NoStream, record())
	require.NoError(t, err)

	_, err = s.Append(ctx, "s", 0, record())
	require.ErrorIs(t, err, eventstore.ErrUnavailable)
	last, _, err := s.ReadLast(ctx, "s")
	require.NoError(t, err)
	require.EqualValues(t, 0, last.Revision)

	unanswered := record()
	_, err = s.Append(ctx, "s", 0, unanswered)
	require.ErrorIs(t, err, eventstore.ErrUnknownOutcome)
	last, _, err = s.ReadLast(ctx, "s")
	require.NoError(t, err)
	require.Equal(t, unanswered[0].ID, last.ID)

	p, err := s.Reopen().Append(ctx, "s", 0, unanswered)
	require.NoError(t, err, "a repeated append succeeds")
	require.Equal(t, last.Position, p)
}
