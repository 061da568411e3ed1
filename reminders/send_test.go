package reminders

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

var caller = commands.Caller{Actor: "test"}

// interval sets the check interval.
func (w *world) interval(seconds int) {
	w.t.Helper()
	_, err := w.r.Start(context.Background(), caller, &seconds)
	require.NoError(w.t, err)
}

// reminded schedules an event in two hours with a reminder an hour before, and one participant.
func (w *world) reminded() {
	w.t.Helper()
	w.event(2*time.Hour, 0)
	w.reminder("r", 60)
	w.register("ann")
}

func TestOnTimeByTheClock(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.reminded()
		at(time.Hour - time.Microsecond)
		require.Empty(t, w.email.deliveries())
		at(time.Hour)
		require.Equal(t, []time.Duration{time.Hour}, w.email.times())
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		require.Equal(t, noon.Add(time.Hour), n.SentTime)
		require.Equal(t, "ref-1", n.ProviderMessageID)
		require.Equal(t, "a***@x.org", n.To)
		require.Equal(t, `Hello ann, "Concert" starts in 1 hour`, n.Message)
		require.Equal(t, n.ID, w.email.deliveries()[0].ID)

		// An announcement is due at once.
		at(time.Hour + time.Minute)
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "Bring a hat"}})
		synctest.Wait()
		require.Equal(t, time.Hour+time.Minute, w.email.times()[1])
	})
}

func TestManyChannelsAtTheirTimes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.event(2*time.Hour, 0)
		for i := range 60 {
			w.reminder(fmt.Sprint("r", i), i)
		}
		w.register("ann")
		at(3 * time.Hour)
		var want []time.Duration
		for i := range 60 {
			want = append(want, time.Hour+time.Duration(i+1)*time.Minute)
		}
		require.Equal(t, want, w.email.times())
	})
}

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
		w.reminded()
		at(90 * time.Minute)
		given := w.email.deliveries()
		require.Len(t, given, 2)
		require.Equal(t, given[0].ID, given[1].ID)
		require.Equal(t, []int{1, 2}, []int{given[0].Attempt, given[1].Attempt})
		n := w.only()
		require.True(t, n.InDoubt)
		require.Equal(t, []string{"unknown", "sent"}, []string{n.Log[0].Outcome, n.Log[1].Outcome})
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

func TestBrokenPausesItsChannelAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				return channels.Result{Outcome: channels.Broken, Code: "401"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			id := fmt.Sprint("p", i)
			do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: aggregates.ContactFields{
				UserID: id, Name: id, Email: id + "@x.org", Phone: "+4915112345678", Channels: []string{"email", "sms"},
			}})
		}
		at(time.Hour + 10*time.Second)
		require.Len(t, w.email.deliveries(), 1)
		require.Len(t, w.sms.deliveries(), 10)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "paused", stats.Channels[0].State)
		require.Equal(t, "ready", stats.Channels[1].State)
		at(time.Hour + 29*time.Second)
		require.Len(t, w.email.deliveries(), 1)
		at(time.Hour + 31*time.Second)
		require.Len(t, w.email.deliveries(), 11)
		require.Equal(t, 20, w.statuses()[aggregates.NotificationSent])
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 1 }
	})
}

func TestCircuitOpensAndCloses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		healthy := noon.Add(time.Hour + 3*time.Minute)
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if time.Now().Before(healthy) {
				return channels.Result{Outcome: channels.Later, Code: "503"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 100 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + time.Minute)
		require.Less(t, len(w.email.deliveries()), 20, "an open circuit spares the provider")
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "paused", stats.Channels[0].State)
		at(time.Hour + 10*time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 100}, w.statuses())
		stats, err = w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ready", stats.Channels[0].State)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 4 }
	})
}

func TestMissed(t *testing.T) {
	for name, stopped := range map[string]bool{"down": false, "stopped": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				synctest.Wait()
				if stopped {
					_, err := w.r.Stop(t.Context(), caller)
					require.NoError(t, err)
				} else {
					w.stop()
				}
				at(2*time.Hour + time.Minute)
				require.Equal(t, aggregates.NotificationPending, w.only().Status)
				at(2*time.Hour + 2*time.Minute)
				if !stopped {
					w.start()
					synctest.Wait()
				}
				require.Empty(t, w.email.deliveries())
				require.Equal(t, events.FailedMissed, w.only().LastError)
			})
		})
	}
}

// What expired while the service was down and was cancelled before is not missed.
func TestNotMissedButCancelled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		fail := false
		w.fail.set(func(int) error {
			if fail {
				return fmt.Errorf("dead")
			}
			fail = true // after the cancelling
			return nil
		})
		do(w, commands.CancelEvent{EventID: eventID})
		w.kill()
		at(3 * time.Hour)
		w.start()
		synctest.Wait()
		n := w.only()
		require.Equal(t, aggregates.NotificationCancelled, n.Status)
		require.Equal(t, events.CancelledEventCancelled, n.CancelReason)
	})
}

func TestLateIsStillSent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		at(2*time.Hour + 30*time.Second)
		w.start()
		synctest.Wait()
		require.Equal(t, []time.Duration{2*time.Hour + 30*time.Second}, w.email.times())
		require.Contains(t, w.email.deliveries()[0].Text, "starts 1 minute ago")
	})
}

