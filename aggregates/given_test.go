package aggregates_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

type facts = []events.Fact

var (
	noon  = time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC)
	start = noon.Add(24 * time.Hour)
	end   = start.Add(2 * time.Hour)
	now   = nowAt(noon)
)

func nowAt(t time.Time) aggregates.Now {
	return aggregates.Now{
		Time: t, PhoneRegion: "DE", Digest: func(canonical string) string { return "#" + canonical },
		Channels: map[string]aggregates.AddressKind{
			"email": aggregates.EmailAddress, "sms": aggregates.PhoneNumber, "push": aggregates.PushToken,
		},
	}
}

func scheduled(capacity int) events.EventScheduled {
	return events.EventScheduled{
		EventID: "e", Title: "Title", Description: "Text", Times: events.TimesIn(start, end, time.UTC), CreatorID: "admin", Capacity: capacity,
	}
}

func registered(name string, waitlisted bool) events.ParticipantRegistered {
	return events.ParticipantRegistered{
		EventID: "e", ParticipantID: name, UserID: "u-" + name, EmailDigest: "#" + name + "@x.org", Waitlisted: waitlisted,
		Personal: events.Personal{Key: 7, Name: name, Email: name + "@x.org"},
	}
}

func contact(name string) aggregates.ContactFields {
	return aggregates.ContactFields{UserID: "u-" + name, Name: name, Email: name + "@x.org"}
}

func responded(name, response string, waitlisted bool) events.Fact {
	return events.ParticipantResponded{EventID: "e", ParticipantID: name, Response: response, Waitlisted: waitlisted}
}

func promoted(name string) events.Fact {
	return events.ParticipantPromoted{EventID: "e", ParticipantID: name}
}

func removed(name string) events.Fact {
	return events.ParticipantRemoved{EventID: "e", ParticipantID: name}
}

func stamp(i int) aggregates.Stamp {
	return aggregates.Stamp{Revision: int64(i), At: noon.Add(time.Duration(i-1000) * time.Second)}
}

func fold(given ...events.Fact) *aggregates.Event {
	e := new(aggregates.Event)
	for i, f := range given {
		e.Evolve(f, stamp(i))
	}
	return e
}

// invalid is an error with these faults, each "field:code", in their order.
type invalid []string

func (i invalid) Error() string { return strings.Join(i, " ") }

func requireErr(t require.TestingT, want, got error) {
	var faults *aggregates.Invalid
	if errors.As(got, &faults) {
		var said invalid
		for _, f := range faults.Faults {
			said = append(said, f.Field+":"+f.Code)
		}
		got = said
	}
	require.Equal(t, want, got)
}

type row struct {
	given facts
	when  func(*aggregates.Event) (facts, error)
	then  facts
	err   error
}

func (r row) run(t *testing.T) {
	e := fold(r.given...)
	got, err := r.when(e)
	requireErr(t, r.err, err)
	require.Equal(t, r.then, got)
	require.Equal(t, fold(r.given...), e, "deciding changed the state")
}

func run(t *testing.T, rows map[string]row) {
	for name, r := range rows {
		t.Run(name, r.run)
	}
}

func value[T any](v T) aggregates.Patch[T] { return aggregates.Patch[T]{Given: true, Value: v} }
func null[T any]() aggregates.Patch[T]     { return aggregates.Patch[T]{Given: true, Null: true} }

func many(n int, make func(i int) events.Fact) facts {
	all := facts{}
	for i := range n {
		all = append(all, make(i))
	}
	return all
}

func number(i int) string { return fmt.Sprintf("p%06d", i) }
