package reminders

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// inChain runs test with a chain of push, sms and email, on all of which ann is
// reminded an hour before an event that begins in two.
func inChain(t *testing.T, test func(*testing.T, *world), before ...func(*world)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.event(2*time.Hour, 0)
		c := contactOf("ann")
		c.Phone, c.PushToken, c.Channels = "+15005550009", "token", []string{"email", "sms", "push"}
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: c})
		w.reminder("r", 60)
		test(t, w)
	}, append([]func(*world){func(w *world) {
		w.fallback = Fallback{Chain: []string{"push", "sms", "email"}, After: 10 * time.Minute}
	}}, before...)...)
}

// on gives the notification of a channel; the zero one where there is none.
func (w *world) on(channel string) aggregates.Notification {
	for _, n := range w.notifications() {
		if n.Channel == channel {
			return *n
		}
	}
	return aggregates.Notification{}
}

func (w *world) told(channel string, told string) {
	w.t.Helper()
	do(w, commands.RecordReceipt{NotificationID: w.on(channel).ID, Receipt: aggregates.Receipt{Attempt: 1, News: told}})
}

func TestFallbackWithoutReceipts(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Hour + time.Minute)
		require.Equal(t, []time.Duration{time.Hour}, w.push.times())
		n := w.on("sms")
		require.Equal(t, aggregates.NotificationPending, n.Status)
		require.Equal(t, noon.Add(70*time.Minute), n.ScheduledTime)
		require.Equal(t, w.on("push").ID, n.FallbackOf)
		require.Empty(t, w.on("email").ID)

		at(time.Hour + 50*time.Minute)
		require.Equal(t, []time.Duration{70 * time.Minute}, w.sms.times())
		require.Equal(t, []time.Duration{80 * time.Minute}, w.email.times())
		require.Equal(t, w.on("sms").ID, w.on("email").FallbackOf)
		require.Equal(t, map[string]string{"push": "SENT ", "sms": "SENT ", "email": "SENT "}, w.byChannel())
		require.Len(t, w.push.deliveries(), 1)
	})
}

func TestFallbackOfWhatFailed(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		w.push.setAnswer(always(channels.Result{Outcome: channels.Gone}))
		w.sms.setAnswer(always(channels.Result{Outcome: channels.Rejected}))
		at(time.Hour + time.Second)
		require.Equal(t, []time.Duration{time.Hour}, w.sms.times())
		require.Equal(t, []time.Duration{time.Hour}, w.email.times())
		require.Equal(t, aggregates.NotificationSent, w.on("email").Status)
	})
}

func TestFallbackEnds(t *testing.T) {
	for name, end := range map[string]func(*world){
		"a receipt": func(w *world) { w.told("push", aggregates.ReceiptDelivered) },
		"an answer": func(w *world) {
			do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		},
	} {
		for when, after := range map[string]time.Duration{"before it follows": time.Minute, "between": 11 * time.Minute} {
			t.Run(name+" "+when, func(t *testing.T) {
				inChain(t, func(t *testing.T, w *world) {
					at(time.Hour + after)
					end(w)
					at(3 * time.Hour)
					require.Len(t, w.push.deliveries(), 1)
					require.Empty(t, w.email.deliveries())
					last := w.on("sms")
					if after > 10*time.Minute {
						require.Len(t, w.sms.deliveries(), 1)
						last = w.on("email")
					} else {
						require.Empty(t, w.sms.deliveries())
					}
					require.Equal(t, aggregates.NotificationCancelled, last.Status)
					require.Equal(t, events.CancelledReceived, last.CancelReason)
				})
			})
		}
	}
}

// An answer given before the first message says nothing of it.
func TestAnAnswerBeforeIsNone(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Minute)
		do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		at(time.Hour + 30*time.Minute)
		require.Len(t, w.email.deliveries(), 1)
	})
}

// A message that arrived and bounced after all has not been received.
func TestFallbackOfWhatBounced(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Hour + time.Minute)
		w.told("push", aggregates.ReceiptDelivered)
		at(time.Hour + 2*time.Minute)
		require.Equal(t, aggregates.NotificationCancelled, w.on("sms").Status)
		w.told("push", aggregates.ReceiptBounced)
		at(time.Hour + 3*time.Minute)
		require.Equal(t, []time.Duration{time.Hour + 2*time.Minute}, w.sms.times())
	})
}

