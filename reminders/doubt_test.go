package reminders

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// ledger is a provider that can be asked what it took, by whom it went to and what
// it said, as Twilio can. It shows what it took once that is settled.
type ledger struct {
	*scripted
	settled time.Duration
	dead    bool // it doesn't answer questions

	mu    sync.Mutex
	taken []delivery
	asked []delivery
}

func (l *ledger) take(m channels.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = append(l.taken, delivery{time.Now(), m})
}

func (l *ledger) Find(_ context.Context, m channels.Message, began time.Time) channels.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, delivery{time.Now().UTC(), m})
	if l.dead {
		return channels.Result{Outcome: channels.Unknown, Code: "http_503", Detail: "down"}
	}
	for _, d := range l.taken {
		if d.ID == m.ID && d.To == m.To && d.Text == m.Text && !d.at.Before(began.Add(-time.Minute)) {
			return channels.Result{Outcome: channels.Accepted, Ref: fmt.Sprint("found-", d.Attempt)}
		}
	}
	if at := began.Add(l.settled); time.Now().Before(at) {
		return channels.Result{Outcome: channels.Unknown, Code: "not_settled", Detail: "not yet", NotBefore: at}
	}
	return channels.Result{Outcome: channels.Later, Code: "not_taken", Detail: "it is not there"}
}

func (l *ledger) times() (since []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.asked {
		since = append(since, d.at.Sub(noon))
	}
	return since
}

// asking makes e-mail's provider one that can be asked.
func asking(l **ledger, hold bool) func(*world) {
	return func(w *world) {
		*l = &ledger{scripted: w.email, settled: 2 * time.Minute}
		emailBy(func(r *channels.Registration) { r.Channel, r.HoldUnknown, r.Provider = *l, hold, "ledger" })(w)
	}
}

// lost answers the first call with silence, having taken the message or not.
func (l *ledger) lost(taken bool) {
	l.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
		if n > 1 || taken {
			l.take(m)
		}
		if n == 1 {
			return channels.Result{Outcome: channels.Unknown, Code: "no_answer", Detail: "no answer came"}
		}
		return accepted(n)
	})
}

func TestAnUnknownOutcomeIsSettledByAsking(t *testing.T) {
	for _, hold := range []bool{true, false} {
		t.Run(fmt.Sprintf("taken, hold %v", hold), func(t *testing.T) {
			var l *ledger
			inWorld(t, func(t *testing.T, w *world) {
				l.lost(true)
				w.reminded()
				at(time.Hour)
				n := w.only()
				require.Equal(t, aggregates.NotificationPending, n.Status)
				require.Equal(t, aggregates.OutcomeUnknown, n.Log[0].Outcome)
				require.Equal(t, "no_answer: no answer came", n.LastError)
				at(time.Hour + 10*time.Second)
				n = w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.Equal(t, noon.Add(time.Hour), n.SentTime)
				require.Equal(t, "found-1", n.ProviderMessageID)
				require.Equal(t, `Hello ann, "Concert" starts in 1 hour`, n.Message)
				require.Equal(t, []aggregates.Attempt{{Number: 1, StartedAt: noon.Add(time.Hour), Provider: "ledger", Outcome: aggregates.OutcomeSent}}, n.Log)
				require.True(t, lastFact[events.NotificationSent](w).Found)
				at(2 * time.Hour)
				require.Len(t, w.email.deliveries(), 1)
			}, asking(&l, hold))
		})
		t.Run(fmt.Sprintf("not taken, hold %v", hold), func(t *testing.T) {
			var l *ledger
			inWorld(t, func(t *testing.T, w *world) {
				l.lost(false)
				w.reminded()
				at(time.Hour + 10*time.Second)
				require.Len(t, l.times(), 1)
				require.Equal(t, "not_settled: not yet", w.only().LastError)
				at(time.Hour + 119*time.Second)
				require.Len(t, w.email.deliveries(), 1)
				at(time.Hour + 122*time.Second)
				require.Len(t, l.times(), 2, "not before the time that it named")
				n := w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.False(t, n.InDoubt, "it certainly was not taken")
				require.Equal(t, []string{aggregates.OutcomeFailed, aggregates.OutcomeSent}, []string{n.Log[0].Outcome, n.Log[1].Outcome})
				require.Equal(t, "not_taken: it is not there", n.Log[0].Error)
				require.Len(t, w.email.deliveries(), 2)
			}, asking(&l, hold))
		})
		t.Run(fmt.Sprintf("never told, hold %v", hold), func(t *testing.T) {
			var l *ledger
			inWorld(t, func(t *testing.T, w *world) {
				l.lost(true)
				l.dead = true
				w.event(6*time.Hour, 0)
				w.reminder("r", 300)
				w.register("ann")
				at(5 * time.Hour)
				n := w.only()
				require.LessOrEqual(t, len(l.times()), maxAsks)
				require.Greater(t, len(l.times()), 3)
				if hold {
					require.Equal(t, aggregates.NotificationFailed, n.Status)
					require.Equal(t, events.FailedOutcomeUnknown, n.LastError)
					require.Len(t, w.email.deliveries(), 1)
					// By hand it is asked for once more, and sent if that tells nothing.
					before := len(l.times())
					do(w, commands.RetryNotification{NotificationID: n.ID})
					at(5*time.Hour + time.Second)
					require.Len(t, l.times(), before+1)
				} else {
					require.WithinRange(t, w.email.deliveries()[1].at, noon.Add(time.Hour), noon.Add(time.Hour+askingTimeAgain))
				}
				n = w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				require.True(t, n.InDoubt)
				require.Len(t, w.email.deliveries(), 2)
			}, asking(&l, hold))
		})
	}
}

