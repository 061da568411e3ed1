package projections

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

// rowsOfVersion is what the history of TestRowsOfVersion folds to, by version.
// When it fails, give the rows another version and add a line: rows that stand
// in somebody's folder under the old version are others.
var rowsOfVersion = map[int]string{
	7: "0949c2cd01253f7841a8e3bdb4781332201bc2f97e010c6900ae474c47aed7be",
	6: "9e860579fc60f134b3616ee208b879f94d7accdc9f769c2f0e3a27e26520de68",
	5: "cfeaf49660ea7705444e318554376a67a7e2f5d6348c16505d20c1c7892d6c7b",
	4: "82666ba69aa37e22d89e713014ebb0a998a0968b49e1236ad6578a5f15e72ad5",
	3: "9eb47ff5d874ce8e27db57b15c9373d538a6786c136b72b2edf2f45ef3531b65",
	2: "6c6c5339f782b71b868d76b8b036dee2cd6161edaa1620d95004e900189e1ea7",
	1: "132cf7a2074be143bdbf468548ad7e2a9cf31a1919a49a0e93893c3274c460cf",
}

func TestRowsOfVersion(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		everything(w)
		m := w.open(t.TempDir())
		require.NoError(t, m.foldBatch(w.facts()))
		rows := dump(t, m)
		require.NoError(t, m.Close())

		if *update {
			require.NoError(t, os.WriteFile("testdata/rows.golden", []byte(rows), 0o600))
		}
		golden, err := os.ReadFile("testdata/rows.golden")
		require.NoError(t, err)
		require.Equal(t, string(golden), rows)
		sum := sha256.Sum256([]byte(schema + rows))
		require.Equal(t, rowsOfVersion[version], hex.EncodeToString(sum[:]))
	})
}

var update = flag.Bool("update", false, "write testdata/rows.golden anew, for another version")

