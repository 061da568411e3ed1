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
)

const everybodysPhone = "+4915112345678"

// reached registers somebody for channels.
func (w *world) reached(id string, on ...string) {
	w.t.Helper()
	do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: aggregates.ContactFields{
		UserID: id, Name: id, Email: id + "@x.org", Phone: everybodysPhone, Channels: on,
	}})
}

func (w *world) announce(id string) {
	w.t.Helper()
	do(w, commands.Announce{EventID: eventID, AnnouncementID: id, Fields: aggregates.AnnouncementFields{Message: id}})
}

// A provider's rate is shared by its channels in turn: a long queue on one doesn't
// keep another from it.
func TestChannelsShareTheirProvidersRateInTurn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 60 {
			w.reached(fmt.Sprint("e", i), "email")
		}
		for i := range 10 {
			w.reached(fmt.Sprint("s", i), "sms")
		}
		at(time.Hour + 19500*time.Millisecond)
		require.InDelta(t, 20, len(w.email.deliveries())+len(w.sms.deliveries()), 1, "one a second in all")
		require.InDelta(t, 10, len(w.sms.deliveries()), 1, "half of them")
		at(time.Hour + 2*time.Minute)
		require.Len(t, w.email.deliveries(), 60)
		require.Len(t, w.sms.deliveries(), 10)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) {
			for i := range 2 {
				all[i].Provider, all[i].ProviderPerSecond = "shared", 1
			}
		}
	})
}

// Messages to one address keep their distance and their order. Those that wait hold
// no worker, and are no holes.
func TestARecipientIsLeftAloneForAWhile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.register("ann")
		for i := range 8 {
			w.announce(fmt.Sprint("a", i))
			time.Sleep(time.Millisecond)
		}
		w.register("bob")
		w.announce("last")
		at(time.Second)
		require.Len(t, w.email.deliveries(), 2, "one to ann, and bob's")
		at(100 * time.Second)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Zero(t, stats.Conservation.Holes)
		at(10 * time.Minute)
		var texts []string
		last := time.Time{}
		for _, d := range w.email.deliveries() {
			if d.To == "ann@x.org" {
				require.GreaterOrEqual(t, d.at.Sub(last), 20*time.Second)
				last = d.at
				texts = append(texts, d.Text)
			}
		}
		require.Equal(t, []string{"a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "last"}, texts)
		require.WithinRange(t, last, noon.Add(160*time.Second), noon.Add(165*time.Second))
	}, func(w *world) {
		w.audited = true
		w.tune = func(all []channels.Registration) { all[0].RecipientEvery, all[0].Workers = 20*time.Second, 1 }
	})
}

// Turns that went by while the channel was paused don't come all at once.
func TestARecipientIsLeftAloneAfterAPauseToo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 2 {
				return channels.Result{Outcome: channels.Later, NotBefore: time.Now().Add(5 * time.Minute), Scope: channels.SameEndpoint}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.register("ann")
		for i := range 6 {
			w.announce(fmt.Sprint("a", i))
		}
		at(10 * time.Minute)
		times := w.email.times()
		require.Len(t, times, 7)
		for i := 1; i < len(times); i++ {
			require.GreaterOrEqual(t, times[i]-times[i-1], 20*time.Second)
		}
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].RecipientEvery = 20 * time.Second }
	})
}

// Who says "later" is left alone by all whom that concerns, and by nobody else.
func TestLaterPausesWhatItConcerns(t *testing.T) {
	for name, c := range map[string]struct {
		scope      channels.Scope
		email, sms bool // others go on
	}{
		"the message":  {channels.ThisMessage, true, true},
		"the channel":  {channels.SameEndpoint, false, true},
		"the provider": {channels.SameProvider, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.answer = func(_ context.Context, _ channels.Message, n int) channels.Result {
					if n == 1 {
						return channels.Result{Outcome: channels.Later, Code: "http_429", Detail: "slow down", NotBefore: noon.Add(time.Minute), Scope: c.scope}
					}
					return accepted(n)
				}
				w.event(2*time.Hour, 0)
				w.reached("first", "email")
				w.announce("one")
				at(time.Second)
				for i := range 5 {
					w.reached(fmt.Sprint("p", i), "email", "sms", "push")
				}
				do(w, commands.ChangeContact{EventID: eventID, ParticipantID: "p0", Patch: aggregates.ContactPatch{PushToken: aggregates.Patch[string]{Given: true, Value: "token"}}})
				w.announce("two")
				at(59 * time.Second)
				require.Equal(t, c.email, len(w.email.deliveries()) > 1)
				require.Equal(t, c.sms, len(w.sms.deliveries()) > 0)
				require.Len(t, w.push.deliveries(), 1, "another provider's")
				stats, err := w.r.Stats(t.Context())
				require.NoError(t, err)
				for i, goesOn := range []bool{c.email, c.sms, true} {
					status := stats.Channels[i]
					if goesOn {
						require.Equal(t, ChannelStatus{Name: status.Name, Provider: status.Provider, State: "ready"}, status)
						continue
					}
					require.Equal(t, "paused", status.State)
					require.Equal(t, "http_429: slow down", status.Reason)
					require.Equal(t, noon, *status.Since)
				}
				at(63 * time.Second)
				require.Len(t, w.email.deliveries(), 8)
				require.Len(t, w.sms.deliveries(), 5)
				for _, at := range w.email.times()[1:] {
					require.True(t, at >= time.Minute || c.email, "never earlier than it said")
				}
			}, func(w *world) {
				w.tune = func(all []channels.Registration) { all[0].Provider, all[1].Provider, all[2].Provider = "a", "a", "b" }
			})
		})
	}
}