func lastFact[F events.Fact](w *world) (last F) {
	for _, entry := range w.log() {
		if f, ok := entry.Fact.(F); ok {
			last = f
		}
	}
	return last
}

// What is held finds its way out by the provider's answer, also much later.
func TestAHeldMessageThatWasTakenIsFoundWhenItIsRetried(t *testing.T) {
	var l *ledger
	inWorld(t, func(t *testing.T, w *world) {
		l.lost(true)
		l.dead = true
		w.event(6*time.Hour, 0)
		w.reminder("r", 300)
		w.register("ann")
		at(4 * time.Hour)
		l.dead = false
		do(w, commands.RetryNotification{NotificationID: w.only().ID})
		at(4*time.Hour + time.Second)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
		require.Equal(t, "found-1", w.only().ProviderMessageID)
		require.Len(t, w.email.deliveries(), 1)
	}, asking(&l, true))
}

// A process that dies between the call and its conclusion leaves no word of what it
// sent. It is asked for as it was: the title has changed since, and so has the time.
func TestACrashIsSettledByAsking(t *testing.T) {
	for name, taken := range map[string]bool{"taken": true, "not taken": false} {
		t.Run(name, func(t *testing.T) {
			var l *ledger
			inWorld(t, func(t *testing.T, w *world) {
				die := make(chan struct{})
				l.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
					if taken || n > 1 {
						l.take(m)
					}
					if n == 1 {
						<-die
					}
					return accepted(n)
				})
				w.reminded()
				at(time.Hour + time.Second)
				rename := commands.ChangeEvent{EventID: eventID, Patch: aggregates.EventPatch{Title: aggregates.Patch[string]{Given: true, Value: "Recital"}}}
				do(w, rename)
				w.adopt(w.store.Reopen())
				close(die)
				w.r.ended.Store(true)
				w.stop()
				at(time.Hour + 20*time.Minute)
				w.start()
				at(time.Hour + 21*time.Minute)
				n := w.only()
				require.Equal(t, aggregates.NotificationSent, n.Status)
				if taken {
					require.Equal(t, noon.Add(time.Hour), n.SentTime)
					require.Equal(t, `Hello ann, "Concert" starts in 1 hour`, n.Message)
					require.Len(t, w.email.deliveries(), 1)
				} else {
					require.Equal(t, `Hello ann, "Recital" starts in 40 minutes`, n.Message)
					require.Len(t, w.email.deliveries(), 2)
				}
			}, asking(&l, true), emailBy(func(r *channels.Registration) { r.Timeout = time.Hour }))
		})
	}
}

