package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/keys"
)

func someCommand(t *rapid.T) onEvent {
	who := fmt.Sprint("p", rapid.IntRange(0, 5).Draw(t, "who"))
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		return Respond{EventID: "e", ParticipantID: who, Response: rapid.SampledFrom([]string{"accepted", "declined", "tentative"}).Draw(t, "response")}
	case 1:
		return RemoveParticipant{EventID: "e", ParticipantID: who}
	case 2:
		seats := rapid.IntRange(1, 4).Draw(t, "seats")
		return ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: seats}}}
	case 3:
		return retitle(rapid.SampledFrom([]string{"Title", "x"}).Draw(t, "title"))
	default:
		return register(who)
	}
}

// Whatever several instances do at once, each of them ends in the state that
// the log folds to, and at no revision are there more confirmed than seats.
func TestInstancesAgreeWithTheLog(t *testing.T) {
	ring := keys.InMemory()
	defer func() { require.NoError(t, ring.Close()) }()
	rapid.Check(t, func(r *rapid.T) {
		mem := memstore.New()
		w := worldOver(t, &spy{Store: mem, shared: true}, mem, ring)
		handlers := []*Handler{w.Handler, w.another(w.store), w.another(w.store)}
		w.must(ScheduleEvent{EventID: "e", Fields: fields(2)})

		appended := int64(0)
		for range rapid.IntRange(1, 6).Draw(r, "rounds") {
			cmds := rapid.SliceOfN(rapid.Custom(someCommand), 1, 9).Draw(r, "commands")
			answers, errs := make([]Answer[seen], len(cmds)), make([]error, len(cmds))
			var round sync.WaitGroup
			for i, cmd := range cmds {
				round.Go(func() { answers[i], errs[i] = ask(handlers[i%len(handlers)], cmd, alice) })
			}
			round.Wait()
			for i, err := range errs {
				var refusal *aggregates.Refusal
				require.True(r, err == nil || errors.As(err, &refusal), "%v", err)
				appended += int64(answers[i].Appended)
			}
		}

		ctx := context.Background()
		whole, last, err := folded(ctx, w.Handler, "event-e", Until{})
		require.NoError(r, err)
		require.Equal(r, appended, last, "every fact in the log was answered for, and every answer's facts are there")
		for _, h := range handlers {
			// Compared inside, as the state must not be kept.
			same, err := View[aggregates.Event](ctx, h, "event-e", func(e *aggregates.Event, end int64) bool {
				return end == last && assert.ObjectsAreEqual(whole, e)
			})
			require.NoError(r, err)
			require.True(r, same, "an instance holds another state than the log")
		}
		for revision := range last + 1 {
			e, _, err := folded(ctx, w.Handler, "event-e", Until{Revision: &revision})
			require.NoError(r, err)
			require.LessOrEqual(r, e.ConfirmedCount(), e.Capacity, "at revision %d", revision)
		}
	})
}
