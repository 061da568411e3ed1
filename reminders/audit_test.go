package reminders

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
)

func audited(w *world) { w.audited = true }

func (w *world) holes() int {
	w.t.Helper()
	stats, err := w.r.Stats(context.Background())
	require.NoError(w.t, err)
	return stats.Conservation.Holes
}

// spoil changes the planner's table behind its back.
func (w *world) spoil(query string) {
	w.t.Helper()
	require.NoError(w.t, w.r.table.change(func(c change) error { return c.exec(query) }))
}

func TestAuditFindsHoles(t *testing.T) {
	for name, query := range map[string]string{
		"a removed row": "DELETE FROM open",
		"a lost timer":  "UPDATE open SET due = due + 36000000000",
		"a lost claim":  "UPDATE open SET boot = 'nobody', revision = 99",
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(30 * time.Minute)
				w.spoil(query)
				if name == "a lost claim" {
					w.r.sender.mu.Lock()
					w.r.sender.busy[w.only().ID] = true
					w.r.sender.mu.Unlock()
				}
				at(30*time.Minute + 31*time.Second)
				require.Equal(t, 1, w.holes(), "within one check interval, long before it is due")
				at(time.Hour + time.Minute + 31*time.Second)
				require.Equal(t, 1, w.holes(), "one, whichever way it was found")
				require.Contains(t, w.logged.String(), "overdue")

				// Once it is cancelled, it lacks no more.
				do(w, commands.CancelNotificationByHand{NotificationID: w.only().ID})
				at(time.Hour + 3*time.Minute)
				require.Zero(t, w.holes())
			}, audited)
		})
	}
}

// Who makes the check interval shorter need not wait for the end of the old one.
func TestAuditFollowsTheCheckInterval(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(time.Minute)
		w.interval(1)
		w.spoil("DELETE FROM open")
		at(time.Minute + 2500*time.Millisecond)
		require.Equal(t, 1, w.holes())
	}, audited)
}

// When the clock jumps ahead, as after the machine has slept, what has become due
// meanwhile is on its way.
func TestAuditAfterAJumpOfTheClock(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(30*time.Minute + 500*time.Millisecond)
		w.offset.Add(int64(40 * time.Minute))
		require.NoError(t, w.r.auditor.check(t.Context(), time.Second))
		require.Zero(t, w.holes())
		at(31 * time.Minute)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	}, audited)
}

// So it is when the clock jumps before the first check of a process.
func TestAuditAfterAJumpBeforeTheFirstCheck(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(30*time.Minute + 500*time.Millisecond)
		w.restart()
		synctest.Wait()
		w.offset.Add(int64(40 * time.Minute))
		require.NoError(t, w.r.auditor.check(t.Context(), time.Second))
		require.Zero(t, w.holes())
	}, audited)
}

// A claim whose worker never comes back to conclude it is a hole once its time
// and a minute are over.
func TestAuditFindsAClaimThatIsNeverConcluded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		at(time.Hour)
		do(w, commands.StartSending{NotificationID: w.only().ID, Boot: w.r.sender.boot, ForMillis: 10_000})
		w.r.sender.mu.Lock()
		w.r.sender.busy[w.only().ID] = true
		w.r.sender.mu.Unlock()
		_, err = w.r.Start(t.Context(), caller, nil)
		require.NoError(t, err)
		at(time.Hour + time.Minute - time.Second)
		require.Zero(t, w.holes())
		at(time.Hour + time.Minute + 31*time.Second)
		require.Equal(t, 1, w.holes())
	}, audited)
}

func TestAuditFindsWhatIsNotScheduled(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(w *world)
	}{
		"never scheduled": {func(w *world) {
			// The planner passes over what it has not seen.
			w.stop()
			handler := commands.NewHandler(commands.Options{Store: w.store, Keys: w.ring, Now: w.now, Channels: Kinds(w.registrations())})
			w.handler = handler
			w.register("bob")
			handler.Close()
			table, err := openTable(w.dir, nil)
			require.NoError(w.t, err)
			log := w.log()
			require.NoError(w.t, table.change(func(c change) error { return c.setMark(markPlanned, log[len(log)-1].Record) }))
			require.NoError(w.t, table.close())
			w.start()
		}},
		"cancelled": {func(w *world) {
			for id := range w.notifications() {
				do(w, commands.CancelNotification{NotificationID: id, Reason: "removed"})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.reminded()
				at(time.Minute)
				require.Zero(t, w.holes())
				c.lose(w)
				at(2*time.Minute + 10*time.Second)
				require.Equal(t, 1, w.holes(), "within two checks, long before it is due")
				do(w, commands.DeleteEvent{EventID: eventID})
				at(4 * time.Minute)
				require.Zero(t, w.holes(), "of an event that is gone, nothing lacks")
			}, audited)
		})
	}
}

