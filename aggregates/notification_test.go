package aggregates_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

var (
	due     = noon.Add(-time.Minute)
	expires = noon.Add(time.Minute)
	planned = events.NotificationScheduled{NotificationID: "n", EventID: "e", ParticipantID: "ann", ReminderID: "r", Channel: "email", ScheduledTime: due, Expires: expires}
)

func claimed(attempt int, boot string, inDoubt bool) events.Fact {
	return events.SendingStarted{NotificationID: "n", EventID: "e", Attempt: attempt, Boot: boot, ForMillis: 500, InDoubt: inDoubt}
}

func sent(attempt int, late bool) events.NotificationSent {
	return events.NotificationSent{NotificationID: "n", EventID: "e", Attempt: attempt, SentTime: noon, ProviderMessageID: "id", To: "a***", Late: late, Personal: events.Personal{Message: "Hi"}}
}

func failing(attempt int, class string) events.SendingFailed {
	return events.SendingFailed{NotificationID: "n", EventID: "e", Attempt: attempt, Class: class, Error: "no", NextAttempt: noon}
}

func givenUp(attempt int, reason string) events.NotificationFailed {
	return events.NotificationFailed{NotificationID: "n", EventID: "e", Attempt: attempt, Reason: reason}
}

func unwanted(reason string) events.Fact {
	return events.NotificationCancelled{NotificationID: "n", EventID: "e", Reason: reason}
}

func arrived(attempt int, receipt string) events.Fact {
	return events.NotificationDelivered{NotificationID: "n", EventID: "e", Attempt: attempt, DeliveredTime: noon, Receipt: receipt}
}

var (
	retried   = events.NotificationRetried{NotificationID: "n", EventID: "e"}
	delivered = arrived(1, "")
)

func foldNotification(given ...events.Fact) *aggregates.Notification {
	n := new(aggregates.Notification)
	for i, f := range given {
		n.Evolve(f, stamp(i))
	}
	return n
}

// The histories of which every rule is tried on each: every state, and those that differ within a state.
var histories = map[string]facts{
	"none":              nil,
	"pending":           {planned},
	"pending, failed":   {planned, claimed(1, "b", false), failing(1, "temporary")},
	"pending, unknown":  {planned, claimed(1, "b", false), failing(1, "unknown")},
	"pending, retried":  {planned, givenUp(0, "missed"), retried},
	"sending":           {planned, claimed(1, "b", false)},
	"sending, in doubt": {planned, claimed(1, "a", false), claimed(2, "b", true)},
	"sent":              {planned, claimed(1, "b", false), sent(1, false)},
	"sent, late":        {planned, claimed(1, "a", false), claimed(2, "b", true), sent(1, true)},
	"delivered":         {planned, claimed(1, "b", false), sent(1, false), delivered},
	"failed":            {planned, claimed(1, "b", false), givenUp(1, "rejected")},
	"missed":            {planned, givenUp(0, "missed")},
	"bounced":           {planned, claimed(1, "b", false), sent(1, false), givenUp(1, "bounced")},
	"cancelled":         {planned, unwanted("declined")},
	"cancelled claimed": {planned, claimed(1, "b", false), unwanted("superseded")},
	"by hand":           {planned, unwanted("by_hand")},
}

