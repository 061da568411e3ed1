package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/events"
)

// stored pins the names: data that is written under them outlives this code.
var stored = map[string]events.Fact{
	"EventScheduled":            events.EventScheduled{},
	"EventDetailsChanged":       events.EventDetailsChanged{},
	"EventRescheduled":          events.EventRescheduled{},
	"EventCapacityChanged":      events.EventCapacityChanged{},
	"EventCancelled":            events.EventCancelled{},
	"EventDeleted":              events.EventDeleted{},
	"ReminderAdded":             events.ReminderAdded{},
	"ReminderRemoved":           events.ReminderRemoved{},
	"AnnouncementMade":          events.AnnouncementMade{},
	"ParticipantRegistered":     events.ParticipantRegistered{},
	"ParticipantContactChanged": events.ParticipantContactChanged{},
	"ParticipantResponded":      events.ParticipantResponded{},
	"ParticipantPromoted":       events.ParticipantPromoted{},
	"ParticipantRemoved":        events.ParticipantRemoved{},
	"ParticipantOptedOut":       events.ParticipantOptedOut{},
	"ParticipantOptedIn":        events.ParticipantOptedIn{},
	"NotificationScheduled":     events.NotificationScheduled{},
	"NotificationCancelled":     events.NotificationCancelled{},
	"SendingStarted":            events.SendingStarted{},
	"NotificationSent":          events.NotificationSent{},
	"SendingFailed":             events.SendingFailed{},
	"ProviderAsked":             events.ProviderAsked{},
	"NotificationFailed":        events.NotificationFailed{},
	"NotificationDelivered":     events.NotificationDelivered{},
	"AttemptBounced":            events.AttemptBounced{},
	"NotificationRetried":       events.NotificationRetried{},
	"AddressSuppressed":         events.AddressSuppressed{},
	"AddressReleased":           events.AddressReleased{},
	"ProcessorStarted":          events.ProcessorStarted{},
	"ProcessorStopped":          events.ProcessorStopped{},
	"NotificationsCleared":      events.NotificationsCleared{},
	"RequestNoted":              events.RequestNoted{},
}

// vault seals by turning every byte round, and forgets keys.
type vault struct{ erased map[int64]bool }

var errUnbound = errors.New("bound to something else")

func (v vault) Seal(key int64, plain, bound []byte) ([]byte, error) {
	if key == 0 {
		return nil, errors.New("no key")
	}
	return append(bytes.Clone(bound), invert(plain)...), nil
}

func (v vault) Open(key int64, sealed, bound []byte) ([]byte, bool, error) {
	if v.erased[key] {
		return nil, false, nil
	}
	plain, ok := bytes.CutPrefix(sealed, bound)
	if !ok {
		return nil, false, errUnbound
	}
	return invert(plain), true, nil
}

func invert(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

var id = uuid.MustParse("3f2b8c1e-1111-4222-8333-444455556666")

func TestStoredNames(t *testing.T) {
	keys := vault{erased: map[int64]bool{0: true}}
	for name, f := range stored {
		require.Equal(t, name, f.Name())
		got, err := events.Decode(keys, id, name, []byte(`{}`))
		require.NoError(t, err)
		require.Equal(t, f, got)
	}
}

func TestEveryFactComesBack(t *testing.T) {
	for name, zero := range stored {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := reflect.New(reflect.TypeOf(zero)).Elem()
				fill(t, f)
				want := f.Interface().(events.Fact)
				data, err := events.Encode(vault{}, id, want)
				require.NoError(t, err)
				got, err := events.Decode(vault{}, id, name, data)
				require.NoError(t, err)
				require.Equal(t, want, got)
			})
		})
	}
}

// fill draws a value for each field, as a rule would make it.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMicro(rapid.Int64Range(0, 253402300799e6).Draw(t, "time")).UTC()))
		return
	case events.Personal:
		v.Set(reflect.ValueOf(events.Personal{
			Key: rapid.Int64Min(1).Draw(t, "key"), Name: rapid.String().Draw(t, "name"), Email: rapid.String().Draw(t, "email"),
			Phone: rapid.String().Draw(t, "phone"), PushToken: rapid.String().Draw(t, "token"), Message: rapid.String().Draw(t, "message"),
		}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "given") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
			if v.Elem().Kind() == reflect.Slice && v.Elem().IsNil() {
				v.Elem().Set(reflect.MakeSlice(v.Type().Elem(), 0, 0)) // a cleared list is an empty one
			}
		}
	case reflect.Slice:
		if n := rapid.IntRange(0, 3).Draw(t, "length"); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(t, v.Index(i))
			}
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "text"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "flag"))
	default:
		t.Fatalf("no generator for %s", v.Type())
	}
}

