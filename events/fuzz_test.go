package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/belltower/belltower/events"
)

// noKeys opens nothing, as if every key had been erased.
type noKeys struct{}

func (noKeys) Seal(int64, []byte, []byte) ([]byte, error)       { return []byte("sealed"), nil }
func (noKeys) Open(int64, []byte, []byte) ([]byte, bool, error) { return nil, false, nil }

// Whatever stands in the log, Decode gives a fact or an error, and a fact that it
// gives can be stored again.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"EventScheduled", "ParticipantRegistered", "NotificationSent", "AnnouncementMade", "Nothing", ""} {
		f.Add(name, []byte(`{"event_id":"e","personal":{"key":1,"sealed":"AAAA"},"start_time":"2031-05-06T18:00:00Z","channels":["email"]}`))
		f.Add(name, []byte(`{}`))
		f.Add(name, []byte(`null`))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		fact, err := events.Decode(noKeys{}, uuid.Nil, name, data)
		if err != nil {
			return
		}
		if fact.Name() != name {
			t.Fatalf("%q was decoded as %q", name, fact.Name())
		}
		again, err := events.Encode(noKeys{}, uuid.Nil, fact)
		if err != nil {
			var unsupported *json.UnsupportedValueError
			if errors.As(err, &unsupported) {
				return
			}
			if bytes.Contains(data, []byte("personal")) {
				return // what can't be opened can't be sealed again
			}
			if !bytes.Contains([]byte(err.Error()), []byte("year outside")) {
				t.Fatalf("%s %s: %v", name, data, err)
			}
			return
		}
		if _, err := events.Decode(noKeys{}, uuid.Nil, name, again); err != nil {
			t.Fatalf("%s was stored as %s, which can't be read: %v", data, again, err)
		}
	})
}