func TestNotificationRules(t *testing.T) {
	type notification = aggregates.Notification
	type rule = func(*notification) (facts, error)
	type answer struct {
		then facts
		err  error
	}
	does := func(f ...events.Fact) answer { return answer{then: f} }
	refuses := func(err error) answer { return answer{err: err} }
	unknown, state := refuses(aggregates.ErrNotificationNotFound), refuses(aggregates.ErrNotificationState)
	start := func(boot string, takeover bool, at time.Time) rule {
		return func(n *notification) (facts, error) { return n.StartSending("", boot, 500, takeover, nowAt(at)) }
	}
	record := func(f events.NotificationSent) rule {
		return func(n *notification) (facts, error) { return n.RecordSent(f) }
	}
	giveUp := func(f events.NotificationFailed) rule {
		return func(n *notification) (facts, error) { return n.GiveUp(f) }
	}
	retry := func(at time.Time) rule {
		return func(n *notification) (facts, error) { return n.Retry(nowAt(at)) }
	}
	cancelClaimed := func(attempt int, boot string) rule {
		return func(n *notification) (facts, error) { return n.CancelClaimed(attempt, boot, "declined") }
	}

	for name, tt := range map[string]struct {
		rule
		answers map[string]answer // by history
		rest    answer            // of all other histories
	}{
		"Schedule": {func(n *notification) (facts, error) { return n.Schedule(planned) }, map[string]answer{
			"none": does(planned), "cancelled": does(planned), "cancelled claimed": does(planned),
		}, answer{}},
		"Cancel": {func(n *notification) (facts, error) { return n.Cancel("declined") }, map[string]answer{
			"pending": does(unwanted("declined")), "pending, failed": does(unwanted("declined")),
			"pending, unknown": does(unwanted("declined")), "pending, retried": does(unwanted("declined")),
		}, answer{}},
		"CancelByHand": {(*notification).CancelByHand, map[string]answer{
			"none": unknown, "pending": does(unwanted("by_hand")), "pending, failed": does(unwanted("by_hand")),
			"pending, unknown": does(unwanted("by_hand")), "pending, retried": does(unwanted("by_hand")),
			"cancelled": {}, "cancelled claimed": {}, "by hand": {},
		}, state},
		"CancelClaimed":            {cancelClaimed(1, "b"), map[string]answer{"sending": does(unwanted("declined"))}, answer{}},
		"CancelClaimed, second":    {cancelClaimed(2, "b"), map[string]answer{"sending, in doubt": does(unwanted("declined"))}, answer{}},
		"CancelClaimed of another": {cancelClaimed(1, "a"), nil, answer{}},
		"StartSending": {start("b", false, noon), map[string]answer{
			"none": unknown, "pending": does(claimed(1, "b", false)), "pending, failed": does(claimed(2, "b", false)),
			"pending, unknown": does(claimed(2, "b", true)), "pending, retried": does(claimed(1, "b", false)),
		}, state},
		"StartSending, takeover": {start("c", true, noon), map[string]answer{
			"none": unknown, "pending": does(claimed(1, "c", false)), "pending, failed": does(claimed(2, "c", false)),
			"pending, unknown": does(claimed(2, "c", true)), "pending, retried": does(claimed(1, "c", false)),
			"sending": does(claimed(2, "c", true)), "sending, in doubt": does(claimed(3, "c", true)),
		}, state},
		"StartSending, own claim":        {start("b", true, noon), map[string]answer{"none": unknown, "pending": does(claimed(1, "b", false)), "pending, failed": does(claimed(2, "b", false)), "pending, unknown": does(claimed(2, "b", true)), "pending, retried": does(claimed(1, "b", false))}, state},
		"StartSending too early":         {start("b", false, due.Add(-1000)), map[string]answer{"none": unknown}, state},
		"StartSending on time":           {start("b", false, due), map[string]answer{"none": unknown, "pending": does(claimed(1, "b", false)), "pending, retried": does(claimed(1, "b", false))}, state},
		"StartSending before the next":   {start("b", false, noon.Add(-1000)), map[string]answer{"none": unknown, "pending": does(claimed(1, "b", false)), "pending, retried": does(claimed(1, "b", false))}, state},
		"StartSending at the very end":   {start("b", false, expires), map[string]answer{"none": unknown, "pending": does(claimed(1, "b", false)), "pending, failed": does(claimed(2, "b", false)), "pending, unknown": does(claimed(2, "b", true)), "pending, retried": does(claimed(1, "b", false))}, state},
		"StartSending when it has ended": {start("b", false, expires.Add(1000)), map[string]answer{"none": unknown}, state},
		"RecordSent, first": {record(sent(1, false)), map[string]answer{
			"none": unknown, "sending": does(sent(1, false)), "sending, in doubt": does(sent(1, true)),
			"pending, failed": does(sent(1, true)), "pending, unknown": does(sent(1, true)), "failed": does(sent(1, true)), "cancelled claimed": does(sent(1, true)),
			"sent": {}, "sent, late": {}, "delivered": {}, "bounced": {},
		}, state},
		"RecordSent, second": {record(sent(2, true)), map[string]answer{
			"none": unknown, "sending, in doubt": does(sent(2, false)), "sent": {}, "sent, late": {}, "delivered": {},
		}, state},
		"RecordFailure":         {func(n *notification) (facts, error) { return n.RecordFailure(failing(1, "temporary")) }, map[string]answer{"sending": does(failing(1, "temporary"))}, answer{}},
		"RecordFailure, second": {func(n *notification) (facts, error) { return n.RecordFailure(failing(2, "temporary")) }, map[string]answer{"sending, in doubt": does(failing(2, "temporary"))}, answer{}},
		"GiveUp, missed": {giveUp(givenUp(0, "missed")), map[string]answer{
			"pending": does(givenUp(0, "missed")), "pending, failed": does(givenUp(0, "missed")),
			"pending, unknown": does(givenUp(0, "outcome_unknown")), "pending, retried": does(givenUp(0, "missed")),
		}, answer{}},
		"GiveUp, rejected": {giveUp(givenUp(1, "rejected")), map[string]answer{
			"sending": does(givenUp(1, "rejected")), // whoever lost the claim has no say
		}, answer{}},
		"GiveUp, missed in doubt": {giveUp(givenUp(2, "missed")), map[string]answer{
			"sending, in doubt": does(givenUp(2, "outcome_unknown")),
		}, answer{}},
		"Retry":                {retry(expires), map[string]answer{"none": unknown, "failed": does(retried), "missed": does(retried), "bounced": does(retried)}, state},
		"Retry after its time": {retry(expires.Add(1000)), map[string]answer{"none": unknown, "failed": refuses(aggregates.ErrNotificationExpired), "missed": refuses(aggregates.ErrNotificationExpired), "bounced": refuses(aggregates.ErrNotificationExpired)}, state},
	} {
		for history, given := range histories {
			t.Run(name+"/"+history, func(t *testing.T) {
				want, listed := tt.answers[history]
				if !listed {
					want = tt.rest
				}
				n := foldNotification(given...)
				got, err := tt.rule(n)
				requireErr(t, want.err, err)
				require.Equal(t, want.then, got)
				require.Equal(t, foldNotification(given...), n, "deciding changed the state")
			})
		}
	}
}