// What waits by its owner's will, or for its provider, is no hole.
func TestAuditExcuses(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.reminded()
			_, err := w.r.Stop(t.Context(), caller)
			require.NoError(t, err)
			at(time.Hour + 10*time.Minute)
			require.Zero(t, w.holes())
			w.email.setAnswer(always(channels.Result{Outcome: channels.Later, NotBefore: noon.Add(100 * time.Minute)}))
			w.interval(30)
			at(time.Hour + 30*time.Minute)
			require.Zero(t, w.holes(), "waits as told")
			w.email.setAnswer(nil)
			at(2 * time.Hour)
			require.Zero(t, w.holes())
			require.Equal(t, aggregates.NotificationSent, w.only().Status)
		}, audited)
	})
	t.Run("broken", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.email.setAnswer(always(channels.Result{Outcome: channels.Broken}))
			w.event(2*time.Hour, 0)
			w.reminder("r", 60)
			for i := range 20 {
				w.register(fmt.Sprint("p", i))
			}
			for m := range 50 {
				at(time.Hour + time.Duration(m)*time.Minute)
				require.Zero(t, w.holes())
			}
			at(2*time.Hour + 3*time.Minute)
			require.Zero(t, w.holes())
			require.Equal(t, 20, w.statuses()[aggregates.NotificationFailed])
		}, audited, func(w *world) {
			w.tune = func(all []channels.Registration) { all[0].Workers = 2 }
		})
	})
	t.Run("more than its rate lets out", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			w.event(2*time.Hour, 0)
			w.reminder("r", 60)
			for i := range 40 {
				w.register(fmt.Sprint("p", i))
			}
			at(30 * time.Minute)
			w.spoil("DELETE FROM open WHERE id = (SELECT max(id) FROM open)")
			for m := 2; m < 7; m++ {
				at(time.Hour + time.Duration(m)*time.Minute + 31*time.Second)
				require.Equal(t, 1, w.holes(), "what was taken from the sender is none that waits")
			}
			require.Equal(t, 39, w.statuses()[aggregates.NotificationSent])
		}, audited, func(w *world) {
			w.tune = func(all []channels.Registration) { all[0].PerSecond = 0.125 }
		})
	})
}

// A healthy run full of changes shows no hole at any check.
func TestNoFalseHoles(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep(time.Duration(n%1500) * time.Millisecond)
			if n%5 == 0 {
				return channels.Result{Outcome: channels.Later}
			}
			return accepted(n)
		})
		w.interval(1)
		w.event(40*time.Minute, 10)
		for i := range 10 {
			w.reminder(fmt.Sprint("r", i), i*3)
		}
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(i%700) * time.Millisecond):
				}
				id := fmt.Sprint("p", i%30)
				switch i % 9 {
				case 0, 1, 2:
					_, _ = try(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: id, Contact: aggregates.ContactFields{UserID: id, Name: id, Email: id + "@x.org"}})
				case 3, 5:
					_, _ = try(w, commands.Respond{EventID: eventID, ParticipantID: id, Response: aggregates.Declined})
				case 4, 6:
					_, _ = try(w, commands.Respond{EventID: eventID, ParticipantID: id, Response: aggregates.Accepted})
				case 7:
					_ = w.move(time.Duration(5+i%40) * time.Minute)
				case 8:
					if i%45 == 8 {
						_, _ = try(w, commands.Announce{EventID: eventID, AnnouncementID: fmt.Sprint("a", i), Fields: aggregates.AnnouncementFields{Message: "x"}})
					}
				}
			}
		}()
		for s := range 90 {
			at(time.Duration(s) * 2 * time.Second)
			require.Zero(t, w.holes(), "after %d s\n%s", 2*s, w.logged.String())
		}
		close(stop)
		<-done
		synctest.Wait()
	}, audited)
}

// While the read models are far behind, what they show as overdue is looked at in its stream.
func TestAuditLooksAtTheStream(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(time.Hour + 2*time.Minute)
		n := w.only()
		require.Equal(t, aggregates.NotificationSent, n.Status)
		stale, err := w.models.Notification(t.Context(), n.ID)
		require.NoError(t, err)
		stale.Status = "READY"
		excused, err := w.r.auditor.excused(t.Context(), stale, w.now())
		require.NoError(t, err)
		require.True(t, excused)
	}, audited)
}

func TestConservationCounts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 5 {
			w.register(fmt.Sprint("p", i))
		}
		w.email.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
			if m.To == "p1@x.org" {
				time.Sleep(2 * time.Second)
			}
			if m.To == "p2@x.org" {
				return channels.Result{Outcome: channels.Rejected}
			}
			return accepted(n)
		})
		at(time.Hour + time.Second)
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, Conservation{Due: 5, Final: 4, InFlight: 1}, stats.Conservation)
		at(time.Hour + 3*time.Second)
		stats, err = w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, Conservation{Due: 5, Final: 5}, stats.Conservation)
		end, err := w.store.End(t.Context())
		require.NoError(t, err)
		require.Equal(t, PlannerStatus{Position: end.String(), Planning: []Planning{}}, stats.Planner)
	}, audited)
}
