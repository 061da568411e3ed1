package load

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
)

// loaded gives what a load of a seed has appended: how many facts of each type,
// and which streams.
func loaded(t *testing.T, facts int64, seed uint64) (types map[string]int, streams map[string]int64) {
	store, ring := memstore.New(), keys.InMemory()
	defer func() { require.NoError(t, ring.Close()) }()
	handler := commands.NewHandler(commands.Options{
		Store: store, Keys: ring, Now: time.Now, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress},
	})
	defer handler.Close()
	made, next, err := Fill(t.Context(), Options{Commands: handler, Now: time.Now, Facts: facts, Seed: seed, Abreast: 1})
	require.NoError(t, err)
	require.GreaterOrEqual(t, made, facts)
	require.Positive(t, next)
	sub, err := store.Subscribe(t.Context(), eventstore.Start)
	require.NoError(t, err)
	defer sub.Close()
	types, streams = map[string]int{}, map[string]int64{}
	counted := int64(0)
	for {
		b, err := sub.Next(context.Background())
		require.NoError(t, err)
		for _, r := range b.Records {
			types[r.Type]++
			streams[r.Stream]++
			counted++
		}
		if b.CaughtUp {
			require.Equal(t, made, counted, "each is counted once")
			return types, streams
		}
	}
}

func TestFillHasAllThatHappens(t *testing.T) {
	types, _ := loaded(t, 12_000, 7)
	for _, name := range []string{
		"EventScheduled", "EventDetailsChanged", "EventRescheduled", "EventCancelled", "EventDeleted",
		"ParticipantRegistered", "ParticipantContactChanged", "ParticipantResponded", "ParticipantPromoted", "ParticipantOptedOut", "ParticipantRemoved",
		"ReminderAdded", "AnnouncementMade",
		"NotificationScheduled", "NotificationCancelled", "SendingStarted", "NotificationSent", "SendingFailed", "NotificationFailed",
	} {
		require.Positive(t, types[name], "%s in %v", name, types)
	}
}

func TestFillIsSeeded(t *testing.T) {
	types, streams := loaded(t, 1000, 1)
	again, same := loaded(t, 1000, 1)
	require.Equal(t, types, again)
	require.Equal(t, streams, same)
	_, other := loaded(t, 1000, 2)
	for stream := range maps.Keys(other) {
		require.NotContains(t, streams, stream)
	}
}