func TestNotificationStates(t *testing.T) {
	for _, tt := range []struct {
		given  facts
		status aggregates.NotificationStatus
		final  bool
		log    string // outcomes of the attempts
		says   string // reason to cancel, last error
	}{
		{nil, "", false, "[]", "/"},
		{facts{planned}, "PENDING", false, "[]", "/"},
		{histories["pending, failed"], "PENDING", false, "[failed]", "/no"},
		{histories["pending, unknown"], "PENDING", false, "[unknown]", "/no"},
		{histories["sending"], "SENDING", false, "[in_flight]", "/"},
		{histories["sending, in doubt"], "SENDING", false, "[unknown in_flight]", "/"},
		{histories["sent"], "SENT", true, "[sent]", "/"},
		{histories["sent, late"], "SENT", true, "[sent unknown]", "/"},
		{histories["delivered"], "DELIVERED", true, "[delivered]", "/"},
		{histories["failed"], "FAILED", true, "[failed]", "/rejected"},
		{histories["missed"], "FAILED", true, "[]", "/missed"},
		{histories["bounced"], "FAILED", true, "[bounced]", "/bounced"},
		{histories["cancelled"], "CANCELLED", true, "[]", "declined/"},
		{histories["cancelled claimed"], "CANCELLED", true, "[cancelled]", "superseded/"},
		{facts{planned, unwanted("declined"), planned}, "PENDING", false, "[]", "/"},
		{facts{planned, givenUp(0, "missed"), retried}, "PENDING", false, "[]", "/missed"},
		{facts{planned, claimed(1, "b", false), givenUp(1, "outcome_unknown")}, "FAILED", true, "[unknown]", "/outcome_unknown"},
		{facts{planned, claimed(1, "b", false), failing(1, "unknown"), givenUp(1, "missed")}, "FAILED", true, "[unknown]", "/missed"},
		{facts{planned, claimed(1, "b", false), givenUp(1, "rejected"), sent(1, true)}, "SENT", true, "[sent]", "/"},
		{facts{planned, claimed(1, "b", false), unwanted("superseded"), sent(1, true)}, "SENT", true, "[sent]", "/"},
	} {
		n := foldNotification(tt.given...)
		outcomes := []string{}
		for _, a := range n.Log {
			outcomes = append(outcomes, a.Outcome)
		}
		got := fmt.Sprintf("%s %v %v %s/%s", n.Status, n.Final(), outcomes, n.CancelReason, n.LastError)
		require.Equal(t, fmt.Sprintf("%s %v %s %s", tt.status, tt.final, tt.log, tt.says), got)
		require.Equal(t, len(tt.given) > 0, n.Exists())
		require.Equal(t, n.Status == "SENDING", n.Boot != "")
		if last := len(tt.given) - 1; last >= 0 {
			require.Equal(t, stamp(last), n.Changed)
			n.Evolve(events.RequestNoted{}, stamp(99))
			require.Equal(t, stamp(last), n.Changed)
		}
	}
	n := foldNotification(histories["sent"]...)
	require.Equal(t, []any{noon, "id", "a***", "Hi", 1, false}, []any{n.SentTime, n.ProviderMessageID, n.To, n.Message, n.Attempts, n.InDoubt})
	n = foldNotification(histories["sending, in doubt"]...)
	require.Equal(t, []any{"b", int64(500), stamp(2), true, 2}, []any{n.Boot, n.ClaimMillis, n.ClaimedAt, n.InDoubt, n.Attempts})
	require.Equal(t, noon, foldNotification(histories["pending, failed"]...).NextAttempt)
	require.True(t, foldNotification(histories["pending, retried"]...).NextAttempt.IsZero())
}