// Asking goes on after a restart where it was, and takes no more tries for that.
func TestAskingGoesOnAfterARestart(t *testing.T) {
	var l *ledger
	inWorld(t, func(t *testing.T, w *world) {
		l.lost(true)
		l.dead = true
		w.event(6*time.Hour, 0)
		w.reminder("r", 300)
		w.register("ann")
		for i := range 60 {
			at(time.Hour + time.Duration(i)*time.Minute)
			w.restart()
		}
		at(3 * time.Hour)
		require.LessOrEqual(t, len(l.times()), maxAsks)
		require.Equal(t, events.FailedOutcomeUnknown, w.only().LastError)
		require.Len(t, w.email.deliveries(), 1)
	}, asking(&l, true))
}

// One that is cancelled, or has expired, is not asked for any more.
func TestNobodyIsAskedForWhatIsNotToBeSent(t *testing.T) {
	var l *ledger
	inWorld(t, func(t *testing.T, w *world) {
		l.lost(true)
		l.dead = true
		w.reminded()
		at(time.Hour + 30*time.Second)
		before := len(l.times())
		do(w, commands.CancelEvent{EventID: eventID})
		at(2 * time.Hour)
		require.Len(t, l.times(), before)
		require.Equal(t, aggregates.NotificationCancelled, w.only().Status)
	}, asking(&l, true))
}

// Those who ask use the workers and the rate of their channel.
func TestAskingIsBounded(t *testing.T) {
	var l *ledger
	inWorld(t, func(t *testing.T, w *world) {
		l.setAnswer(func(_ context.Context, m channels.Message, n int) channels.Result {
			l.take(m)
			return channels.Result{Outcome: channels.Unknown, Code: "no_answer"}
		})
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 4 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + 10*time.Minute)
		require.Equal(t, 4, w.statuses()[aggregates.NotificationSent])
		times := append(w.email.times(), l.times()...)
		for i := range times {
			for j := range i {
				require.GreaterOrEqual(t, (times[i] - times[j]).Abs(), time.Second, "one call a second, whatever it is")
			}
		}
	}, asking(&l, true), emailBy(func(r *channels.Registration) { r.PerSecond = 1 }))
}

// A provider that panics or hangs when it is asked has told nothing.
func TestAskingSurvivesTheProvider(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		at(2 * time.Hour)
		require.Equal(t, events.FailedOutcomeUnknown, w.only().LastError)
		require.Len(t, w.email.deliveries(), 1)
		require.Zero(t, w.r.sender.inFlightNow())
	}, func(w *world) {
		w.email.answer = always(channels.Result{Outcome: channels.Unknown})
		emailBy(func(r *channels.Registration) { r.Channel, r.HoldUnknown = &hostileFinder{scripted: w.email}, true })(w)
	})
}

type hostileFinder struct {
	*scripted
	n atomic.Int64
}

func (h *hostileFinder) Find(context.Context, channels.Message, time.Time) channels.Result {
	if h.n.Add(1)%2 == 0 {
		panic("asked")
	}
	time.Sleep(time.Minute)
	return channels.Result{Outcome: channels.Accepted}
}

func init() {
	scenes["asked for"] = func(t *testing.T, w *world) {
		w.stop()
		l := &ledger{scripted: w.email, settled: time.Minute}
		emailBy(func(r *channels.Registration) { r.Channel = l })(w)
		w.start()
		l.lost(false)
		w.reminded()
		at(2 * time.Hour)
		synctest.Wait()
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	}
}

// Wherever the process dies, what can be asked for is taken once.
func TestTakenOnceWhereverTheProcessDies(t *testing.T) {
	for _, taken := range []bool{true, false} {
		for _, before := range []bool{true, false} {
			for n := 1; n <= 8; n++ {
				t.Run(fmt.Sprintf("taken %v, before %v, append %d", taken, before, n), func(t *testing.T) {
					var l *ledger
					inWorld(t, func(t *testing.T, w *world) {
						l.lost(taken)
						w.reminded()
						synctest.Wait()
						p := &player{world: w, seen: map[string]bool{}}
						p.armCrash(n, before, false)
						at(time.Hour + 10*time.Minute)
						p.bury()
						at(2 * time.Hour)
						require.Equal(t, aggregates.NotificationSent, w.only().Status)
						require.Len(t, l.taken, 1)
					}, asking(&l, true))
				})
			}
		}
	}
}
