package aggregates

import "strings"

// Refusal is a rule's no: the aggregate's state forbids what was asked. Callers
// match on Code; httpapi chooses the status.
type Refusal struct{ Code, Message string }

func (r *Refusal) Error() string { return r.Message }

// What a state can forbid.
var (
	ErrEventNotFound          = &Refusal{"event_not_found", "there is no such event"}
	ErrEventExists            = &Refusal{"event_exists", "there is such an event already"}
	ErrParticipantNotFound    = &Refusal{"participant_not_found", "there is no such participant"}
	ErrReminderNotFound       = &Refusal{"reminder_not_found", "there is no such reminder"}
	ErrNotificationNotFound   = &Refusal{"notification_not_found", "there is no such notification"}
	ErrEventCancelled         = &Refusal{"event_cancelled", "the event is cancelled"}
	ErrEventEnded             = &Refusal{"event_ended", "the event has ended"}
	ErrDuplicateParticipant   = &Refusal{"duplicate_participant", "this user or this e-mail address is already registered on the event"}
	ErrDuplicateReminder      = &Refusal{"duplicate_reminder", "the event has a reminder with the same time and channels"}
	ErrCapacityBelowConfirmed = &Refusal{"capacity_below_confirmed", "more participants are confirmed than this capacity allows"}
	ErrNotificationState      = &Refusal{"notification_state", "the notification's state does not allow this"}
	ErrNotificationExpired    = &Refusal{"notification_expired", "the notification has expired"}
	ErrPrecondition           = &Refusal{"precondition_failed", "the resource has changed since the revision in If-Match"}
	ErrKeyReused              = &Refusal{"idempotency_key_reused", "this idempotency key was used with another body"}
)

// Fault is one thing wrong with one field of a request.
type Fault struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Invalid is a well-formed request that is against the rules: all its faults at once.
type Invalid struct{ Faults []Fault }

func (i *Invalid) Error() string {
	said := make([]string, len(i.Faults))
	for n, f := range i.Faults {
		said[n] = f.Field + ": " + f.Message
	}
	return strings.Join(said, "; ")
}

// faults collects; err is nil when there are none.
type faults []Fault

func (f *faults) add(field, code, message string) { *f = append(*f, Fault{field, code, message}) }

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &Invalid{Faults: f}
}