// everything adds a fixed history with every fact in it.
func everything(w *world) {
	party := events.EventScheduled{
		EventID: "party", Title: "Fête d'été", Description: "Music & dance", Location: "Łódź", CreatorID: "carl", Capacity: 1,
		Tags:  []string{"music", "summer"},
		Times: events.TimesIn(dawn.Add(time.Hour), dawn.Add(2*time.Hour), time.FixedZone("Europe/Warsaw", 7200)),
	}
	w.event("party", party)
	ann := guest("party", "ann")
	ann.Channels, ann.TimeZone, ann.Locale, ann.Personal.Phone = []string{"sms", "email"}, "Europe/Paris", "fr", "+4912345678"
	w.event("party", ann)
	w.event("party", waiting("party", "bob"))
	w.event("party", waiting("party", "cat"))
	w.event("party", waiting("party", "dan"))
	w.event("party", events.ReminderAdded{
		EventID: "party", ReminderID: "r", MinutesBefore: 15, Channels: []string{"email"}, Message: "Soon",
	}, events.ReminderAdded{EventID: "party", ReminderID: "r2", MinutesBefore: 60})
	w.event("party", events.ReminderRemoved{EventID: "party", ReminderID: "r2"})
	w.event("party", events.ParticipantResponded{EventID: "party", ParticipantID: "bob", Response: declined})
	w.event("party", events.ParticipantResponded{EventID: "party", ParticipantID: "bob", Response: accepted, Waitlisted: true})
	w.event("party", events.ParticipantOptedOut{EventID: "party", ParticipantID: "bob"})
	w.event("party", events.ParticipantOptedOut{EventID: "party", ParticipantID: "dan"})
	w.event("party", events.ParticipantOptedIn{EventID: "party", ParticipantID: "dan"})
	w.event("party",
		events.ParticipantRemoved{EventID: "party", ParticipantID: "ann"},
		events.ParticipantPromoted{EventID: "party", ParticipantID: "cat"})
	w.event("party", guestContact("party", "dan"))
	w.event("party", events.EventDetailsChanged{EventID: "party", Description: ptr("Dance"), Tags: ptr([]string{"dance"})})
	w.event("party", events.EventRescheduled{EventID: "party", Times: events.TimesIn(w.at(90), w.at(150), time.UTC)})
	w.event("party", events.EventCapacityChanged{EventID: "party", Capacity: 2})
	w.event("party", events.AnnouncementMade{EventID: "party", AnnouncementID: "a", Message: "Hi", SendAt: w.at(1)})

	claim := func(id string, attempt int, doubt bool) events.SendingStarted {
		return events.SendingStarted{NotificationID: id, EventID: "party", Attempt: attempt, Provider: "smtp", InDoubt: doubt}
	}
	sent := func(id string, attempt int) events.NotificationSent {
		return events.NotificationSent{
			NotificationID: id, EventID: "party", Attempt: attempt, SentTime: w.now(), ProviderMessageID: "p-" + id,
			Personal: events.Personal{Message: "Hello " + id},
		}
	}
	for _, id := range []string{"delivered", "failed", "late", "bounced", "cancelled", "again", "waits", "old", "missed"} {
		w.notification(id, scheduled(id, "party", "cat", w.at(5)))
	}
	w.notification("old", claim("old", 1, false), events.NotificationCancelled{NotificationID: "old", Reason: events.CancelledByHand})
	w.pass(time.Minute)
	w.notification("delivered", claim("delivered", 1, false), sent("delivered", 1),
		events.NotificationDelivered{NotificationID: "delivered", DeliveredTime: w.now()})
	w.notification("failed", claim("failed", 1, false),
		events.NotificationFailed{NotificationID: "failed", Attempt: 1, Reason: events.FailedRejected, Error: "no such address"})
	w.notification("late", claim("late", 1, false), claim("late", 2, true),
		events.NotificationFailed{NotificationID: "late", Attempt: 2, Reason: events.FailedOutcomeUnknown}, sent("late", 1))
	w.notification("bounced", claim("bounced", 1, false), sent("bounced", 1),
		events.NotificationFailed{NotificationID: "bounced", Attempt: 1, Reason: events.FailedBounced, Error: "mailbox full"})
	w.notification("cancelled", claim("cancelled", 1, false),
		events.NotificationCancelled{NotificationID: "cancelled", Reason: events.CancelledDeclined})
	w.notification("again", events.NotificationCancelled{NotificationID: "again", Reason: events.CancelledSuperseded},
		scheduled("again", "party", "cat", w.at(7)))
	w.notification("waits", claim("waits", 1, false), events.SendingFailed{
		NotificationID: "waits", Attempt: 1, Class: "temporary", Error: "try later", NextAttempt: w.at(9),
	}, claim("waits", 2, false), events.SendingFailed{
		NotificationID: "waits", Attempt: 2, Class: "unknown", Error: "no answer", NextAttempt: w.at(10),
	}, events.ProviderAsked{
		NotificationID: "waits", Attempt: 2, Answer: events.AnswerUnknown, Error: "not yet", NextAttempt: w.at(11), InDoubt: true,
	}, claim("waits", 3, true), events.SendingFailed{
		NotificationID: "waits", Attempt: 3, Class: "unknown", Error: "no answer", NextAttempt: w.at(12),
	}, events.ProviderAsked{
		NotificationID: "waits", Attempt: 3, Answer: events.AnswerNotTaken, Error: "not there", NextAttempt: w.at(13), InDoubt: true,
	})
	w.notification("missed", events.NotificationFailed{NotificationID: "missed", Reason: events.FailedMissed},
		events.NotificationRetried{NotificationID: "missed"})
	w.add("processor", events.ProcessorStarted{CheckIntervalSeconds: 30})
	w.add("processor", events.NotificationsCleared{Before: w.now().Add(-40 * time.Second)})
	w.notification("old", events.NotificationRetried{NotificationID: "old"})
	w.add("processor", events.ProcessorStopped{}, events.RequestNoted{})

	w.event("off", meeting("off"))
	w.event("off", events.EventCancelled{EventID: "off", Reason: "rain"})
	w.event("gone", meeting("gone"), guest("gone", "eve"), waiting("gone", "fay"),
		events.ParticipantRemoved{EventID: "gone", ParticipantID: "fay"},
		events.ReminderAdded{EventID: "gone", ReminderID: "r3"})
	w.notification("never", scheduled("never", "gone", "eve", w.at(5)))
	w.event("gone", events.EventDeleted{EventID: "gone"})
	w.notification("never", events.NotificationCancelled{NotificationID: "never", Reason: events.CancelledEventDeleted})
	w.notification("too-late", scheduled("too-late", "gone", "eve", w.at(5)))

	w.add("suppression-x", events.AddressSuppressed{SuppressionID: "x", Kind: "phone", To: "+15*****09", Reason: events.SuppressedGone, Provider: "twilio", Code: "30005"},
		events.AddressReleased{SuppressionID: "x", Kind: "phone", Reason: events.ReleasedByHand},
		events.AddressSuppressed{SuppressionID: "x", Kind: "phone", To: "+15*****09", Reason: events.SuppressedStop, Provider: "twilio", Code: "STOP"},
		events.AddressSuppressed{SuppressionID: "x", Kind: "phone", To: "+15*****09", Reason: events.SuppressedByHand})
	w.add("suppression-y", events.AddressSuppressed{SuppressionID: "y", Kind: "email", To: "a***@x.org", Reason: events.SuppressedComplaint, Provider: "sendgrid"})
	w.add("suppression-y", events.AddressReleased{SuppressionID: "y", Kind: "email", Reason: events.ReleasedAsked})
	w.add("suppression-z", events.AddressReleased{SuppressionID: "z", Kind: "email", Reason: events.ReleasedAsked})
}

