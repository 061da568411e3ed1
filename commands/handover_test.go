package commands

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
)

func decline(id string) Respond {
	return Respond{EventID: "e", ParticipantID: id, Response: aggregates.Declined}
}

func move() ChangeEvent {
	return ChangeEvent{EventID: "e", Patch: aggregates.EventPatch{StartTime: aggregates.Patch[time.Time]{Given: true, Value: noon.Add(25 * time.Hour)}}}
}

// inGate runs test with an event and two participants, while a message to a is handed over.
func inGate(t *testing.T, test func(*testing.T, *world, *Handover)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.must(ScheduleEvent{EventID: "e", Fields: fields(0)})
		w.must(AddReminder{EventID: "e", ReminderID: "r"})
		w.must(register("a"))
		w.must(register("b"))
		over := w.BeginHandover("e", "a")
		defer over.End()
		test(t, w, over)
	})
}

func TestChangesThatSupersedeWait(t *testing.T) {
	for name, cmd := range map[string]onEvent{
		"move": move(), "cancel": CancelEvent{EventID: "e"}, "delete": DeleteEvent{EventID: "e"},
		"remove reminder": RemoveReminder{EventID: "e", ReminderID: "r"},
		"decline":         decline("a"), "remove": RemoveParticipant{EventID: "e", ParticipantID: "a"},
		"opt out": OptOut{EventID: "e", ParticipantID: "a"},
		"contact": ChangeContact{EventID: "e", ParticipantID: "a", Patch: aggregates.ContactPatch{Name: aggregates.Patch[string]{Given: true, Value: "A"}}},
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, func(t *testing.T, w *world, over *Handover) {
				began := time.Now()
				answered := begin(context.Background(), w.Handler, cmd, alice)
				time.Sleep(700 * time.Millisecond)
				require.Empty(t, answered)
				over.End()
				require.NoError(t, (<-answered).err)
				require.Equal(t, 700*time.Millisecond, time.Since(began))
				require.False(t, over.Overtaken())
			})
		})
	}
}

func TestOtherChangesDontWait(t *testing.T) {
	for name, cmd := range map[string]onEvent{
		"register": register("c"), "retitle": retitle("x"), "announce": Announce{EventID: "e", AnnouncementID: "n", Fields: aggregates.AnnouncementFields{Message: "x"}},
		"somebody else declines": decline("b"), "nothing changes": retitle("Title"),
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, func(t *testing.T, w *world, over *Handover) {
				began := time.Now()
				w.must(cmd)
				_, _ = look(t, w.Handler)
				require.Zero(t, time.Since(began))
			})
		})
	}
}

func TestChangesWaitForASecondAtMost(t *testing.T) {
	inGate(t, func(t *testing.T, w *world, over *Handover) {
		second := w.BeginHandover("e", "b")
		done := w.BeginHandover("e", "b")
		done.End()
		began := time.Now()
		w.must(move())
		require.Equal(t, time.Second, time.Since(began))
		require.True(t, over.Overtaken())
		require.True(t, second.Overtaken())
		require.False(t, done.Overtaken())
		second.End()
		second.End()
	})
}

// Whoever is told that it was so already waits like who made it so: a caller
// who asks again, having heard nothing, is not told earlier.
func TestAskingAgainIsToldNoEarlier(t *testing.T) {
	inGate(t, func(t *testing.T, w *world, over *Handover) {
		began := time.Now()
		one := make(chan result, 1)
		go func() {
			a, err := ask(w.Handler, decline("a"), once)
			one <- result{a, err}
		}()
		synctest.Wait()
		replayed := begin(context.Background(), w.Handler, decline("a"), once)
		same := begin(context.Background(), w.Handler, decline("a"), alice)
		removed := begin(context.Background(), w.Handler, RemoveParticipant{EventID: "e", ParticipantID: "none"}, alice)
		time.Sleep(500 * time.Millisecond)
		for _, answered := range []<-chan result{one, replayed, same, removed} {
			require.Empty(t, answered)
		}
		over.End()
		require.NoError(t, (<-one).err)
		require.True(t, (<-replayed).Replayed)
		require.Zero(t, (<-same).Appended)
		require.ErrorIs(t, (<-removed).err, aggregates.ErrParticipantNotFound)
		require.Equal(t, 500*time.Millisecond, time.Since(began))
	})
}

func TestGateIsEmptyAfterwards(t *testing.T) {
	inGate(t, func(t *testing.T, w *world, over *Handover) {
		over.End()
		require.Empty(t, w.gate.under)
		began := time.Now()
		w.must(move())
		require.Zero(t, time.Since(began))
	})
}
