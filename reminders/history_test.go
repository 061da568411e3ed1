package reminders

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/model"
)

// coverage counts what histories reached.
type coverage struct {
	mu        sync.Mutex
	histories int
	had       map[string]int // histories by what they had in them
	moves     map[string]int // of notifications, as in the state table
}

func (c *coverage) add(seen map[string]bool, log []commands.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.histories++
	waited := false
	all := map[string]*aggregates.Notification{}
	for _, entry := range log {
		switch f := entry.Fact.(type) {
		case events.ParticipantRegistered:
			waited = waited || f.Waitlisted
		case events.ParticipantResponded:
			waited = waited || f.Waitlisted
		}
		id, ok := strings.CutPrefix(entry.Record.Stream, "notification-")
		if !ok {
			continue
		}
		n := all[id]
		if n == nil {
			n = &aggregates.Notification{}
			all[id] = n
		}
		c.moves[model.MoveOf(n, entry.Fact)]++
		n.Evolve(entry.Fact, aggregates.Stamp{Revision: entry.Record.Revision, At: entry.Metadata.OccurredAt})
	}
	if waited {
		seen["waiting list"] = true
	}
	for what := range seen {
		c.had[what]++
	}
}

func (c *coverage) log(t *testing.T) {
	t.Helper()
	lines := []string{fmt.Sprintf("%d histories", c.histories)}
	for what, n := range c.had {
		lines = append(lines, fmt.Sprintf("  %3d %% had: %s", 100*n/c.histories, what))
	}
	sort.Strings(lines[1:])
	var moves []string
	for move := range c.moves {
		moves = append(moves, move)
	}
	sort.Strings(moves)
	for _, move := range moves {
		lines = append(lines, fmt.Sprintf("  %6d %s", c.moves[move], move))
	}
	t.Log(strings.Join(lines, "\n"))
}

func newCoverage() *coverage { return &coverage{had: map[string]int{}, moves: map[string]int{}} }

// What is scheduled is what is wanted, whatever happens in whatever order.
func TestPlannerOverHistories(t *testing.T) {
	c := newCoverage()
	rapid.Check(t, func(rt *rapid.T) {
		history := drawHistory(rt)
		if err := playHistory(t, history, c.add); err != nil {
			rt.Fatalf("%v", err)
		}
	})
	c.log(t)
	if t.Failed() || c.histories < 100 {
		return // so few say nothing of shares
	}
	for _, what := range []string{"move", "decline", "opt-out", "delete", "waiting list", "capacity", "contact", "announcement", "crash", "checkpoint 0", "chain"} {
		if 20*c.had[what] < c.histories {
			t.Errorf("%s: only in %d of %d histories", what, c.had[what], c.histories)
		}
	}
}

// receiptOf is what a provider says of the first attempt.
func receiptOf(id, news string) commands.RecordReceipt {
	return commands.RecordReceipt{NotificationID: id, Receipt: aggregates.Receipt{News: news, Attempt: 1}}
}