func TestStopAndStart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n <= 4 {
				<-release
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 20 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		require.Len(t, w.email.deliveries(), 4)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			_, err := w.r.Stop(context.Background(), caller)
			assert.NoError(t, err)
		}()
		synctest.Wait()
		status, err := w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, ProcessorStatus{State: "stopped", CheckIntervalSeconds: 30, Due: 16, InFlight: 4}, status)
		select {
		case <-stopped:
			t.Fatal("stop did not wait for what is in flight")
		default:
		}
		close(release)
		<-stopped
		at(time.Hour + time.Minute)
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 4, aggregates.NotificationPending: 16}, w.statuses())

		w.register("late") // planning goes on
		synctest.Wait()
		require.Equal(t, 17, w.statuses()[aggregates.NotificationPending])

		w.restart()
		at(time.Hour + 2*time.Minute)
		require.Len(t, w.email.deliveries(), 4, "a stop survives a restart")
		w.interval(45)
		synctest.Wait()
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 21}, w.statuses())
		status, err = w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, ProcessorStatus{State: "running", CheckIntervalSeconds: 45}, status)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers, all[0].Timeout = 4, time.Hour }
	})
}

// A stop doesn't let those go that wait for the rate of their channel.
func TestStopWhileRateIsUsedUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 20 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 4500*time.Millisecond)
		require.Len(t, w.email.deliveries(), 5, "one a second")
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		require.Equal(t, time.Hour+4500*time.Millisecond, time.Since(noon), "a stop waits only for what is in flight")
		at(time.Hour + time.Minute)
		require.Len(t, w.email.deliveries(), 5)

		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 15}, swept)
		require.GreaterOrEqual(t, time.Since(noon), time.Hour+time.Minute+13*time.Second, "send-due keeps to the rate too")
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].PerSecond = 1 }
	})
}

func TestSendDue(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if m.To == "p3@x.org" {
				return channels.Result{Outcome: channels.Rejected}
			}
			if m.To == "p4@x.org" {
				return channels.Result{Outcome: channels.Later, Detail: "later"}
			}
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{Message: "Now"}})
		swept, err := w.r.SendDue(t.Context()) // what was asked for just before is sent too
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 16, Failed: 4}, swept)
		require.Equal(t, map[aggregates.NotificationStatus]int{
			aggregates.NotificationSent: 16, aggregates.NotificationPending: 2, aggregates.NotificationFailed: 2,
		}, w.statuses())
		swept, err = w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{}, swept, "the next attempts are not due yet")
		status, err := w.r.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "stopped", status.State)
		at(time.Hour + time.Minute)
		require.Equal(t, 2, w.statuses()[aggregates.NotificationPending])
	})
}

func TestSendDueWhileRunning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Second)
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 500*time.Millisecond)
		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{Sent: 6}, swept, "four were in flight")
		require.Len(t, w.email.deliveries(), 10)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 4 }
	})
}

// A paused channel holds up no send-due.
func TestSendDueOnPausedChannel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Broken})
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 3 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		swept, err := w.r.SendDue(t.Context())
		require.NoError(t, err)
		require.Equal(t, Swept{StillDue: 2}, swept)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Workers = 1 }
	})
}

func TestWorkersAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Second)
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 600 {
			w.register(fmt.Sprint("p", i))
		}
		at(90 * time.Minute)
		require.Equal(t, 600, w.statuses()[aggregates.NotificationSent])
		require.Equal(t, defaultWorkers, w.email.top)
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

func TestRendersWhatIsThen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		message := "{{ participant.name }}: {{ event.title }} at {{ event.local_start }} ({{ reminder.minutes_before }})"
		w.event(2*time.Hour, 0)
		sixty := 60
		do(w, commands.AddReminder{EventID: eventID, ReminderID: "r", Fields: aggregates.ReminderFields{MinutesBefore: &sixty, Message: &message}})
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: aggregates.ContactFields{
			UserID: "u", Name: "Ann", Email: "ann@x.org", TimeZone: "Asia/Tokyo",
		}})
		at(30 * time.Minute)
		do(w, commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: "Recital"}}})
		do(w, commands.ChangeContact{EventID: eventID, ParticipantID: "ann", Patch: aggregates.ContactPatch{
			Name: aggregates.Patch[string]{Given: true, Value: "Anna"}, Email: aggregates.Patch[string]{Given: true, Value: "anna@y.org"},
		}})
		at(time.Hour)
		given := w.email.deliveries()
		require.Len(t, given, 1)
		require.Equal(t, "Anna: Recital at Sat, 1 Jan 2000 23:00 JST (60)", given[0].Text)
		require.Equal(t, "anna@y.org", given[0].To)
		require.Equal(t, "Anna", given[0].Name)
		require.Equal(t, "Recital", given[0].Subject)
	})
}

// Once a try has shown that the provider works again, nobody waits any longer.
func TestRecoveredCircuitHoldsUpNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.setAnswer(always(channels.Result{Outcome: channels.Later, Code: "503"}))
		w.event(3*time.Hour, 0)
		w.reminder("early", 120)
		for i := range 10 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour)
		for _, n := range w.notifications() { // they are not to probe the circuit
			do(w, commands.CancelNotificationByHand{NotificationID: n.ID})
		}
		do(w, commands.Announce{EventID: eventID, AnnouncementID: "a", Fields: aggregates.AnnouncementFields{
			Message: "x", SendAt: new(noon.Add(2 * time.Hour)),
		}})
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep(100 * time.Millisecond)
			return accepted(n)
		})
		before := len(w.email.deliveries())
		at(2 * time.Hour)
		require.Len(t, w.email.deliveries(), before+1, "one tries the provider")
		at(2*time.Hour + 200*time.Millisecond)
		require.Len(t, w.email.deliveries(), before+10)
	})
}
