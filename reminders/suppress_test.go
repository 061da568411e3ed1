package reminders

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

func (w *world) suppress(kind aggregates.AddressKind, address string) (id string) {
	id, ok := w.handler.SuppressionID(kind, address)
	require.True(w.t, ok)
	do(w, commands.SuppressAddress{Fact: events.AddressSuppressed{SuppressionID: id, Kind: string(kind), Reason: events.SuppressedStop}})
	return id
}

// byChannel gives the status and the last error of each channel's notification.
func (w *world) byChannel() map[string]string {
	all := map[string]string{}
	for _, n := range w.notifications() {
		all[n.Channel] = string(n.Status) + " " + n.LastError
	}
	return all
}

// What goes to a suppressed address fails before its provider is called, and nothing
// else does.
func TestSuppressedAddresses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		c := contactOf("ann")
		c.Phone, c.Channels = "+15005550009", []string{"email", "sms"}
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: c})
		w.reminder("r", 60)
		id := w.suppress(aggregates.PhoneNumber, "+1 (500) 555-0009")
		at(time.Hour + time.Minute)
		require.Equal(t, map[string]string{"email": "SENT ", "sms": "FAILED nothing is sent to this address: stop"}, w.byChannel())
		require.Empty(t, w.sms.deliveries())

		do(w, commands.ReleaseAddress{Fact: events.AddressReleased{SuppressionID: id, Reason: events.ReleasedByHand}})
		for _, n := range w.notifications() {
			if n.Channel == "sms" {
				require.Equal(t, 1, n.Attempts)
				do(w, commands.RetryNotification{NotificationID: n.ID})
			}
		}
		at(time.Hour + 2*time.Minute)
		require.Equal(t, map[string]string{"email": "SENT ", "sms": "SENT "}, w.byChannel())
	})
}

// What a provider's answer says of an address holds for the messages to come.
func TestAnswersThatSuppress(t *testing.T) {
	for outcome, reason := range map[channels.Outcome]string{channels.Gone: "gone", channels.OptedOut: "stop", channels.Rejected: ""} {
		t.Run(outcome.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.email.setAnswer(always(channels.Result{Outcome: outcome, Code: "550"}))
				w.reminded()
				at(time.Hour + time.Minute)
				require.Equal(t, aggregates.NotificationFailed, w.only().Status)
				got, err := w.handler.Suppression(t.Context(), aggregates.EmailAddress, "ANN@x.org")
				require.NoError(t, err)
				require.Equal(t, reason, got.Reason)
			})
		})
	}
}

// A channel that doesn't send to the address says nothing of it, and isn't bound by
// what is known of it.
func TestChannelsThatSendElsewhere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.event(2*time.Hour, 0)
		c := contactOf("ann")
		c.Channels = []string{"slack"}
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "ann", Contact: c})
		w.reminder("r", 60)
		w.suppress(aggregates.EmailAddress, "ann@x.org")
		at(time.Hour + time.Minute)
		require.Equal(t, map[string]string{"slack": "SENT "}, w.byChannel())

		w.sms.setAnswer(always(channels.Result{Outcome: channels.Gone}))
		c = contactOf("bob")
		c.Channels = []string{"slack"}
		do(w, commands.RegisterParticipant{EventID: eventID, ParticipantID: "bob", Contact: c})
		at(time.Hour + 2*time.Minute)
		got, err := w.handler.Suppression(t.Context(), aggregates.EmailAddress, "bob@x.org")
		require.NoError(t, err)
		require.Empty(t, got)
	}, func(w *world) {
		w.tune = func(all []channels.Registration) {
			all[1] = channels.Registration{Name: "slack", Kind: channels.Email, Elsewhere: true, Channel: w.sms, Timeout: 5 * time.Second}
		}
	})
}

// posting is a channel that posts to one place.
type posting struct{ *scripted }

func (posting) Destination() string { return "https://hooks.example.org/secret" }

// A place that wants no more messages gets none, for whomever, until it is released by hand.
func TestADestinationIsDisabled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.interval(3600)
		w.email.setAnswer(always(channels.Result{Outcome: channels.Gone, Code: "410"}))
		w.reminded()
		at(time.Hour)
		w.register("bob")
		at(time.Hour + time.Minute)
		require.Len(t, w.email.deliveries(), 1)
		for _, n := range w.notifications() {
			require.Equal(t, aggregates.NotificationFailed, n.Status)
		}
		stats, err := w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "disabled", stats.Channels[0].State)
		require.Equal(t, "gone 410", stats.Channels[0].Reason)
		require.Equal(t, noon.Add(time.Hour), *stats.Channels[0].Since)
		for _, entry := range w.log() {
			if f, ok := entry.Fact.(events.AddressSuppressed); ok {
				require.Equal(t, "hooks.example.org/***", f.To)
			}
		}
		got, err := w.handler.Suppression(t.Context(), aggregates.EmailAddress, "ann@x.org")
		require.NoError(t, err)
		require.Empty(t, got, "it says nothing of the recipient")

		w.email.setAnswer(nil)
		id, ok := w.handler.SuppressionID(aggregates.Endpoint, "https://hooks.example.org/secret")
		require.True(t, ok)
		do(w, commands.ReleaseAddress{Fact: events.AddressReleased{SuppressionID: id, Reason: events.ReleasedByHand}})
		for _, n := range w.notifications() {
			do(w, commands.RetryNotification{NotificationID: n.ID})
		}
		at(time.Hour + 2*time.Minute)
		require.Len(t, w.email.deliveries(), 3)
		stats, err = w.r.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ready", stats.Channels[0].State)
	}, func(w *world) {
		w.audited = true
		w.tune = func(all []channels.Registration) { all[0].Channel = posting{w.email} }
	})
}
