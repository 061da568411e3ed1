package projections

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
)

// fact is a record, decoded.
type fact struct {
	eventstore.Record
	events.Fact
	at     int64 // when it occurred, in microseconds
	number int64 // among all that were folded into the rows
}

// read decodes r.
func read(keys events.Keys, r eventstore.Record) (fact, error) {
	f, err := events.Decode(keys, r.ID, r.Type, r.Data)
	if err != nil {
		return fact{}, fmt.Errorf("fact at %v in %s: %w", r.Position, r.Stream, err)
	}
	var metadata struct {
		OccurredAt time.Time `json:"occurred_at"`
	}
	if err := json.Unmarshal(r.Metadata, &metadata); err != nil {
		return fact{}, fmt.Errorf("fact at %v in %s: metadata: %w", r.Position, r.Stream, err)
	}
	return fact{Record: r, Fact: f, at: metadata.OccurredAt.UnixMicro()}, nil
}

// apply changes the rows as f says. What belongs to an event or to a
// notification that is no longer there is passed over.
func (w *writer) apply(f fact) error {
	switch e := f.Fact.(type) {
	case events.EventScheduled:
		return w.eventScheduled(f, e)
	case events.EventDetailsChanged:
		return w.eventDetailsChanged(f, e)
	case events.EventRescheduled:
		return w.eventRescheduled(f, e)
	case events.EventCapacityChanged:
		return w.eventCapacityChanged(f, e)
	case events.EventCancelled:
		return w.eventCancelled(f, e)
	case events.EventDeleted:
		return w.eventDeleted(e)

	case events.ParticipantRegistered:
		return w.participantRegistered(f, e)
	case events.ParticipantContactChanged:
		return w.participantContactChanged(f, e)
	case events.ParticipantResponded:
		return w.participantResponded(f, e)
	case events.ParticipantOptedOut:
		return w.optedOut(f, e.ParticipantID, 1)
	case events.ParticipantOptedIn:
		return w.optedOut(f, e.ParticipantID, 0)
	case events.ParticipantPromoted:
		return w.participantPromoted(f, e)
	case events.ParticipantRemoved:
		return w.participantRemoved(f, e)

	case events.ReminderAdded:
		w.reminderAdded(f, e)
	case events.ReminderRemoved:
		w.reminders.delete(e.ReminderID)

	case events.NotificationScheduled:
		return w.notificationScheduled(f, e)
	case events.NotificationCancelled:
		return w.notificationCancelled(f, e)
	case events.SendingStarted:
		return w.sendingStarted(f, e)
	case events.NotificationSent:
		return w.notificationSent(f, e)
	case events.SendingFailed:
		return w.sendingFailed(f, e)
	case events.ProviderAsked:
		return w.providerAsked(f, e)
	case events.NotificationFailed:
		return w.notificationFailed(f, e)
	case events.NotificationDelivered:
		return w.notificationDelivered(f, e)
	case events.AttemptBounced:
		return w.attemptBounced(f, e)
	case events.NotificationRetried:
		return w.notificationRetried(f, e)
	case events.NotificationsCleared:
		return w.notificationsCleared(f, e)

	case events.AddressSuppressed:
		return w.addressSuppressed(f, e)
	case events.AddressReleased:
		return w.addressReleased(e)
	}
	return nil // shown by no row: announcements, the processor, noted requests
}

// fewFacts are folded without reading ahead.
const fewFacts = 4

// prefetch reads the rows that facts are about, many at once.
func (w *writer) prefetch(facts []fact) error {
	if len(facts) <= fewFacts {
		return nil
	}
	of, participants, notifications := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range facts {
		if _, made := f.Fact.(events.EventScheduled); made {
			continue // there is no row yet
		}
		event, participant, notification := about(f.Fact)
		of[event], participants[participant], notifications[notification] = true, true, true
	}
	if err := w.notifications.load(w, notifications); err != nil {
		return err
	}
	if err := w.loadAttempts(notifications); err != nil {
		return err
	}
	if err := w.participants.load(w, participants); err != nil {
		return err
	}
	for id := range notifications {
		if r := w.notifications.rows[id]; r != nil && r.now != nil {
			of[r.now.eventID] = true
		}
	}
	for id := range participants {
		if r := w.participants.rows[id]; r != nil && r.now != nil {
			of[r.now.eventID] = true
		}
	}
	return w.events.load(w, of)
}

// about names what a fact is about; what it isn't about is empty.
func about(f events.Fact) (event, participant, notification string) {
	switch e := f.(type) {
	case events.EventScheduled:
		return e.EventID, "", ""
	case events.EventDetailsChanged:
		return e.EventID, "", ""
	case events.EventRescheduled:
		return e.EventID, "", ""
	case events.EventCapacityChanged:
		return e.EventID, "", ""
	case events.EventCancelled:
		return e.EventID, "", ""
	case events.EventDeleted:
		return e.EventID, "", ""
	case events.ParticipantRegistered:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantContactChanged:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantResponded:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantOptedOut:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantOptedIn:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantPromoted:
		return e.EventID, e.ParticipantID, ""
	case events.ParticipantRemoved:
		return e.EventID, e.ParticipantID, ""
	case events.NotificationScheduled:
		return e.EventID, "", e.NotificationID
	case events.NotificationCancelled:
		return e.EventID, "", e.NotificationID
	case events.SendingStarted:
		return e.EventID, "", e.NotificationID
	case events.NotificationSent:
		return e.EventID, "", e.NotificationID
	case events.SendingFailed:
		return e.EventID, "", e.NotificationID
	case events.ProviderAsked:
		return e.EventID, "", e.NotificationID
	case events.NotificationFailed:
		return e.EventID, "", e.NotificationID
	case events.NotificationDelivered:
		return e.EventID, "", e.NotificationID
	case events.AttemptBounced:
		return e.EventID, "", e.NotificationID
	case events.NotificationRetried:
		return e.EventID, "", e.NotificationID
	}
	return "", "", ""
}

func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

func timeOrNil(micros *int64) *time.Time {
	if micros == nil {
		return nil
	}
	t := timeOf(*micros)
	return &t
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// list encodes a list of texts; a nil one is empty.
func list(texts []string) string {
	if len(texts) == 0 {
		return "[]"
	}
	data, err := json.Marshal(texts)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(data)
}

func texts(list string) ([]string, error) {
	out := []string{}
	if list == "[]" {
		return out, nil
	}
	err := json.Unmarshal([]byte(list), &out)
	return out, err
}