// However a history comes, in large pieces or small, with restarts and with
// what is gone swept sooner or later, the rows are the same.
func TestSameHistorySameRows(t *testing.T) { sqldbtest.Databases(t, sameHistorySameRows) }

func sameHistorySameRows(t *testing.T, target sqldb.Target) {
	histories, deleting, clearing, promoting := 0, 0, 0, 0
	steps := 90
	if target.Shared() {
		steps = 45 // each is a trip to the server
	}
	fewer(t, target)
	rapid.Check(t, func(t *rapid.T) {
		h := generate(t, steps)
		if target.Shared() {
			h.target = target
		}
		facts := h.facts()

		whole := h.open(tempDir(t))
		whole.empty(t)
		require.NoError(t, whole.foldBatch(facts))
		want := dump(t, whole)
		h.agrees(whole)
		whole.empty(t)
		require.NoError(t, whole.Close())

		dir := tempDir(t)
		m := h.open(dir)
		m.empty(t)
		h.logged.clear()
		for len(facts) > 0 {
			n := rapid.IntRange(1, min(len(facts), 40)).Draw(t, "batch")
			require.NoError(t, m.foldBatch(facts[:n]))
			facts = facts[n:]
			switch rapid.IntRange(0, 5).Draw(t, "between") {
			case 0:
				require.NoError(t, m.Close())
				m = h.open(dir)
			case 1:
				_, err := m.writer.sweep()
				require.NoError(t, err)
			}
		}
		require.Equal(t, want, dump(t, m))
		m.empty(t)
		require.NoError(t, m.Close())
		require.Empty(t, h.logged.String(), "nothing was built anew")

		histories++
		deleting += min(h.deleted, 1)
		clearing += min(h.cleared, 1)
		for _, f := range h.facts() {
			if f.Type == "ParticipantPromoted" {
				promoting++
				break
			}
		}
	})
	t.Logf("%d histories; of them with deletions %d, clearing %d, promotions %d", histories, deleting, clearing, promoting)
	if histories < 100 {
		return // too few to be sure of each
	}
	require.Greater(t, deleting*20, histories)
	require.Greater(t, clearing*20, histories)
	require.Greater(t, promoting*20, histories)
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "projections")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// agrees compares what m shows with what the history should show.
func (h *history) agrees(m *Models) {
	ctx, t := context.Background(), h.t
	want := Counts{
		Participants:  ParticipantCounts{ByResponse: map[string]int{}, ByStatus: map[string]int{}},
		Notifications: NotificationCounts{ByStatus: map[string]int{}, ByChannel: map[string]int{}},
	}
	for _, e := range h.events {
		if e.deleted {
			_, err := m.Event(ctx, e.id)
			require.ErrorIs(t, err, ErrNotFound)
			_, err = m.Participants(ctx, e.id, ParticipantFilter{}, Page{Limit: 10})
			require.ErrorIs(t, err, ErrNotFound)
			continue
		}
		want.Events.Total++
		listed := all(t, 3, func(page Page) (List[Participant], error) {
			return m.Participants(ctx, e.id, ParticipantFilter{}, page)
		})
		require.Len(t, listed, len(e.on))
		for i, p := range listed {
			require.Equal(t, e.on[i].id, p.ID)
			require.Equal(t, e.shown(p.ID), shownAs(p))
			one, err := m.Participant(ctx, p.ID)
			require.NoError(t, err)
			require.Equal(t, p, one)
		}
		line := all(t, 2, func(page Page) (List[Participant], error) {
			return m.Participants(ctx, e.id, ParticipantFilter{Status: waitlisted}, page)
		})
		require.Len(t, line, len(e.line))
		for i, p := range line {
			require.Equal(t, e.line[i].id, p.ID)
			require.Equal(t, i+1, *p.WaitlistPosition)
		}
		for _, g := range e.on {
			want.Participants.Total++
			want.Participants.ByResponse[g.response]++
			want.Participants.ByStatus[g.status]++
		}
	}
	for _, n := range h.notifications {
		got, err := m.Notification(ctx, n.id)
		if n.cleared || n.event.deleted {
			require.ErrorIs(t, err, ErrNotFound)
			continue
		}
		require.NoError(t, err, n.id)
		if got.Status == ready {
			got.Status = pending
		}
		require.Equal(t, n.status, got.Status)
		require.Equal(t, n.attempts, got.Attempts)
		require.Equal(t, h.revisionOf("notification-"+n.id), got.Revision)
		want.Notifications.Total++
		want.Notifications.ByStatus[n.status]++
		want.Notifications.ByChannel["email"]++
	}
	got, err := m.Counts(ctx)
	require.NoError(t, err)
	got.Notifications.ByStatus[pending] += got.Notifications.ByStatus[ready]
	delete(got.Notifications.ByStatus, ready)
	for _, counts := range []map[string]int{got.Participants.ByResponse, got.Participants.ByStatus, got.Notifications.ByStatus} {
		for name, n := range counts {
			if n == 0 {
				delete(counts, name)
			}
		}
	}
	require.Equal(t, want.Participants, got.Participants)
	require.Equal(t, want.Notifications, got.Notifications)
	require.Equal(t, want.Events.Total, got.Events.Total)
}

func (e *aEvent) shown(id string) string {
	for _, g := range e.on {
		if g.id == id {
			place := 0
			for i, w := range e.line {
				if w == g {
					place = i + 1
				}
			}
			return fmt.Sprintf("%s %s %s out %t place %d revision %d", g.id, g.status, g.response, g.optedOut, place, g.changed)
		}
	}
	return id + " is not there"
}

func shownAs(p Participant) string {
	place := 0
	if p.WaitlistPosition != nil {
		place = *p.WaitlistPosition
	}
	return fmt.Sprintf("%s %s %s out %t place %d revision %d", p.ID, p.Status, p.Response, p.OptedOut, place, p.Revision)
}
