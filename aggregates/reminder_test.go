package aggregates_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func TestReminders(t *testing.T) {
	minutes := func(n int) *int { return &n }
	text := func(s string) *string { return &s }
	add := func(r aggregates.ReminderFields, at time.Time) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.AddReminder("r", r, nowAt(at)) }
	}
	remove := func(e *aggregates.Event) (facts, error) { return e.RemoveReminder("q") }
	reminder := func(id string, n int, message string, channels ...string) events.ReminderAdded {
		return events.ReminderAdded{EventID: "e", ReminderID: id, MinutesBefore: n, Channels: channels, Message: message}
	}
	given, off := facts{scheduled(0), reminder("q", 15, "", "email", "sms")}, events.EventCancelled{EventID: "e"}
	far := scheduled(0)
	far.Times = events.TimesIn(noon.Add(525_601*time.Minute), noon.Add(525_700*time.Minute), time.UTC)
	gone := facts{scheduled(0), events.EventDeleted{EventID: "e"}}

	run(t, map[string]row{
		"an hour before":          {given, add(aggregates.ReminderFields{}, noon), facts{reminder("r", 60, "")}, nil},
		"at the start":            {given, add(aggregates.ReminderFields{MinutesBefore: minutes(0)}, noon), facts{reminder("r", 0, "")}, nil},
		"-1":                      {given, add(aggregates.ReminderFields{MinutesBefore: minutes(-1)}, noon), nil, invalid{"minutes_before:out_of_range"}},
		"a year":                  {facts{far}, add(aggregates.ReminderFields{MinutesBefore: minutes(525_600)}, noon), facts{reminder("r", 525_600, "")}, nil},
		"more than a year":        {facts{far}, add(aggregates.ReminderFields{MinutesBefore: minutes(525_601)}, noon), nil, invalid{"minutes_before:out_of_range"}},
		"due now":                 {given, add(aggregates.ReminderFields{MinutesBefore: minutes(1440)}, noon), facts{reminder("r", 1440, "")}, nil},
		"due just now":            {given, add(aggregates.ReminderFields{MinutesBefore: minutes(1440)}, noon.Add(time.Microsecond)), nil, invalid{"minutes_before:in_past"}},
		"the default in the past": {given, add(aggregates.ReminderFields{}, start), nil, invalid{"minutes_before:in_past"}},
		"channels are a set":      {given, add(aggregates.ReminderFields{Channels: []string{"sms", "email", "sms"}}, noon), facts{reminder("r", 60, "", "email", "sms")}, nil},
		"the same set":            {given, add(aggregates.ReminderFields{MinutesBefore: minutes(15), Channels: []string{"sms", "email"}}, noon), nil, aggregates.ErrDuplicateReminder},
		"another set":             {given, add(aggregates.ReminderFields{MinutesBefore: minutes(15), Channels: []string{"sms"}}, noon), facts{reminder("r", 15, "", "sms")}, nil},
		"after one was removed":   {append(facts{}, given[0], given[1], events.ReminderRemoved{ReminderID: "q"}), add(aggregates.ReminderFields{MinutesBefore: minutes(15), Channels: []string{"sms", "email"}}, noon), facts{reminder("r", 15, "", "email", "sms")}, nil},
		"a message":               {given, add(aggregates.ReminderFields{Message: text("{{ reminder.minutes_before }}")}, noon), facts{reminder("r", 60, "{{ reminder.minutes_before }}")}, nil},
		"a blank message":         {given, add(aggregates.ReminderFields{Message: text("\n")}, noon), nil, invalid{"message:required"}},
		"an announcement's word":  {given, add(aggregates.ReminderFields{Message: text("{{ announcement.id }}")}, noon), nil, invalid{"message:invalid_template"}},
		"all wrong":               {given, add(aggregates.ReminderFields{MinutesBefore: minutes(9999), Channels: []string{"x"}, Message: text(strings.Repeat("x", 20_001))}, noon), nil, invalid{"minutes_before:in_past", "channels:unknown_channel", "message:too_long"}},
		"no event":                {nil, add(aggregates.ReminderFields{}, noon), nil, aggregates.ErrEventNotFound},
		"deleted":                 {gone, add(aggregates.ReminderFields{}, noon), nil, aggregates.ErrEventNotFound},
		"cancelled":               {facts{scheduled(0), off}, add(aggregates.ReminderFields{}, noon), nil, aggregates.ErrEventCancelled},
		"remove":                  {given, remove, facts{events.ReminderRemoved{EventID: "e", ReminderID: "q"}}, nil},
		"remove what is not":      {facts{scheduled(0)}, remove, nil, aggregates.ErrReminderNotFound},
		"remove when cancelled":   {append(facts{}, given[0], given[1], off), remove, nil, aggregates.ErrEventCancelled},
		"remove none, cancelled":  {facts{scheduled(0), off}, remove, nil, aggregates.ErrReminderNotFound},
		"remove from no event":    {nil, remove, nil, aggregates.ErrEventNotFound},
	})
	r, ok := fold(given...).Reminder("q")
	require.True(t, ok)
	require.Equal(t, stamp(1), r.Added)
}

