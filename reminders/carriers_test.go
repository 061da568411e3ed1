package reminders

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/events"
)

// twoProviders has e-mail carried by a and, after it, by b, which is the scripted push.
func twoProviders(hold bool) func(*world) {
	return func(w *world) {
		emailBy(func(r *channels.Registration) { r.Provider, r.HoldUnknown = "a", hold })(w)
		w.more = []channels.Registration{{Name: "email", Kind: channels.Email, Provider: "b", Channel: w.push, Timeout: 5 * time.Second, HoldUnknown: hold}}
	}
}

func providersOf(n *aggregates.Notification) (all []string) {
	for _, a := range n.Log {
		all = append(all, a.Provider)
	}
	return all
}

// What one provider certainly has not taken, the next one carries at once.
func TestTheNextProviderCarriesWhatOneHasNotTaken(t *testing.T) {
	for name, answer := range map[string]channels.Result{
		"busy":          {Outcome: channels.Later, Code: "busy"},
		"wants no more": {Outcome: channels.Later, NotBefore: noon.Add(2 * time.Hour), Scope: channels.SameProvider},
		"broken":        {Outcome: channels.Broken, Code: "http_401"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = always(answer)
				w.reminded()
				at(time.Hour)
				n := w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.Equal(t, []string{"a", "b"}, providersOf(n))
				require.False(t, n.InDoubt)
				require.Equal(t, []time.Duration{time.Hour}, w.push.times(), "without waiting")
			}, twoProviders(false))
		})
	}
}

// Where none takes it, it waits as ever, and the first one is tried first again.
func TestNoProviderTakesIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Later, Code: "busy"})
		w.push.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Later, Code: "busy"}
			}
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + time.Minute)
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Equal(t, []string{"a", "b", "a", "b"}, providersOf(n))
		require.Greater(t, w.email.times()[1]-w.push.times()[0], 5*time.Second)
	}, twoProviders(false))
}

// While a circuit is open, all go by the next provider; then by the first again.
func TestAnOpenCircuitIsGoneAround(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		healthy := noon.Add(time.Hour + 5*time.Minute)
		w.email.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
			if time.Now().Before(healthy) {
				return channels.Result{Outcome: channels.Later, Code: "busy"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 60 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 2*time.Second)
		require.Equal(t, 60, w.statuses()[aggregates.NotificationSent], "nobody waits")
		require.Less(t, len(w.email.deliveries()), 20)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		byProvider := map[string]ChannelStatus{}
		for _, c := range stats.Channels {
			byProvider[c.Name+" "+c.Provider] = c
		}
		require.Equal(t, "paused", byProvider["email a"].State)
		require.Contains(t, byProvider["email a"].Reason, "busy")
		require.Equal(t, noon.Add(time.Hour), *byProvider["email a"].Since)
		require.Equal(t, "ready", byProvider["email b"].State)
		at(time.Hour + 10*time.Minute)
		w.announce("one of these tries it")
		at(time.Hour + 11*time.Minute)
		before := len(w.push.deliveries())
		w.announce("a")
		at(time.Hour + 12*time.Minute)
		require.Equal(t, before, len(w.push.deliveries()), "the first one is back")
	}, twoProviders(false), emailBy(func(r *channels.Registration) { r.Workers = 4 }))
}

// What one provider may have taken, no other carries: also while it is paused, and
// after a restart.
func TestWhatIsInDoubtStaysWithItsProvider(t *testing.T) {
	for name, restarts := range map[string]bool{"going on": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
					switch {
					case n == 1:
						return channels.Result{Outcome: channels.Unknown, Code: "no_answer"}
					case time.Now().Before(noon.Add(time.Hour + 10*time.Minute)):
						return channels.Result{Outcome: channels.Broken, Code: "http_401"}
					}
					return accepted(n)
				}
				w.reminded()
				at(time.Hour + time.Second)
				if restarts {
					w.restart()
				}
				w.register("bob") // by the other meanwhile
				w.announce("x")
				at(time.Hour + 20*time.Minute)
				for _, n := range w.notifications() {
					require.Equal(t, aggregates.NotificationSent, n.Status)
					if n.ReminderID != "" && n.ParticipantID == "ann" {
						require.True(t, n.InDoubt)
						require.NotContains(t, providersOf(n), "b")
						require.Greater(t, n.Attempts, 2)
					}
				}
				require.NotEmpty(t, w.push.deliveries())
			}, twoProviders(false))
		})
	}
}

// A crash leaves the log to say who may have it.
func TestACrashLeavesItWithItsProvider(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("hold %v", hold), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = always(channels.Result{Outcome: channels.Broken})
				w.push.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
					if n == 1 {
						time.Sleep(4 * time.Second)
					}
					return accepted(n)
				}
				w.reminded()
				at(time.Hour + time.Second) // b has it
				w.kill()
				w.email.setAnswer(nil) // a would take it now
				w.start()
				at(time.Hour + time.Minute)
				n := w.only()
				if hold {
					require.Equal(t, events.FailedOutcomeUnknown, n.LastError)
					require.Len(t, w.push.deliveries(), 1)
					return
				}
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.Equal(t, []string{"a", "b", "b"}, providersOf(n))
			}, twoProviders(hold), func(w *world) { w.drain = 0 })
		})
	}
}