// A channel whose provider hangs, fails or wants no more leaves the lateness of the
// others as it is without: in the same run, message for message.
func TestABrokenChannelLeavesTheOthersOnTime(t *testing.T) {
	lateness := func(answer func(context.Context, channels.Message, int) channels.Result) (times []time.Duration, email int) {
		inWorld(t, func(t *testing.T, w *world) {
			w.email.answer = answer
			w.event(3*time.Hour, 0)
			for i := range 40 {
				w.reached(fmt.Sprint("p", i), "email", "sms")
			}
			for i := range 20 {
				w.reminder(fmt.Sprint("r", i), 60+i)
			}
			at(2*time.Hour + time.Minute)
			times, email = w.sms.times(), len(w.email.deliveries())
		}, func(w *world) {
			w.tune = func(all []channels.Registration) { all[0].Workers, all[0].Provider, all[1].Provider = 4, "a", "b" }
		})
		return times, email
	}
	healthy, all := lateness(nil)
	require.Len(t, healthy, 800)
	for name, answer := range map[string]func(context.Context, channels.Message, int) channels.Result{
		"hangs": func(ctx context.Context, _ channels.Message, _ int) channels.Result {
			<-ctx.Done()
			return channels.Result{Outcome: channels.Unknown, Code: "timeout"}
		},
		"hangs for good": func(context.Context, channels.Message, int) channels.Result {
			time.Sleep(3 * time.Hour)
			return channels.Result{}
		},
		"fails":            always(channels.Result{Outcome: channels.Later, Code: "http_503"}),
		"is misconfigured": always(channels.Result{Outcome: channels.Broken, Code: "http_401"}),
		"wants no more":    always(channels.Result{Outcome: channels.Later, NotBefore: noon.Add(10 * time.Hour), Scope: channels.SameProvider}),
	} {
		t.Run(name, func(t *testing.T) {
			times, email := lateness(answer)
			require.Equal(t, healthy, times)
			require.Less(t, email, all/2, "and the provider is spared")
		})
	}
}

// hosts is a channel whose addresses are at servers of their own.
type hosts struct{ *scripted }

func (hosts) Endpoint(to string) string {
	if to[0] == 'b' {
		return "bad.example.org"
	}
	return "good.example.org"
}

// One endpoint that fails is left alone, while the others of its channel go on.
func TestAnEndpointThatFailsHoldsUpNoOther(t *testing.T) {
	for name, failing := range map[string]channels.Result{
		"down":          {Outcome: channels.Later, Code: "http_503"},
		"doubts us":     {Outcome: channels.Broken, Code: "http_403"},
		"no answer":     {Outcome: channels.Unknown, Code: "no_answer"},
		"is to be left": {Outcome: channels.Later, Code: "http_429", NotBefore: noon.Add(30 * time.Minute), Scope: channels.SameEndpoint},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				healthy := noon.Add(30 * time.Minute)
				w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
					if m.To[0] == 'b' && time.Now().Before(healthy) {
						return failing
					}
					return accepted(n)
				}
				w.event(3*time.Hour, 0)
				for i := range 40 {
					w.register(fmt.Sprint([]string{"good", "bad"}[i%2], i))
				}
				w.announce("a")
				at(20 * time.Minute)
				good, bad := 0, 0
				for _, d := range w.email.deliveries() {
					if d.To[0] == 'b' {
						bad++
						continue
					}
					good++
					require.Less(t, d.at.Sub(noon), 2*time.Second)
				}
				require.Equal(t, 20, good)
				require.Less(t, bad, 60, "an endpoint that fails is spared")
				stats, err := w.r.Stats(t.Context())
				require.NoError(t, err)
				require.Equal(t, "ready", stats.Channels[0].State)
				require.Len(t, stats.Channels[0].Endpoints, 1)
				e := stats.Channels[0].Endpoints[0]
				require.Equal(t, "bad.example.org", e.Endpoint)
				require.Contains(t, e.Reason, failing.Code)
				require.WithinRange(t, e.Since, noon, noon.Add(30*time.Second))
				at(time.Hour)
				require.Equal(t, 40, w.statuses()[aggregates.NotificationSent])
				stats, err = w.r.Stats(t.Context())
				require.NoError(t, err)
				require.Empty(t, stats.Channels[0].Endpoints)
			}, func(w *world) {
				w.tune = func(all []channels.Registration) { all[0].Channel, all[0].Workers = hosts{w.email}, 4 }
			})
		})
	}
}

// A channel may say itself how long to wait after each attempt.
func TestAChannelsOwnBackoff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Later, Code: "http_500"})
		w.event(30*24*time.Hour, 0)
		w.register("ann")
		w.announce("a")
		at(20 * time.Hour)
		times := w.email.times()
		require.Len(t, times, 4, "and then no more")
		for i, pause := range []time.Duration{5 * time.Second, 5 * time.Minute, 2 * time.Hour} {
			since := times[i+1] - times[i]
			require.GreaterOrEqual(t, since, pause)
			require.LessOrEqual(t, since, pause+pause/4+time.Second)
		}
		require.Equal(t, aggregates.NotificationFailed, w.only().Status)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) {
			all[0].Backoff = []time.Duration{5 * time.Second, 5 * time.Minute, 2 * time.Hour}
		}
	})
}