// Where of two attempts one arrived, bounced after all, and the other was taken, nothing
// has been received.
func TestFallbackOfAnAttemptThatBounced(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		w.push.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Unknown, Code: "no_answer"}
			}
			return accepted(n)
		})
		at(time.Hour + time.Minute)
		w.told("push", aggregates.ReceiptDelivered)
		at(time.Hour + 20*time.Minute)
		require.Empty(t, w.sms.deliveries())
		w.told("push", aggregates.ReceiptBounced)
		require.Equal(t, aggregates.NotificationSent, w.on("push").Status)
		at(time.Hour + 21*time.Minute)
		require.Equal(t, []time.Duration{time.Hour + 20*time.Minute}, w.sms.times())
	})
}

// Who is told while the process is down, or between the look and its call, is as if it had been up.
func TestFallbackOverRestarts(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Hour + time.Minute)
		w.kill()
		at(time.Hour + 5*time.Minute)
		w.start()
		at(time.Hour + 9*time.Minute)
		require.Empty(t, w.sms.deliveries())
		at(time.Hour + 10*time.Minute)
		require.Equal(t, []time.Duration{70 * time.Minute}, w.sms.times())
		w.told("sms", aggregates.ReceiptDelivered)
		w.restart()
		at(3 * time.Hour)
		require.Empty(t, w.email.deliveries())
		require.Equal(t, events.CancelledReceived, w.on("email").CancelReason)
	})
}

// What is scheduled for all channels at once is planned anew with a chain, and without one.
func TestFallbackIsConfigured(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Minute)
		require.Equal(t, map[string]string{"push": "PENDING ", "sms": "PENDING ", "email": "PENDING "}, w.byChannel())
		w.stop()
		w.fallback = Fallback{Chain: []string{"push", "sms"}, After: time.Minute}
		w.start()
		at(2 * time.Minute)
		require.Equal(t, map[string]string{"push": "PENDING ", "sms": "CANCELLED ", "email": "PENDING "}, w.byChannel())
		require.Equal(t, events.CancelledSuperseded, w.on("sms").CancelReason)
		w.stop()
		w.fallback = Fallback{}
		w.start()
		at(3 * time.Minute)
		require.Equal(t, map[string]string{"push": "PENDING ", "sms": "PENDING ", "email": "PENDING "}, w.byChannel())
	}, func(w *world) { w.fallback = Fallback{} })
}

// Who is about to send looks at those before, as the planner may not have come to it.
func TestFallbackIsLookedAt(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Hour + time.Minute)
		n := w.on("sms")
		look := func() string {
			_, why, err := w.r.sender.look(t.Context(), w.r.sender.lanes[1].carriers[0], n)
			require.Equal(t, why != "", err != nil)
			return why
		}
		require.Empty(t, look())
		w.told("push", aggregates.ReceiptDelivered)
		require.Equal(t, events.CancelledReceived, look())
		w.told("push", aggregates.ReceiptBounced)
		require.Empty(t, look())
		do(w, commands.StopProcessor{})
		synctest.Wait() // nothing is sent meanwhile
		do(w, commands.RetryNotification{NotificationID: w.on("push").ID})
		require.Equal(t, events.CancelledSuperseded, look())
	})
}

// The auditor misses a hop that should be there, and none that shouldn't.
func TestFallbackIsAudited(t *testing.T) {
	inChain(t, func(t *testing.T, w *world) {
		at(time.Hour + 5*time.Minute)
		holes := func() map[string]Hole {
			found, ok, err := w.r.auditor.lacking(t.Context(), eventID, nil)
			require.NoError(t, err)
			require.True(t, ok)
			return found
		}
		require.Empty(t, holes())
		do(w, commands.CancelNotification{NotificationID: w.on("sms").ID, Reason: events.CancelledDeclined})
		w.stop()
		w.start()
		at(time.Hour + 6*time.Minute)
		require.Empty(t, holes(), "it was scheduled again")
		require.Equal(t, aggregates.NotificationPending, w.on("sms").Status)
	})
}

func TestArrange(t *testing.T) {
	f := Fallback{Chain: []string{"push", "sms", "email"}}
	of := func(id, channel, reminder, announcement string) events.NotificationScheduled {
		return events.NotificationScheduled{NotificationID: id, Channel: channel, ReminderID: reminder, AnnouncementID: announcement}
	}
	got := map[string][]string{}
	for _, one := range f.arrange([]events.NotificationScheduled{
		of("1", "email", "r", ""), of("2", "slack", "r", ""), of("3", "push", "r", ""), of("4", "sms", "r", ""),
		of("5", "email", "s", ""), of("6", "sms", "", "a"), of("7", "email", "", "a"),
	}) {
		got[one.NotificationID] = one.before
	}
	require.Equal(t, map[string][]string{"1": {"3", "4"}, "2": nil, "3": nil, "4": {"3"}, "5": nil, "6": nil, "7": {"6"}}, got)
}
