package reminders

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// silent takes only the nth message, and never answers.
func (l *ledger) silent(takes int) {
	l.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
		if n == takes {
			l.take(m)
		}
		return channels.Result{Outcome: channels.Unknown, Code: "no_answer", Detail: "no answer came"}
	})
}

// longReminded has ann reminded in an hour, with time for all tries.
func (w *world) longReminded() {
	w.event(100*time.Hour, 0)
	w.reminder("r", 99*60)
	w.register("ann")
}

// The provider is asked for the last try as for those before it.
func TestTheLastTryIsAskedForToo(t *testing.T) {
	for name, takes := range map[string]int{"taken": maxTries, "not taken": 0} {
		for _, hold := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, hold %v", name, hold), func(t *testing.T) {
				var l *ledger
				inWorld(t, func(t *testing.T, w *world) {
					l.silent(takes)
					w.longReminded()
					at(24 * time.Hour)
					n := w.only()
					require.Len(t, w.email.deliveries(), maxTries)
					last := n.Log[maxTries-1]
					if takes > 0 {
						require.Equal(t, aggregates.NotificationSent, n.Status)
						require.Equal(t, aggregates.OutcomeSent, last.Outcome)
						return
					}
					require.Equal(t, aggregates.NotificationFailed, n.Status)
					require.Equal(t, aggregates.OutcomeFailed, last.Outcome)
					require.Equal(t, "not_taken: it is not there", n.LastError)
					require.Equal(t, events.FailedExhausted, lastFact[events.NotificationFailed](w).Reason)
				}, asking(&l, hold))
			})
		}
	}
}

// Where nobody tells, what may have been sent by the last try is said to be unknown.
func TestTheLastTryStaysUnknown(t *testing.T) {
	unknown := func(t *testing.T, w *world) {
		n := w.only()
		require.Equal(t, aggregates.NotificationFailed, n.Status)
		require.Equal(t, events.FailedOutcomeUnknown, n.LastError)
		require.Len(t, n.Log, maxTries)
		require.Equal(t, aggregates.OutcomeUnknown, n.Log[maxTries-1].Outcome)
	}
	t.Run("nobody can be asked", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.email.setAnswer(always(channels.Result{Outcome: channels.Unknown, Code: "no_answer"}))
			w.longReminded()
			at(24 * time.Hour)
			unknown(t, w)
		})
	})
	t.Run("who is asked doesn't tell", func(t *testing.T) {
		var l *ledger
		inWorld(t, func(t *testing.T, w *world) {
			l.silent(0)
			l.dead = true
			w.longReminded()
			at(48 * time.Hour)
			unknown(t, w)
			// By hand there are as many tries again.
			l.setAnswer(nil)
			do(w, commands.RetryNotification{NotificationID: w.only().ID})
			at(49 * time.Hour)
			require.Equal(t, aggregates.NotificationSent, w.only().Status)
		}, asking(&l, false))
	})
}
