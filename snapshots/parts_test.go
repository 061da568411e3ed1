package snapshots_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/keys"
	"github.com/belltower/belltower/snapshots"
)

// An event that takes several parts, of people and of keyed requests, is after a start what it
// was before: whoever comes is refused for who is in a part that nobody has asked for, a repeated
// request is answered as the first time, and all that can be seen of it is the same.
func TestAfterAStartALargeEventIsWhatItWas(t *testing.T) {
	const crowd = 3*1024 + 100
	ctx, dir := context.Background(), t.TempDir()
	store, ring, quiet := memstore.New(), keys.InMemory(), slog.New(slog.DiscardHandler)
	defer func() { require.NoError(t, ring.Close()) }()
	now := time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)
	begin := func(with bool) (h *commands.Handler, end func()) {
		o := commands.Options{Store: store, Keys: ring, Now: func() time.Time { return now }, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress}}
		kept := (*snapshots.Store)(nil)
		if with {
			var err error
			kept, err = snapshots.Open(ctx, sqldb.Target{}, dir, quiet)
			require.NoError(t, err)
			o.Snapshots = kept
		}
		h = commands.NewHandler(o)
		return h, func() {
			h.Close()
			if kept != nil {
				require.NoError(t, kept.Close())
			}
		}
	}
	do := func(h *commands.Handler, cmd commands.Command[*aggregates.Event], key string) (commands.Answer[int], error) {
		by := commands.Caller{Actor: "ann"}
		if key != "" {
			by.Key = &commands.Key{Route: "POST", Value: key, Body: []byte("{}")}
		}
		return commands.Do(ctx, h, cmd, by, func(e *aggregates.Event, _ time.Time) int { return e.ParticipantCount() })
	}
	register := func(id, user string) commands.RegisterParticipant {
		return commands.RegisterParticipant{EventID: "e", ParticipantID: id, Contact: aggregates.ContactFields{UserID: user, Name: user, Email: user + "@example.org"}}
	}
	h, end := begin(true)
	_, err := do(h, commands.ScheduleEvent{EventID: "e", Fields: aggregates.EventFields{
		Title: "Large", Description: "Large", CreatorID: "c", StartTime: now.Add(time.Hour), EndTime: now.Add(2 * time.Hour), TimeZone: "UTC", Capacity: new(crowd - 50),
	}}, "")
	require.NoError(t, err)
	for i := range crowd {
		_, err := do(h, register(fmt.Sprint("p", i), fmt.Sprint("u", i)), fmt.Sprint("key-", i))
		require.NoError(t, err)
	}
	end()

	for name, ask := range map[string]func(*commands.Handler){
		"of the first part": func(h *commands.Handler) {
			for _, cmd := range []commands.RegisterParticipant{register("p7", "new"), register("new", "u8")} {
				_, err := do(h, cmd, "")
				require.ErrorIs(t, err, aggregates.ErrDuplicateParticipant)
			}
		},
		"by the address alone": func(h *commands.Handler) {
			again := register("new", "new")
			again.Contact.Email = "U1500@example.org"
			_, err := do(h, again, "")
			require.ErrorIs(t, err, aggregates.ErrDuplicateParticipant)
		},
		"a repeated request": func(h *commands.Handler) {
			answer, err := do(h, register("p9", "u9"), "key-9")
			require.NoError(t, err)
			require.True(t, answer.Replayed)
			require.Equal(t, 10, answer.View)
		},
		"a key that was used for something else": func(h *commands.Handler) {
			by := commands.Caller{Actor: "ann", Key: &commands.Key{Route: "POST", Value: "key-2000", Body: []byte("[]")}}
			_, err := commands.Do(ctx, h, register("q", "q"), by, func(*aggregates.Event, time.Time) int { return 0 })
			require.ErrorIs(t, err, aggregates.ErrKeyReused)
		},
		"somebody new, and somebody who goes": func(h *commands.Handler) {
			answer, err := do(h, register("new", "new"), "")
			require.NoError(t, err)
			answer2, err := do(h, commands.RemoveParticipant{EventID: "e", ParticipantID: "new"}, "")
			require.NoError(t, err)
			require.Equal(t, answer.View-1, answer2.View)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, end := begin(true)
			defer end()
			ask(h)
		})
	}

	see := func(with bool) (said []any) {
		h, end := begin(with)
		defer end()
		said, err := commands.View[aggregates.Event](ctx, h, "event-e", func(e *aggregates.Event, last int64) []any {
			said := []any{last, e.ParticipantCount(), e.ConfirmedCount(), e.WaitingCount()}
			for p := range e.Line(0) {
				said = append(said, p.ID, e.Place(p))
			}
			for p := range e.Participants() {
				said = append(said, *p)
			}
			return said
		})
		require.NoError(t, err)
		return said
	}
	whole, restored := see(false), see(true)
	require.Len(t, restored, len(whole))
	for i := range whole { // one by one, as the difference of all is no reading
		require.Equal(t, whole[i], restored[i])
	}

	// A part that was damaged is noticed, whoever is in it.
	db, err := sqldb.Open(ctx, sqldb.File(filepath.Join(dir, snapshots.FileName)), sqldb.Options{})
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, "UPDATE snapshots1_parts SET data = substr(data, 1, length(data) - 1) || x'ff'")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	h, end = begin(true)
	defer end()
	_, err = do(h, register("p5", "other"), "")
	require.ErrorIs(t, err, aggregates.ErrDuplicateParticipant)
}