func personalFacts(p events.Personal) facts {
	return facts{
		events.ParticipantRegistered{EventID: "e", ParticipantID: "p", EmailDigest: "digest", Personal: p},
		events.ParticipantContactChanged{EventID: "e", ParticipantID: "p", EmailDigest: "digest", Personal: p},
		events.NotificationSent{EventID: "e", NotificationID: "n", To: "a***", Personal: p},
	}
}

type facts = []events.Fact

func TestPersonalDataIsSealed(t *testing.T) {
	secret := events.Personal{Key: 7, Name: "secret-1", Email: "secret-2", Phone: "secret-3", PushToken: "secret-4", Message: "secret-5"}
	erased := personalFacts(events.Personal{Key: 7})
	for i, f := range personalFacts(secret) {
		data, err := events.Encode(vault{}, id, f)
		require.NoError(t, err)
		require.NotContains(t, string(data), "secret")

		opened, err := events.Decode(vault{}, id, f.Name(), data)
		require.NoError(t, err)
		require.Equal(t, f, opened)

		_, err = events.Decode(vault{}, uuid.New(), f.Name(), data)
		require.ErrorIs(t, err, errUnbound)

		opened, err = events.Decode(vault{map[int64]bool{7: true}}, id, f.Name(), data)
		require.NoError(t, err)
		require.Equal(t, erased[i], opened)
	}
	for _, f := range personalFacts(events.Personal{Name: "nobody's"}) {
		_, err := events.Encode(vault{}, id, f)
		require.Error(t, err, "no fact is stored without a key")
	}
}

// Whoever adds a field for personal data to a fact has to add it to the sealed part.
func TestOnlyPersonalIsPersonal(t *testing.T) {
	for name, f := range stored {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(f)) {
			switch field.Name {
			case "Name", "Email", "Phone", "PushToken":
				t.Errorf("%s.%s stands in clear", name, field.Name)
			}
			if field.Type == reflect.TypeFor[events.Personal]() {
				data, err := events.Encode(vault{}, id, withKey(f))
				require.NoError(t, err)
				require.Contains(t, string(data), `"sealed"`, name)
			}
		}
	}
}

func withKey(f events.Fact) events.Fact {
	v := reflect.New(reflect.TypeOf(f)).Elem()
	v.FieldByName("Personal").FieldByName("Key").SetInt(1)
	return v.Interface().(events.Fact)
}

func TestDecodeRefuses(t *testing.T) {
	_, err := events.Decode(vault{}, id, "event-teleported", []byte(`{}`))
	require.ErrorIs(t, err, events.ErrNewerFact)
	_, err = events.Decode(vault{}, id, "EventCancelled", []byte(`{"event_id":`))
	require.Error(t, err)
	require.NotErrorIs(t, err, events.ErrNewerFact)
	f, err := events.Decode(vault{}, id, "EventCancelled", []byte(`{"event_id": "e", "added_later": 1}`))
	require.NoError(t, err)
	require.Equal(t, events.EventCancelled{EventID: "e"}, f)
}

func TestPublic(t *testing.T) {
	p := events.Personal{Key: 7, Name: "Ann", Email: "ann@x.org", Message: "Hi"}
	for _, f := range personalFacts(p) {
		before, err := json.Marshal(f)
		require.NoError(t, err)
		shown, err := json.Marshal(events.Public(f))
		require.NoError(t, err)
		require.Contains(t, string(shown), "Ann")
		require.False(t, strings.Contains(string(shown), "digest") || strings.Contains(string(shown), `"key"`), "%s", shown)
		after, err := json.Marshal(f)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}
	require.Equal(t, events.EventDeleted{EventID: "e"}, events.Public(events.EventDeleted{EventID: "e"}))
}

func TestTimesIn(t *testing.T) {
	zone := time.FixedZone("X", 90*60)
	start := time.Date(2031, 5, 6, 23, 0, 0, 1000, time.UTC)
	require.Equal(t, events.Times{
		StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "X",
		LocalStart: "2031-05-07T00:30:00.000001", LocalEnd: "2031-05-07T01:30:00.000001",
	}, events.TimesIn(start.In(zone), start.Add(time.Hour), zone))
}
