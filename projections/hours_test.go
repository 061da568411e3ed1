package projections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
)

// However often the example is interrupted, it counts each message once.
func TestHoursExample(t *testing.T) {
	store := memstore.New()
	ring, err := keys.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer ring.Close()
	key, err := ring.Take(t.Context())
	require.NoError(t, err)
	sent := func(i int) {
		fact := events.NotificationSent{
			NotificationID: fmt.Sprint(i), Attempt: 1, SentTime: time.Date(2031, 5, 1, i%24, 30, 0, 0, time.FixedZone("", 0)), To: "a***@example.org",
			Personal: events.Personal{Key: key},
		}
		id := uuid.New()
		data, err := events.Encode(ring, id, fact)
		require.NoError(t, err)
		metadata, err := json.Marshal(events.Metadata{Actor: "belltower", OccurredAt: fact.SentTime})
		require.NoError(t, err)
		_, err = store.Append(t.Context(), "notification-"+fact.NotificationID, eventstore.NoStream, []eventstore.NewRecord{{ID: id, Type: fact.Name(), Data: data, Metadata: metadata}})
		require.NoError(t, err)
	}
	_, err = store.Append(t.Context(), "lease", eventstore.NoStream, []eventstore.NewRecord{{ID: uuid.New(), Type: "lease-renewed", Data: []byte(`{}`), Metadata: []byte(`{}`)}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "hours.db")
	const messages = 240
	for i, total := 0, 0; total < messages; i++ {
		hours, err := OpenHours(t.Context(), path)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- hours.Follow(ctx, store, ring) }()
		for range rand.IntN(40) {
			if total < messages {
				sent(total)
				total++
			}
		}
		cancel() // wherever it is
		require.Error(t, <-ended, "its context has ended")
		require.NoError(t, hours.Close())
	}
	hours, err := OpenHours(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hours.Follow(ctx, store, ring) }()
	var want [24]int
	for hour := range want {
		want[hour] = messages / 24
	}
	require.Eventually(t, func() bool {
		counts, err := hours.Counts(t.Context())
		return err == nil && counts == want
	}, 5*time.Minute, 10*time.Millisecond)
	cancel()
	require.Error(t, <-ended, "its context has ended")
	require.NoError(t, hours.Close())
}

// The documented projection is the one that is tested here.
func TestDocumentedHours(t *testing.T) {
	page, err := os.ReadFile("../docs/projections.md")
	require.NoError(t, err)
	source, err := os.ReadFile("hours_example_test.go")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(page), "```go\npackage hours\n")
	require.True(t, found)
	block, _, found = strings.Cut(block, "```\n")
	require.True(t, found)
	_, code, found := strings.Cut(string(source), "package projections_test\n")
	require.True(t, found)
	require.Equal(t, code, block)
}