func TestAnnounce(t *testing.T) {
	announce := func(a aggregates.AnnouncementFields) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Announce("a", a, now) }
	}
	at := func(t time.Time) *time.Time { return &t }
	made := func(sendAt time.Time, audience events.Audience, channels ...string) facts {
		return facts{events.AnnouncementMade{EventID: "e", AnnouncementID: "a", Message: "Hi", SendAt: sendAt, Channels: channels, Audience: audience}}
	}
	given, off := facts{scheduled(0)}, events.EventCancelled{EventID: "e"}
	some := events.Audience{Status: []string{"released"}, Response: []string{"declined", "tentative"}}
	run(t, map[string]row{
		"now":          {given, announce(aggregates.AnnouncementFields{Message: "Hi"}), made(noon, events.Audience{}), nil},
		"now, said":    {given, announce(aggregates.AnnouncementFields{Message: "Hi", SendAt: at(noon)}), made(noon, events.Audience{}), nil},
		"just past":    {given, announce(aggregates.AnnouncementFields{Message: "Hi", SendAt: at(noon.Add(-time.Microsecond))}), nil, invalid{"send_at:in_past"}},
		"later":        {given, announce(aggregates.AnnouncementFields{Message: "Hi", SendAt: at(end), Channels: []string{"sms", "email"}, Audience: some}), made(end, some, "email", "sms"), nil},
		"cancelled":    {append(facts{}, given[0], off), announce(aggregates.AnnouncementFields{Message: "Hi"}), made(noon, events.Audience{}), nil},
		"no event":     {nil, announce(aggregates.AnnouncementFields{}), nil, aggregates.ErrEventNotFound},
		"a wrong text": {given, announce(aggregates.AnnouncementFields{Message: "{{ participant.email }}"}), nil, invalid{"message:invalid_template"}},
		"all wrong": {given, announce(aggregates.AnnouncementFields{SendAt: at(time.Time{}), Channels: []string{"x"}, Audience: events.Audience{Status: []string{"x"}, Response: []string{"confirmed"}}}), nil,
			invalid{"message:required", "send_at:out_of_range", "channels:unknown_channel", "audience.status:unknown_value", "audience.response:unknown_value"}},
	})
}

func TestAudience(t *testing.T) {
	roster := facts{
		scheduled(2), registered("ann", false), registered("bob", false), registered("cy", true), registered("di", true), registered("ed", false), removed("ed"),
		responded("ann", "accepted", false), responded("di", "declined", false),
	}
	for name, tt := range map[string]struct {
		events.Audience
		want []string
	}{
		"all but who declined": {events.Audience{}, []string{"ann", "bob", "cy"}},
		"confirmed":            {events.Audience{Status: []string{"confirmed"}}, []string{"ann", "bob"}},
		"waiting or released":  {events.Audience{Status: []string{"waitlisted", "released"}}, []string{"cy", "di"}},
		"declined":             {events.Audience{Response: []string{"declined"}}, []string{"di"}},
		"both":                 {events.Audience{Status: []string{"confirmed"}, Response: []string{"accepted", "declined"}}, []string{"ann"}},
	} {
		made := events.AnnouncementMade{AnnouncementID: "a", Audience: tt.Audience}
		e := fold(append(append(facts{}, roster...), made, registered("new", false), responded("di", "accepted", false), responded("ann", "declined", false))...)
		a, ok := e.Announcement("a")
		require.True(t, ok)
		var got []string
		for p := range e.Participants() {
			if a.Includes(p) {
				got = append(got, p.ID)
			}
		}
		require.Equal(t, tt.want, got, name)
		require.Equal(t, len(tt.want), a.Size, name)
		require.Equal(t, stamp(9), a.Made)
	}
}