// scenes lead to every row of the state table, the rare ones too.
var scenes = map[string]func(*testing.T, *world){
	"sent, delivered, bounced all the same": func(t *testing.T, w *world) {
		w.reminded()
		at(time.Hour)
		do(w, receiptOf(w.only().ID, aggregates.ReceiptDelivered))
		at(2 * time.Hour)
		require.Equal(t, aggregates.NotificationDelivered, w.only().Status)
		do(w, receiptOf(w.only().ID, aggregates.ReceiptBounced))
		require.Equal(t, aggregates.NotificationFailed, w.only().Status)
	},
	"sent, bounced, retried, failing, cancelled by hand": func(t *testing.T, w *world) {
		w.reminded()
		at(time.Hour)
		id := w.only().ID
		do(w, receiptOf(id, aggregates.ReceiptBounced))
		w.email.setAnswer(always(channels.Result{Outcome: channels.Later}))
		do(w, commands.RetryNotification{NotificationID: id})
		synctest.Wait()
		require.Equal(t, aggregates.NotificationPending, w.only().Status)
		do(w, commands.CancelNotificationByHand{NotificationID: id})
		do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Declined})
		do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		at(2 * time.Hour)
		require.Equal(t, events.CancelledByHand, w.only().CancelReason)
	},
	"late, while another attempt is under way": func(t *testing.T, w *world) {
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep([]time.Duration{14 * time.Second, 4500 * time.Millisecond}[min(n, 2)-1])
			return accepted(n)
		})
		w.reminded()
		at(time.Hour + 14*time.Second)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
		require.Len(t, w.email.deliveries(), 2)
		at(2 * time.Hour)
		require.Equal(t, "ref-1", w.only().ProviderMessageID)
		require.Len(t, w.email.deliveries(), 2)
	},
	"late, after it was given up": func(t *testing.T, w *world) {
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep(10 * time.Minute)
			return accepted(n)
		})
		w.event(3*time.Minute, 0)
		w.reminder("r", 1)
		w.register("ann")
		at(5 * time.Minute)
		require.Equal(t, events.FailedOutcomeUnknown, w.only().LastError)
		at(20 * time.Minute)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	},
	"late, after it was cancelled": func(t *testing.T, w *world) {
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			time.Sleep(10 * time.Minute)
			return accepted(n)
		})
		w.reminded()
		at(time.Hour + 7*time.Second)
		require.NoError(t, changes["decline"](w))
		synctest.Wait()
		require.Equal(t, aggregates.NotificationCancelled, w.only().Status)
		at(2 * time.Hour)
		require.Equal(t, aggregates.NotificationSent, w.only().Status)
	},
	"declined, accepted, missed": func(t *testing.T, w *world) {
		w.reminded()
		synctest.Wait()
		require.NoError(t, changes["decline"](w))
		synctest.Wait()
		do(w, commands.Respond{EventID: eventID, ParticipantID: "ann", Response: aggregates.Accepted})
		synctest.Wait()
		_, err := w.r.Stop(t.Context(), caller)
		require.NoError(t, err)
		at(3 * time.Hour)
		require.Equal(t, events.FailedMissed, w.only().LastError)
	},
	"taken over": func(t *testing.T, w *world) {
		w.email.setAnswer(func(_ context.Context, _ channels.Message, n int) channels.Result {
			if n == 1 {
				time.Sleep(time.Minute)
			}
			return channels.Result{Outcome: channels.Rejected}
		})
		w.reminded()
		at(time.Hour)
		w.kill()
		w.start()
		at(2 * time.Hour)
		require.Equal(t, aggregates.NotificationFailed, w.only().Status)
		require.True(t, w.only().InDoubt)
	},
}

func TestEveryRowOfTheStateTable(t *testing.T) {
	c := newCoverage()
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				scene(t, w)
				c.add(map[string]bool{}, w.log())
			}, func(w *world) { w.drain = 0 })
		})
	}
	t.Run("declined between claim and look", func(t *testing.T) {
		var release chan struct{}
		inWorld(t, func(t *testing.T, w *world) {
			release = make(chan struct{})
			w.reminded()
			at(time.Hour)
			require.NoError(t, changes["decline"](w))
			close(release)
			synctest.Wait()
			require.Equal(t, events.CancelledDeclined, w.only().CancelReason)
			require.Equal(t, 1, w.only().Attempts)
			require.Empty(t, w.email.deliveries())
			c.add(map[string]bool{}, w.log())
		}, func(w *world) {
			w.wrap = func(s eventstore.Store) eventstore.Store {
				return held{s, func(_ string, records []eventstore.NewRecord) <-chan struct{} {
					if records[0].Type == "SendingStarted" {
						return release
					}
					return nil
				}}
			}
		})
	})
	c.log(t)
	for _, row := range model.StateTable {
		require.Positive(t, c.moves[row], "no test reaches: %s", row)
	}
}
