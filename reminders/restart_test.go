package reminders

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/eventstore"
)

func TestRestartWhileSending(t *testing.T) {
	for name, c := range map[string]struct {
		stopped, hold bool
		down          time.Duration
		want          aggregates.NotificationStatus
		why           string
		sends         int
	}{
		"tried again at once": {want: aggregates.NotificationSent, sends: 2},
		"stopped":             {stopped: true, want: aggregates.NotificationPending, why: interrupted, sends: 1},
		"held":                {hold: true, want: aggregates.NotificationFailed, why: "outcome_unknown", sends: 1},
		"expired":             {down: 2 * time.Hour, want: aggregates.NotificationFailed, why: "outcome_unknown", sends: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				die := make(chan struct{})
				w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
					if n == 1 {
						<-die
					}
					return accepted(n)
				}
				w.reminded()
				at(time.Hour + time.Second)
				if c.stopped {
					go func() { _, _ = w.r.Stop(context.Background(), caller) }()
					synctest.Wait()
				}
				w.adopt(w.store.Reopen())
				close(die)
				w.r.ended.Store(true)
				w.stop()
				time.Sleep(c.down)
				require.Equal(t, aggregates.NotificationSending, w.only().Status)
				w.start()
				synctest.Wait()
				n := w.only()
				require.Equal(t, c.want, n.Status)
				require.Equal(t, c.why, n.LastError)
				given := w.email.deliveries()
				require.Len(t, given, c.sends)
				if c.sends == 2 {
					require.True(t, n.InDoubt)
					require.Equal(t, 2, given[1].Attempt)
					require.Equal(t, given[0].ID, given[1].ID)
					require.Less(t, given[1].at.Sub(given[0].at), 2*time.Second)
				}
				if c.stopped {
					w.interval(30)
					synctest.Wait()
					require.Equal(t, aggregates.NotificationSent, w.only().Status)
					require.True(t, w.only().InDoubt)
				}
			}, func(w *world) {
				w.tune = func(all []channels.Registration) { all[0].HoldUnknown, all[0].Timeout = c.hold, time.Hour }
			})
		})
	}
}

// A claim for a channel that is gone, or that is paused, is not left SENDING.
func TestRestartWithoutTheChannel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(time.Hour)
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + time.Second)
		w.tune = func(all []channels.Registration) { all[0].Name = "mail" }
		w.kill()
		w.start()
		synctest.Wait()
		require.NotEqual(t, aggregates.NotificationSending, w.only().Status)
		at(4 * time.Hour)
		require.True(t, w.only().Final())
	}, func(w *world) {
		w.drain = 0
		w.tune = func(all []channels.Registration) { all[0].Timeout = 2 * time.Hour }
	})
}

// shared is a store that others write to.
type shared struct{ eventstore.Store }

func (shared) Exclusive() bool { return false }

func TestTakeOverOnASharedStore(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			if n == 1 {
				time.Sleep(10 * time.Minute)
			}
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + time.Second)
		w.kill()
		w.start()
		at(time.Hour + 30*time.Second)
		require.Equal(t, aggregates.NotificationSending, w.only().Status, "the claim holds for 35 s")
		at(time.Hour + 37*time.Second)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
		require.True(t, w.only().InDoubt)
	}, func(w *world) {
		w.drain = 0
		w.wrap = func(s eventstore.Store) eventstore.Store { return shared{s} }
	})
}

func TestShutdownDrains(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(4 * time.Second)
			return accepted(n)
		}
		w.event(2*time.Hour, 0)
		w.reminder("r", 60)
		for i := range 200 {
			w.register(fmt.Sprint("p", i))
		}
		at(time.Hour + time.Second)
		w.stop()
		require.Equal(t, time.Hour+4*time.Second, time.Since(noon))
		require.Equal(t, map[aggregates.NotificationStatus]int{aggregates.NotificationSent: 128, aggregates.NotificationPending: 72}, w.statuses())
		w.start()
	})
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.email.answer = func(_ context.Context, m channels.Message, n int) channels.Result {
			time.Sleep(30 * time.Minute)
			return accepted(n)
		}
		w.reminded()
		at(time.Hour + time.Second)
		w.stop()
		require.Equal(t, time.Hour+11*time.Second, time.Since(noon))
		w.email.answer = nil
		w.start()
		at(2 * time.Hour)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) { all[0].Timeout = time.Hour }
	})
}

func TestDamagedTableIsBuiltAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		damage(t, w.dir)
		w.start()
		at(2 * time.Hour)
		require.Contains(t, w.logged.String(), "built anew")
		require.Len(t, w.email.deliveries(), 1)
	})
}

func TestATableWithALostBitIsBuiltAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		path := filepath.Join(w.dir, "planner.db")
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		data[bytes.LastIndex(data, []byte("email"))] ^= 1 // SQLite finds nothing wrong with it
		require.NoError(t, os.WriteFile(path, data, 0o600))
		w.start()
		at(2 * time.Hour)
		require.Contains(t, w.logged.String(), "changed since it was closed")
		require.Len(t, w.email.deliveries(), 1)
	})
}

func TestTableOfAnotherLogIsBuiltAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		w.stop()
		other := newWorld(t, w.dir)
		other.email = w.email
		defer other.ring.Close()
		other.start()
		other.event(2*time.Hour, 0)
		other.reminder("r2", 30)
		other.register("bob")
		at(3 * time.Hour)
		require.Contains(t, other.logged.String(), "another log")
		require.Len(t, w.email.deliveries(), 1)
		require.Equal(t, "bob@x.org", w.email.deliveries()[0].To)
		other.stop()
		w.start()
	})
}
