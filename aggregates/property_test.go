package aggregates_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

// Whatever is asked in whatever order, seats and the line stay right.
func TestRosterInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := new(aggregates.Event)
		var history facts
		step := func(fs facts, err error) {
			var refusal *aggregates.Refusal
			require.True(t, err == nil || errors.As(err, &refusal), "%v", err)
			require.Equal(t, fold(history...), e, "deciding changed the state")
			before := shown(e)
			for i, f := range fs {
				e.Evolve(f, stamp(len(history)))
				history = append(history, fs[i])
			}
			requireSound(t, e)
			requireMarked(t, e, before, int64(len(history)-len(fs)))
		}
		step(facts{scheduled(rapid.IntRange(0, 4).Draw(t, "capacity"))}, nil)
		joined := 0
		somebody := func() string { return fmt.Sprint(rapid.IntRange(0, joined).Draw(t, "who")) }
		t.Repeat(map[string]func(*rapid.T){
			"register": func(*rapid.T) {
				joined++
				c := contact(fmt.Sprint(rapid.IntRange(1, joined).Draw(t, "as")))
				step(e.Register(fmt.Sprint(joined), c, now))
			},
			"respond": func(t *rapid.T) {
				step(e.Respond(somebody(), rapid.SampledFrom([]string{"accepted", "declined", "tentative"}).Draw(t, "response"), now))
			},
			"opt out": func(*rapid.T) { step(e.OptOut(somebody())) },
			"opt in":  func(*rapid.T) { step(e.OptIn(somebody())) },
			"remove":  func(*rapid.T) { step(e.Remove(somebody())) },
			"capacity": func(t *rapid.T) {
				p := aggregates.EventPatch{Capacity: value(rapid.IntRange(1, 6).Draw(t, "capacity"))}
				if rapid.IntRange(0, 9).Draw(t, "no limit") == 0 {
					p.Capacity = null[int]()
				}
				step(e.Change(p, "", nil, now))
			},
			"e-mail": func(*rapid.T) {
				step(e.ChangeContact(somebody(), aggregates.ContactPatch{Email: value(somebody() + "@x.org")}, now))
			},
			"promote": func(*rapid.T) {
				fs, err := e.PromoteWaiting()
				require.Empty(t, fs, "a seat was left free")
				step(fs, err)
			},
			"cancel":   func(*rapid.T) { step(e.Cancel("", "", nil, now)) },
			"announce": func(*rapid.T) { step(e.Announce("a", aggregates.AnnouncementFields{Message: "Hi"}, now)) },
		})
	})
}

// shown is what each participant shows, but for when it changed.
func shown(e *aggregates.Event) map[string][]any {
	all := map[string][]any{}
	for p := range e.Participants() {
		all[p.ID] = []any{p.Contact.Email, p.Response, p.OptedOut, p.Status, e.Place(p)}
	}
	return all
}

// requireMarked says that whoever shows something new since then has a newer revision, and nobody else.
func requireMarked(t require.TestingT, e *aggregates.Event, before map[string][]any, since int64) {
	for p := range e.Participants() {
		now := []any{p.Contact.Email, p.Response, p.OptedOut, p.Status, e.Place(p)}
		require.Equal(t, !slices.Equal(now, before[p.ID]), p.Changed.Revision >= since, "%s: %v, then %v", p.ID, before[p.ID], now)
	}
}

func requireSound(t require.TestingT, e *aggregates.Event) {
	count, confirmed, ordinal, line := 0, 0, -1, map[int]*aggregates.Participant{}
	users, digests := map[string]bool{}, map[string]bool{}
	for p := range e.Participants() {
		count++
		require.Greater(t, p.Ordinal, ordinal)
		ordinal = p.Ordinal
		require.False(t, users[p.UserID] || digests[p.EmailDigest], "twice on the event: %s", p.ID)
		users[p.UserID], digests[p.EmailDigest] = true, true
		found, ok := e.Participant(p.ID)
		require.True(t, ok)
		require.Equal(t, p, found)
		require.Equal(t, p.Status == aggregates.Released, p.Response == aggregates.Declined)
		require.Equal(t, p.Status == aggregates.Confirmed, p.Entitled != aggregates.Stamp{})
		require.Equal(t, p.Status == aggregates.Waitlisted, e.Place(p) > 0)
		if p.Status == aggregates.Confirmed {
			confirmed++
		}
		if place := e.Place(p); place > 0 {
			require.Nil(t, line[place])
			line[place] = p
		}
	}
	require.Equal(t, []int{count, confirmed, len(line)}, []int{e.ParticipantCount(), e.ConfirmedCount(), e.WaitingCount()})
	if e.Capacity > 0 {
		require.LessOrEqual(t, confirmed, e.Capacity)
	}
	for place := 2; place <= len(line); place++ {
		require.NotNil(t, line[place])
		require.Less(t, line[place-1].Line, line[place].Line)
	}
	if len(line) > 0 {
		require.Equal(t, e.Capacity, confirmed, "somebody waits while a seat is free")
	}
}

// Any rules in any order keep a notification's attempts and claims right.
func TestNotificationInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := new(aggregates.Notification)
		var history facts
		step := func(fs facts, err error) {
			var refusal *aggregates.Refusal
			require.True(t, err == nil || errors.As(err, &refusal))
			require.Equal(t, foldNotification(history...), n, "deciding changed the state")
			for _, f := range fs {
				if _, ok := f.(events.SendingStarted); ok {
					require.Contains(t, []aggregates.NotificationStatus{"PENDING", "SENDING"}, n.Status)
				}
				n.Evolve(f, stamp(len(history)))
				history = append(history, f)
			}
			require.Len(t, n.Log, n.Attempts)
			inFlight := 0
			for i, a := range n.Log {
				require.Equal(t, i+1, a.Number)
				if a.Outcome == aggregates.OutcomeInFlight {
					inFlight++
				}
			}
			require.Equal(t, n.Status == aggregates.NotificationSending, inFlight == 1)
			require.LessOrEqual(t, inFlight, 1)
		}
		attempt := func() int { return max(0, n.Attempts-rapid.IntRange(-1, 2).Draw(t, "back")) }
		boot := func() string { return rapid.SampledFrom([]string{"a", "b"}).Draw(t, "boot") }
		reason := func() string {
			return rapid.SampledFrom([]string{"missed", "rejected", "outcome_unknown"}).Draw(t, "reason")
		}
		t.Repeat(map[string]func(*rapid.T){
			"schedule": func(*rapid.T) { step(n.Schedule(planned)) },
			"cancel":   func(*rapid.T) { step(n.Cancel("declined")) },
			"by hand":  func(*rapid.T) { step(n.CancelByHand()) },
			"claimed":  func(*rapid.T) { step(n.CancelClaimed(attempt(), boot(), "removed")) },
			"start":    func(t *rapid.T) { step(n.StartSending("", boot(), 500, rapid.Bool().Draw(t, "takeover"), now)) },
			"sent":     func(*rapid.T) { step(n.RecordSent(sent(attempt(), false))) },
			"failing": func(t *rapid.T) {
				step(n.RecordFailure(failing(attempt(), rapid.SampledFrom([]string{"temporary", "unknown"}).Draw(t, "class"))))
			},
			"give up": func(*rapid.T) { step(n.GiveUp(givenUp(attempt(), reason()))) },
			"retry":   func(*rapid.T) { step(n.Retry(now)) },
			"receipt": func(t *rapid.T) { step(n.RecordReceipt(drawReceipt(t, n.Attempts), now)) },
		})
	})
}
