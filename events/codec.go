package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ErrNewerFact says that a newer version of Belltower wrote a fact that this one doesn't know.
var ErrNewerFact = errors.New("events: fact of a newer version")

// Metadata stands beside every fact.
type Metadata struct {
	Actor         string    `json:"actor"`
	CorrelationID string    `json:"$correlationId"`
	CausationID   string    `json:"$causationId"`
	OccurredAt    time.Time `json:"occurred_at"`       // UTC, microseconds; never before the stream's previous fact
	Request       *Request  `json:"request,omitempty"` // of a request with an idempotency key
}

// Request names a request with an idempotency key. Both are keyed digests, as
// what a caller writes into a key may be personal.
type Request struct {
	Key  string `json:"key"`  // of caller, route and key
	Body string `json:"body"` // of the body as parsed JSON
}

// decoders has a line for every fact that is stored; a fact whose form changed
// is brought to the present one here.
var decoders = map[string]func([]byte) (Fact, error){
	"EventScheduled":            decode[EventScheduled],
	"EventDetailsChanged":       decode[EventDetailsChanged],
	"EventRescheduled":          decode[EventRescheduled],
	"EventCapacityChanged":      decode[EventCapacityChanged],
	"EventCancelled":            decode[EventCancelled],
	"EventDeleted":              decode[EventDeleted],
	"ReminderAdded":             decode[ReminderAdded],
	"ReminderRemoved":           decode[ReminderRemoved],
	"AnnouncementMade":          decode[AnnouncementMade],
	"ParticipantRegistered":     decode[ParticipantRegistered],
	"ParticipantContactChanged": decode[ParticipantContactChanged],
	"ParticipantResponded":      decode[ParticipantResponded],
	"ParticipantPromoted":       decode[ParticipantPromoted],
	"ParticipantRemoved":        decode[ParticipantRemoved],
	"ParticipantOptedOut":       decode[ParticipantOptedOut],
	"ParticipantOptedIn":        decode[ParticipantOptedIn],
	"NotificationScheduled":     decode[NotificationScheduled],
	"NotificationCancelled":     decode[NotificationCancelled],
	"SendingStarted":            decode[SendingStarted],
	"NotificationSent":          decode[NotificationSent],
	"SendingFailed":             decode[SendingFailed],
	"ProviderAsked":             decode[ProviderAsked],
	"NotificationFailed":        decode[NotificationFailed],
	"NotificationDelivered":     decode[NotificationDelivered],
	"AttemptBounced":            decode[AttemptBounced],
	"NotificationRetried":       decode[NotificationRetried],
	"AddressSuppressed":         decode[AddressSuppressed],
	"AddressReleased":           decode[AddressReleased],
	"ProcessorStarted":          decode[ProcessorStarted],
	"ProcessorStopped":          decode[ProcessorStopped],
	"NotificationsCleared":      decode[NotificationsCleared],
	"RequestNoted":              decode[RequestNoted],
}

func decode[F Fact](data []byte) (Fact, error) {
	var f F
	err := json.Unmarshal(data, &f)
	return f, err
}

// Encode gives f as stored under id, its personal data sealed and bound to id.
func Encode(keys Keys, id uuid.UUID, f Fact) ([]byte, error) {
	if p, ok := f.(personal); ok {
		sealed, err := seal(keys, id, p.personal())
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", f.Name(), err)
		}
		f = p.withPersonal(sealed)
	}
	data, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", f.Name(), err)
	}
	return data, nil
}

// Decode reads what Encode wrote. An unknown name is ErrNewerFact. Where the
// key was erased, the personal data is empty but for the number of its key.
func Decode(keys Keys, id uuid.UUID, name string, data []byte) (Fact, error) {
	f, err := DecodeSealed(id, name, data)
	if err != nil {
		return nil, err
	}
	if p, ok := f.(personal); ok {
		opened, err := open(keys, id, p.personal())
		if err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", name, id, err)
		}
		f = p.withPersonal(opened)
	}
	return f, nil
}

// DecodeSealed is Decode for who needs no personal data: that stays sealed.
func DecodeSealed(id uuid.UUID, name string, data []byte) (Fact, error) {
	decoder, ok := decoders[name]
	if !ok {
		return nil, fmt.Errorf("decode %q: %w", name, ErrNewerFact)
	}
	f, err := decoder(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", name, id, err)
	}
	return f, nil
}

func seal(keys Keys, id uuid.UUID, p Personal) (Personal, error) {
	if p.empty() {
		return p, nil
	}
	key := p.Key
	p.Key = 0
	plain, err := json.Marshal(p)
	if err != nil {
		return Personal{}, err
	}
	sealed, err := keys.Seal(key, plain, id[:])
	return Personal{Key: key, Sealed: sealed}, err
}

func open(keys Keys, id uuid.UUID, p Personal) (Personal, error) {
	if p.empty() {
		return p, nil
	}
	opened := Personal{Key: p.Key}
	plain, ok, err := keys.Open(p.Key, p.Sealed, id[:])
	if err != nil || !ok {
		return opened, err
	}
	err = json.Unmarshal(plain, &opened)
	return opened, err
}

// Public gives f as callers may see it: without the digest of an address and the number of a key.
func Public(f Fact) Fact {
	if p, ok := f.(personal); ok {
		open := p.personal()
		open.Key = 0
		f = p.withPersonal(open)
	}
	switch f := f.(type) {
	case ParticipantRegistered:
		f.EmailDigest = ""
		return f
	case ParticipantContactChanged:
		f.EmailDigest = ""
		return f
	}
	return f
}
