package reminders

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

func TestBackoffUntilItExpires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Later, Code: "busy", Detail: "later"})
		w.tune = nil
		w.event(5*time.Minute, 0)
		w.reminder("r", 4)
		w.register("ann")
		at(time.Minute)
		n := w.only()
		require.Equal(t, aggregates.NotificationPending, n.Status)
		require.Equal(t, "busy: later", n.LastError)
		require.WithinRange(t, n.NextAttempt, noon.Add(65*time.Second), noon.Add(67*time.Second))
		at(6*time.Minute + time.Second)
		times := w.email.times()
		require.Greater(t, len(times), 4)
		for i := 1; i < len(times); i++ {
			require.Greater(t, times[i]-times[i-1], 4*time.Second, "no two attempts at once")
		}
		require.LessOrEqual(t, times[len(times)-1], 6*time.Minute, "nothing is tried once it has expired")
		n = w.only()
		require.Equal(t, aggregates.NotificationFailed, n.Status)
		require.Equal(t, events.FailedMissed, n.LastError)
		require.Equal(t, len(times), n.Attempts)
	})
}

// Waiting as told uses up nothing: the message goes when the provider takes it.
func TestWaitingAsToldUsesUpNoAttempts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(30*24*time.Hour, 0)
		w.register("ann")
		w.email.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n <= 2*maxTries {
				return channels.Result{Outcome: channels.Later, Code: "429", NotBefore: time.Now().Add(time.Minute)}
			}
			return channels.Result{Outcome: channels.Accepted}
		}
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "x"}})
		at(2 * time.Hour)
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Greater(t, n.Attempts, maxTries)
	})
}

func TestAttemptsAreUsedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(30*24*time.Hour, 0)
		w.register("ann")
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			return channels.Result{Outcome: channels.Later, Code: "451", Detail: "not now, " + m.To}
		}
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "x"}})
		at(12 * time.Hour)
		n := w.only()
		require.Equal(t, aggregates.NotificationFailed, n.Status)
		require.Equal(t, "451: not now, …", n.LastError)
		require.Equal(t, maxTries, n.Attempts)
		require.Len(t, w.email.deliveries(), maxTries)
	})
}

func TestRateLimitedWaitsAsTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n <= 2 {
				return channels.Result{Outcome: channels.Later, NotBefore: time.Now().Add(7 * time.Minute)}
			}
			return accepted(n)
		}
		w.reminded()
		at(2 * time.Hour)
		times := w.email.times()
		require.Len(t, times, 3)
		require.Equal(t, time.Hour, times[0])
		for i := range 2 {
			require.GreaterOrEqual(t, times[i+1]-times[i], 7*time.Minute)
			require.Less(t, times[i+1]-times[i], 7*time.Minute+time.Second)
		}
		require.Equal(t, 3, w.only().Attempts)
	})
}

func TestGivenUpAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		answer channels.Result
		hold   bool
		want   string
	}{
		"rejected":  {channels.Result{Outcome: channels.Rejected, Code: "550", Detail: "no"}, false, "550: no"},
		"gone":      {channels.Result{Outcome: channels.Gone, Detail: "left"}, false, "left"},
		"opted out": {channels.Result{Outcome: channels.OptedOut}, false, "rejected"},
		"held":      {channels.Result{Outcome: channels.Unknown, Detail: "cut"}, true, "outcome_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = always(c.answer)
				w.reminded()
				at(90 * time.Minute)
				require.Len(t, w.email.deliveries(), 1)
				n := w.only()
				require.Equal(t, aggregates.NotificationFailed, n.Status)
				require.Equal(t, c.want, n.LastError)
			}, func(w *world) {
				w.tune = func(all []channels.Registration) { all[0].HoldUnknown = c.hold }
			})
		})
	}
}

func TestUnknownIsTriedAgainInDoubt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Unknown, Detail: "cut"}
			}
			return accepted(n)
		}
		inDoubt := func() int {
			n, err := w.r.InDoubt(t.Context())
			require.NoError(t, err)
			return n
		}
		w.reminded()
		require.Zero(t, inDoubt())
		at(time.Hour + time.Second)
		require.Equal(t, 1, inDoubt())
		at(90 * time.Minute)
		require.Zero(t, inDoubt(), "it is final")
		given := w.email.deliveries()
		require.Len(t, given, 2)
		require.Equal(t, given[0].ID, given[1].ID)
		require.Equal(t, []int{1, 2}, []int{given[0].Attempt, given[1].Attempt})
		n := w.only()
		require.True(t, n.InDoubt)
		require.Equal(t, []string{"unknown", "sent"}, []string{n.Log[0].Outcome, n.Log[1].Outcome})

		// Each attempt is counted, and how late the first of them was.
		m := w.r.sender.measures
		for outcome, times := range map[string]float64{"unknown": 1, "accepted": 1, "rejected": 0} {
			require.Equal(t, times, testutil.ToFloat64(m.outcomes.WithLabelValues("email", outcome)), outcome)
		}
		var lateness dto.Metric
		require.NoError(t, m.lateness.WithLabelValues("email").(prometheus.Metric).Write(&lateness))
		require.Equal(t, uint64(1), lateness.Histogram.GetSampleCount())
		require.Zero(t, lateness.Histogram.GetSampleSum())
	})
}

func TestUnknownUntilItExpires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Unknown})
		w.event(10*time.Minute, 0)
		w.reminder("r", 1)
		w.register("ann")
		at(15 * time.Minute)
		require.Equal(t, events.FailedOutcomeUnknown, w.only().LastError)
	})
}

func TestRudeChannels(t *testing.T) {
	for name, answer := range map[string]func(context.Context, channels.Message, int) channels.Result{
		"panics": func(_ context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				panic("oops")
			}
			return accepted(n)
		},
		"keeps to its time-out": func(ctx context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				<-ctx.Done()
				return channels.Result{Outcome: channels.Unknown}
			}
			return accepted(n)
		},
		"hangs": func(ctx context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				time.Sleep(3 * time.Hour)
				return channels.Result{Outcome: channels.Unknown}
			}
			return accepted(n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = answer
				w.reminded()
				at(time.Hour + 30*time.Second)
				n := w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.True(t, n.InDoubt)
				require.Len(t, w.email.deliveries(), 2)
				at(5 * time.Hour) // the one that hangs comes back
			})
		})
	}
}

// A channel that says long after its time-out that it has sent is believed.
func TestLateAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(ctx context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Minute)
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + 10*time.Second)
		n := w.only()
		require.Equal(t, aggregates.NotificationFailed, n.Status)
		require.Equal(t, events.FailedOutcomeUnknown, n.LastError)
		at(time.Hour + 2*time.Minute)
		n = w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Equal(t, noon.Add(time.Hour), n.SentTime)
		require.Len(t, w.email.deliveries(), 1)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].HoldUnknown = true }
	})
}
