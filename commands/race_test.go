package commands

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

// Of 64 callers at once, 48 are different people; eight come with the e-mail
// address of another, and eight with the user id of another.
func TestRacingRegistrations(t *testing.T) {
	t.Run("memstore", func(t *testing.T) { raceForSeats(t, newWorld(t)) })
	t.Run("embedded", func(t *testing.T) {
		log, err := embedded.Open(context.Background(), t.TempDir(), embedded.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		ring := keys.InMemory()
		t.Cleanup(func() { require.NoError(t, ring.Close()) })
		raceForSeats(t, worldOver(t, &spy{Store: log}, nil, ring))
	})
}

// placed is what one who registers is told.
type placed struct {
	id, status string
	place      int
}

func raceForSeats(t *testing.T, w *world) {
	const callers, people, seats = 64, 48, 10
	w.must(ScheduleEvent{EventID: "e", Fields: fields(seats)})

	contacts := make([]aggregates.ContactFields, callers)
	for i := range contacts {
		contacts[i] = contact(fmt.Sprint(i))
		if i >= people+8 {
			contacts[i].UserID = contacts[i-people].UserID
		} else if i >= people {
			contacts[i].Email = strings.ToUpper(contacts[i-people].Email)
		}
	}
	answers, errs := make([]Answer[placed], callers), make([]error, callers)
	var inLine, done sync.WaitGroup
	_, open := w.store.block()
	for i := range callers {
		inLine.Add(1)
		done.Go(func() {
			id := fmt.Sprint("p", i)
			ctx := &queued{Context: context.Background(), waits: inLine.Done}
			cmd := RegisterParticipant{EventID: "e", ParticipantID: id, Contact: contacts[i]}
			answers[i], errs[i] = Do[aggregates.Event](ctx, w.Handler, cmd, alice, func(e *aggregates.Event, _ time.Time) placed {
				p, _ := e.Participant(id)
				return placed{p.ID, p.Status, e.Place(p)}
			})
		})
	}
	inLine.Wait()
	open()
	done.Wait()
	require.LessOrEqual(t, w.store.appends(), 3, "one to schedule, one that was held up, and one for all who waited meanwhile")

	revisions := map[int64]bool{}
	for i, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, aggregates.ErrDuplicateParticipant)
			continue
		}
		a := answers[i]
		require.Equal(t, fmt.Sprint("p", i), a.View.id, "somebody else's answer")
		require.Equal(t, 1, a.Appended)
		require.False(t, revisions[a.Revision], "two answers of one revision")
		revisions[a.Revision] = true
		if a.Revision <= seats { // the event itself is revision 0
			require.Equal(t, placed{a.View.id, aggregates.Confirmed, 0}, a.View)
		} else {
			require.Equal(t, placed{a.View.id, aggregates.Waitlisted, int(a.Revision) - seats}, a.View)
		}
	}
	require.Len(t, revisions, people, "each of the pairs has exactly one winner")

	e, last, err := folded(context.Background(), w.Handler, "event-e", Until{})
	require.NoError(t, err)
	require.EqualValues(t, people, last)
	require.Equal(t, []int{seats, people - seats}, []int{e.ConfirmedCount(), e.WaitingCount()})
	users, digests, place := map[string]bool{}, map[string]bool{}, 0
	for p := range e.Participants() {
		require.False(t, users[p.UserID] || digests[p.EmailDigest], "%s is on the event twice", p.ID)
		users[p.UserID], digests[p.EmailDigest] = true, true
		if p.Status == aggregates.Waitlisted {
			place++
			require.Equal(t, place, e.Place(p), "the line is in the order of registration")
		}
	}
}
