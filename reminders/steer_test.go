package reminders

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore"
)

// shy is a store that others use too, whose stream of the processor can't be
// read now and then.
type shy struct {
	eventstore.Store
	fails *atomic.Bool
}

func (s shy) Exclusive() bool { return false }

func (s shy) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Record, error) {
	if stream == commands.ProcessorStream && s.fails.Load() {
		return nil, fmt.Errorf("%w: away", eventstore.ErrUnavailable)
	}
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// A stop that another instance was asked for holds also where it can't be read at first.
func TestAStopThatCannotBeReadAtFirst(t *testing.T) {
	var fails atomic.Bool
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(30 * time.Minute)
		fails.Store(true)
		others := commands.NewHandler(commands.Options{Store: w.store, Keys: w.ring, Now: w.now, PhoneRegion: "DE", Channels: Kinds(w.registrations())})
		_, err := commands.Do(t.Context(), others, commands.StopProcessor{}, caller, nothing)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		fails.Store(false)
		at(time.Hour + 10*time.Second)
		synctest.Wait()
		require.Empty(t, w.email.deliveries())
	}, func(w *world) {
		w.wrap = func(s eventstore.Store) eventstore.Store { return shy{s, &fails} }
	})
}
