package aggregates_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func asked(attempt int, answer string, last, inDoubt bool) events.ProviderAsked {
	return events.ProviderAsked{NotificationID: "n", EventID: "e", Attempt: attempt, Answer: answer, Error: "said", Last: last, InDoubt: inDoubt, NextAttempt: noon}
}

func TestRecordAsked(t *testing.T) {
	lost := facts{planned, claimed(1, "b", false), failing(1, "unknown")}
	twice := append(append(facts{}, lost...), claimed(2, "b", true), failing(2, "unknown"))
	takenOver := facts{planned, claimed(1, "a", false), claimed(2, "b", true), failing(2, "temporary")}
	for name, tt := range map[string]struct {
		given facts
		asked events.ProviderAsked
		then  facts
	}{
		"it can't be told":             {lost, asked(1, events.AnswerUnknown, false, false), facts{asked(1, events.AnswerUnknown, false, true)}},
		"it was not taken":             {lost, asked(1, events.AnswerNotTaken, false, true), facts{asked(1, events.AnswerNotTaken, false, false)}},
		"another may have been taken":  {twice, asked(2, events.AnswerNotTaken, false, false), facts{asked(2, events.AnswerNotTaken, false, true)}},
		"the claim was lost":           {takenOver, asked(1, events.AnswerNotTaken, false, false), facts{asked(1, events.AnswerNotTaken, false, false)}},
		"its outcome is known":         {takenOver, asked(2, events.AnswerUnknown, false, false), nil},
		"another is under way":         {append(append(facts{}, lost...), claimed(2, "b", true)), asked(1, events.AnswerNotTaken, false, false), nil},
		"no more was to be asked":      {append(append(facts{}, lost...), asked(1, events.AnswerUnknown, true, true)), asked(1, events.AnswerUnknown, false, false), nil},
		"it was settled":               {append(append(facts{}, lost...), asked(1, events.AnswerNotTaken, false, false)), asked(1, events.AnswerUnknown, false, false), nil},
		"it was sent, as is known now": {append(append(facts{}, lost...), sent(1, true)), asked(1, events.AnswerNotTaken, false, false), nil},
		"it was cancelled":             {append(append(facts{}, lost...), unwanted("declined")), asked(1, events.AnswerNotTaken, false, false), nil},
		"there was no such attempt":    {lost, asked(3, events.AnswerNotTaken, false, false), nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := foldNotification(tt.given...)
			got, err := n.RecordAsked(tt.asked)
			require.NoError(t, err)
			require.Equal(t, tt.then, got)
			require.Equal(t, foldNotification(tt.given...), n, "deciding changed the state")
		})
	}
	_, err := foldNotification().RecordAsked(asked(1, events.AnswerUnknown, false, false))
	require.ErrorIs(t, err, aggregates.ErrNotificationNotFound)
}

func TestWhatAskingSettles(t *testing.T) {
	lost := facts{planned, claimed(1, "b", false), failing(1, "unknown")}
	after := func(more ...events.Fact) *aggregates.Notification {
		return foldNotification(append(append(facts{}, lost...), more...)...)
	}
	start := func(n *aggregates.Notification) events.SendingStarted {
		got, err := n.StartSending("p", "b", 500, false, nowAt(noon))
		require.NoError(t, err)
		return got[0].(events.SendingStarted)
	}
	n := after(asked(1, events.AnswerUnknown, false, true))
	require.Equal(t, []aggregates.Attempt{{Number: 1, StartedAt: stamp(1).At, Outcome: aggregates.OutcomeUnknown, Error: "said", Asked: 1}}, n.Doubtful())
	require.True(t, start(n).InDoubt)

	n = after(asked(1, events.AnswerNotTaken, false, false))
	require.Empty(t, n.Doubtful())
	require.Equal(t, "said", n.LastError)
	require.False(t, start(n).InDoubt, "what was not taken is in no doubt")
	require.Equal(t, "p", start(n).Provider)
	missed, err := n.GiveUp(givenUp(0, "missed"))
	require.NoError(t, err)
	require.Equal(t, events.FailedMissed, missed[0].(events.NotificationFailed).Reason)

	n = after(asked(1, events.AnswerUnknown, true, true), givenUp(0, "outcome_unknown"))
	require.True(t, n.Doubtful()[0].AskedOut)
	n = after(asked(1, events.AnswerUnknown, true, true), givenUp(0, "outcome_unknown"), retried)
	require.False(t, n.Doubtful()[0].AskedOut, "by hand it is asked for once more")
	require.True(t, n.Doubtful()[0].ByHand)
}
