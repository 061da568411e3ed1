package aggregates_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func receipt(news string, attempt int) aggregates.Receipt {
	return aggregates.Receipt{News: news, Attempt: attempt, At: noon, Ref: "ref", To: "a***", Error: "full"}
}

// proven is that an attempt's message was taken, as a receipt shows.
func proven(attempt, started int, late bool) events.Fact {
	return events.NotificationSent{NotificationID: "n", EventID: "e", Attempt: attempt, SentTime: stamp(started).At, ProviderMessageID: "ref", To: "a***", Late: late}
}

func bounced(attempt int) events.Fact {
	return events.NotificationFailed{NotificationID: "n", EventID: "e", Attempt: attempt, Reason: "bounced", Error: "full"}
}

func bouncedBeside(attempt int) events.Fact {
	return events.AttemptBounced{NotificationID: "n", EventID: "e", Attempt: attempt, Error: "full"}
}

// Every receipt in every state: that of the first attempt, and that of the second.
func TestReceipts(t *testing.T) {
	type then struct {
		facts  facts
		err    error
		status string
		log    string
	}
	given := map[string]facts{
		"nothing":                nil,
		"never attempted":        {planned},
		"failed, again later":    {planned, claimed(1, "b", false), failing(1, "temporary")},
		"unknown, again later":   {planned, claimed(1, "b", false), failing(1, "unknown")},
		"under way":              {planned, claimed(1, "b", false)},
		"second under way":       {planned, claimed(1, "a", false), claimed(2, "b", true)},
		"sent":                   {planned, claimed(1, "b", false), sent(1, false)},
		"second sent":            {planned, claimed(1, "a", false), claimed(2, "b", true), sent(2, false)},
		"delivered":              {planned, claimed(1, "b", false), sent(1, false), arrived(1, "")},
		"held":                   {planned, claimed(1, "b", false), givenUp(1, "outcome_unknown")},
		"rejected":               {planned, claimed(1, "b", false), givenUp(1, "rejected")},
		"missed, never tried":    {planned, givenUp(0, "missed")},
		"bounced":                {planned, claimed(1, "b", false), sent(1, false), bounced(1)},
		"bounced, retried":       {planned, claimed(1, "b", false), sent(1, false), bounced(1), retried},
		"bounced, sent again":    {planned, claimed(1, "b", false), sent(1, false), bounced(1), retried, claimed(2, "b", false), sent(2, false)},
		"cancelled":              {planned, unwanted("declined")},
		"cancelled, perhaps out": {planned, claimed(1, "b", false), failing(1, "unknown"), unwanted("declined")},
		"both delivered":         {planned, claimed(1, "a", false), claimed(2, "b", true), sent(2, false), arrived(2, ""), proven(1, 1, true), arrived(1, "")},
	}
	unknown, state := aggregates.ErrNotificationNotFound, aggregates.ErrNotificationState
	for name, c := range map[string]map[string]then{
		"taken 1": {
			"nothing":                {nil, unknown, "", "[]"},
			"never attempted":        {nil, state, "PENDING", "[]"},
			"failed, again later":    {facts{proven(1, 1, true)}, nil, "SENT", "[sent]"},
			"unknown, again later":   {facts{proven(1, 1, true)}, nil, "SENT", "[sent]"},
			"under way":              {facts{proven(1, 1, false)}, nil, "SENT", "[sent]"},
			"second under way":       {facts{proven(1, 1, true)}, nil, "SENT", "[sent unknown]"},
			"sent":                   {nil, nil, "SENT", "[sent]"},
			"second sent":            {facts{proven(1, 1, true)}, nil, "SENT", "[sent sent]"},
			"delivered":              {nil, nil, "DELIVERED", "[delivered]"},
			"held":                   {facts{proven(1, 1, true)}, nil, "SENT", "[sent]"},
			"rejected":               {facts{proven(1, 1, true)}, nil, "SENT", "[sent]"},
			"missed, never tried":    {nil, state, "FAILED", "[]"},
			"bounced":                {nil, nil, "FAILED", "[bounced]"},
			"bounced, retried":       {nil, nil, "PENDING", "[bounced]"},
			"bounced, sent again":    {nil, nil, "SENT", "[bounced sent]"},
			"cancelled":              {nil, state, "CANCELLED", "[]"},
			"cancelled, perhaps out": {facts{proven(1, 1, true)}, nil, "SENT", "[sent]"},
			"both delivered":         {nil, nil, "DELIVERED", "[delivered delivered]"},
		},
		"delivered 1": {
			"nothing":                {nil, unknown, "", "[]"},
			"never attempted":        {nil, state, "PENDING", "[]"},
			"failed, again later":    {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"unknown, again later":   {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"under way":              {facts{proven(1, 1, false), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"second under way":       {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered unknown]"},
			"sent":                   {facts{arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"second sent":            {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered sent]"},
			"delivered":              {nil, nil, "DELIVERED", "[delivered]"},
			"held":                   {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"rejected":               {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"missed, never tried":    {nil, state, "FAILED", "[]"},
			"bounced":                {nil, nil, "FAILED", "[bounced]"},
			"bounced, retried":       {nil, nil, "PENDING", "[bounced]"},
			"bounced, sent again":    {nil, nil, "SENT", "[bounced sent]"},
			"cancelled":              {nil, state, "CANCELLED", "[]"},
			"cancelled, perhaps out": {facts{proven(1, 1, true), arrived(1, "")}, nil, "DELIVERED", "[delivered]"},
			"both delivered":         {nil, nil, "DELIVERED", "[delivered delivered]"},
		},
		"bounced 1": {
			"nothing":                {nil, unknown, "", "[]"},
			"never attempted":        {nil, state, "PENDING", "[]"},
			"failed, again later":    {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced]"},
			"unknown, again later":   {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced]"},
			"under way":              {facts{proven(1, 1, false), bounced(1)}, nil, "FAILED", "[bounced]"},
			"second under way":       {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced unknown]"},
			"sent":                   {facts{bounced(1)}, nil, "FAILED", "[bounced]"},
			"second sent":            {facts{bouncedBeside(1)}, nil, "SENT", "[bounced sent]"},
			"delivered":              {facts{bounced(1)}, nil, "FAILED", "[bounced]"},
			"held":                   {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced]"},
			"rejected":               {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced]"},
			"missed, never tried":    {nil, state, "FAILED", "[]"},
			"bounced":                {nil, nil, "FAILED", "[bounced]"},
			"bounced, retried":       {nil, nil, "PENDING", "[bounced]"},
			"bounced, sent again":    {nil, nil, "SENT", "[bounced sent]"},
			"cancelled":              {nil, state, "CANCELLED", "[]"},
			"cancelled, perhaps out": {facts{proven(1, 1, true), bounced(1)}, nil, "FAILED", "[bounced]"},
			"both delivered":         {facts{bouncedBeside(1)}, nil, "DELIVERED", "[bounced delivered]"},
		},
		"bounced 2": {
			"nothing":                {nil, unknown, "", "[]"},
			"never attempted":        {nil, state, "PENDING", "[]"},
			"failed, again later":    {nil, state, "PENDING", "[failed]"},
			"unknown, again later":   {nil, state, "PENDING", "[unknown]"},
			"under way":              {nil, state, "SENDING", "[in_flight]"},
			"second under way":       {facts{proven(2, 2, false), bounced(2)}, nil, "FAILED", "[unknown bounced]"},
			"sent":                   {nil, state, "SENT", "[sent]"},
			"second sent":            {facts{bounced(2)}, nil, "FAILED", "[unknown bounced]"},
			"delivered":              {nil, state, "DELIVERED", "[delivered]"},
			"held":                   {nil, state, "FAILED", "[unknown]"},
			"rejected":               {nil, state, "FAILED", "[failed]"},
			"missed, never tried":    {nil, state, "FAILED", "[]"},
			"bounced":                {nil, state, "FAILED", "[bounced]"},
			"bounced, retried":       {nil, state, "PENDING", "[bounced]"},
			"bounced, sent again":    {facts{bounced(2)}, nil, "FAILED", "[bounced bounced]"},
			"cancelled":              {nil, state, "CANCELLED", "[]"},
			"cancelled, perhaps out": {nil, state, "CANCELLED", "[unknown]"},
			"both delivered":         {facts{bouncedBeside(2)}, nil, "DELIVERED", "[delivered bounced]"},
		},
	} {
		require.Len(t, c, len(given), "%s: a state is missing", name)
		for state, want := range c {
			t.Run(name+"/"+state, func(t *testing.T) {
				news, attempt, _ := strings.Cut(name, " ")
				n := foldNotification(given[state]...)
				got, err := n.RecordReceipt(receipt(news, int(attempt[0]-'0')), nowAt(noon))
				requireErr(t, want.err, err)
				require.Equal(t, want.facts, got)
				require.Equal(t, foldNotification(given[state]...), n, "deciding changed the state")
				n = foldNotification(append(append(facts{}, given[state]...), got...)...)
				require.Equal(t, want.status, string(n.Status))
				require.Equal(t, want.log, fmt.Sprint(outcomes(n)))
			})
		}
	}
}

func outcomes(n *aggregates.Notification) []string {
	all := []string{}
	for _, a := range n.Log {
		all = append(all, a.Outcome)
	}
	return all
}

// A delivery that another attempt's bounce is told after goes on counting; one's own takes it back.
func TestBouncesBesideADelivery(t *testing.T) {
	given := facts{planned, claimed(1, "a", false), claimed(2, "b", true), sent(2, false), arrived(2, "")}
	n := foldNotification(given...)
	got, err := n.RecordReceipt(receipt("taken", 1), now)
	require.NoError(t, err)
	given = append(given, got...)
	n = foldNotification(given...)
	require.Equal(t, aggregates.NotificationDelivered, n.Status)
	require.Equal(t, "Hi", n.Message)

	got, err = n.RecordReceipt(receipt("bounced", 2), now)
	require.NoError(t, err)
	n = foldNotification(append(given, got...)...)
	require.Equal(t, aggregates.NotificationSent, n.Status)
	require.Equal(t, "[sent bounced]", fmt.Sprint(outcomes(n)))
}

// What the sender concludes behind a receipt adds the text, once, and takes nothing back.
func TestConclusionBehindAReceipt(t *testing.T) {
	for name, first := range map[string]facts{
		"taken":     {planned, claimed(1, "b", false), proven(1, 1, false)},
		"delivered": {planned, claimed(1, "b", false), proven(1, 1, false), arrived(1, "")},
	} {
		t.Run(name, func(t *testing.T) {
			before := foldNotification(first...)
			require.Empty(t, before.Message)
			then, err := before.RecordSent(sent(1, false))
			require.NoError(t, err)
			require.Equal(t, facts{sent(1, true)}, then)
			n := foldNotification(append(first, then...)...)
			require.Equal(t, []any{before.Status, "Hi", "id", noon}, []any{n.Status, n.Message, n.ProviderMessageID, n.SentTime})
			require.Equal(t, outcomes(before), outcomes(n))

			again, err := n.RecordSent(sent(1, false))
			require.NoError(t, err)
			require.Empty(t, again)
			for _, conclude := range []func() (facts, error){
				func() (facts, error) { return n.RecordFailure(failing(1, "unknown")) },
				func() (facts, error) { return n.GiveUp(givenUp(1, "rejected")) },
				func() (facts, error) { return n.CancelClaimed(1, "b", "declined") },
			} {
				got, err := conclude()
				require.NoError(t, err)
				require.Empty(t, got)
			}
		})
	}
	_, err := foldNotification(planned, claimed(1, "b", false), proven(1, 1, false)).StartSending("p", "c", 500, true, now)
	require.Equal(t, aggregates.ErrNotificationState, err, "what a receipt proves to be sent is not sent again")
}

// A receipt that doesn't name its attempt means the last that was taken, else the last that may have been.
func TestReceiptsWithoutAnAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		given facts
		then  facts
	}{
		"of one that was taken":     {facts{planned, claimed(1, "a", false), claimed(2, "b", true), sent(1, true)}, facts{arrived(1, "")}},
		"of one that may have been": {facts{planned, claimed(1, "a", false), failing(1, "unknown"), claimed(2, "b", true), failing(2, "temporary")}, facts{proven(1, 1, true), arrived(1, "")}},
		"of the last":               {facts{planned, claimed(1, "a", false), failing(1, "temporary"), claimed(2, "b", false), failing(2, "temporary")}, facts{proven(2, 3, true), arrived(2, "")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := foldNotification(c.given...).RecordReceipt(receipt("delivered", 0), now)
			require.NoError(t, err)
			require.Equal(t, c.then, got)
		})
	}
	_, err := foldNotification(planned).RecordReceipt(receipt("delivered", 0), now)
	require.Equal(t, aggregates.ErrNotificationState, err)
}

// An id tells what was told before apart from what is new.
func TestReceiptsAreKnownByTheirIDs(t *testing.T) {
	first := receipt("bounced", 0)
	first.ID = "one"
	given := facts{planned, claimed(1, "b", false), sent(1, false)}
	got, err := foldNotification(given...).RecordReceipt(first, now)
	require.NoError(t, err)
	given = append(append(given, got...), retried, claimed(2, "b", false), sent(2, false))

	again, err := foldNotification(given...).RecordReceipt(first, now)
	require.NoError(t, err)
	require.Empty(t, again, "told again, it is not about the new message")
	other := first
	other.ID = "two"
	got, err = foldNotification(given...).RecordReceipt(other, now)
	require.NoError(t, err)
	require.Len(t, got, 1)
}

func TestTimeOfADelivery(t *testing.T) {
	n := foldNotification(planned, claimed(1, "b", false), sent(1, false))
	for name, c := range map[string]struct{ told, want time.Time }{
		"told":          {noon.Add(-time.Minute + time.Nanosecond), noon.Add(-time.Minute)},
		"not told":      {time.Time{}, noon},
		"in the future": {noon.Add(time.Hour), noon},
	} {
		r := receipt("delivered", 1)
		r.At = c.told
		got, err := n.RecordReceipt(r, nowAt(noon))
		require.NoError(t, err)
		require.Equal(t, c.want, got[0].(events.NotificationDelivered).DeliveredTime, name)
	}
}

func drawReceipt(t *rapid.T, attempts int) aggregates.Receipt {
	return aggregates.Receipt{
		News:    rapid.SampledFrom([]string{"taken", "delivered", "bounced"}).Draw(t, "news"),
		Attempt: rapid.IntRange(0, attempts+1).Draw(t, "attempt"),
		ID:      rapid.SampledFrom([]string{"", "", "r1", "r2"}).Draw(t, "id"),
	}
}

// Receipts lead to the same state in whatever order they come and however often.
func TestReceiptsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		history := drawAttempts(t)
		n := foldNotification(history...)
		var told []aggregates.Receipt
		for range rapid.IntRange(1, 6).Draw(t, "receipts") {
			r := drawReceipt(t, n.Attempts)
			r.Attempt = max(r.Attempt, 1) // one that names none means another, depending on what is known
			r.ID = fmt.Sprint(r.News, r.Attempt)
			told = append(told, r)
		}
		final := func(order []aggregates.Receipt) string {
			all := append(facts{}, history...)
			for _, r := range order {
				got, err := foldNotification(all...).RecordReceipt(r, now)
				if err != nil {
					requireErr(t, aggregates.ErrNotificationState, err)
				}
				all = append(all, got...)
			}
			n := foldNotification(all...)
			return fmt.Sprint(n.Status, outcomes(n))
		}
		want := final(told)
		again := append(rapid.Permutation(told).Draw(t, "order"), rapid.SliceOfN(rapid.SampledFrom(told), 0, 6).Draw(t, "repeated")...)
		require.Equal(t, want, final(rapid.Permutation(again).Draw(t, "shuffled")))
	})
}

// drawAttempts is a history of one to three attempts that ended, or not, in any way.
func drawAttempts(t *rapid.T) facts {
	history := facts{planned}
	add := func(got facts, err error) {
		require.NoError(t, err)
		history = append(history, got...)
	}
	attempts := rapid.IntRange(1, 3).Draw(t, "attempts")
	for i := 1; i <= attempts; i++ {
		n := foldNotification(history...)
		if n.Status != aggregates.NotificationPending && n.Status != aggregates.NotificationSending {
			break
		}
		add(n.StartSending("p", fmt.Sprint(i), 500, true, nowAt(noon)))
		n = foldNotification(history...)
		switch rapid.SampledFrom([]string{"in flight", "sent", "temporary", "unknown", "rejected", "held", "cancelled"}).Draw(t, "outcome") {
		case "sent":
			add(n.RecordSent(sent(i, false)))
		case "temporary":
			add(n.RecordFailure(failing(i, "temporary")))
		case "unknown":
			add(n.RecordFailure(failing(i, "unknown")))
		case "rejected":
			add(n.GiveUp(givenUp(i, "rejected")))
		case "held":
			add(n.GiveUp(givenUp(i, "outcome_unknown")))
		case "cancelled":
			add(n.CancelClaimed(i, fmt.Sprint(i), "declined"))
		}
	}
	return history
}
