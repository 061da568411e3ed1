package aggregates_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func TestSchedule(t *testing.T) {
	fields := func(change func(*aggregates.EventFields)) func(*aggregates.Event) (facts, error) {
		f := aggregates.EventFields{Title: "Title", Description: "Text", CreatorID: "admin", StartTime: start, EndTime: end, TimeZone: "UTC"}
		change(&f)
		return func(e *aggregates.Event) (facts, error) { return e.Schedule("e", f, now) }
	}
	wrong := func(err error, change func(*aggregates.EventFields)) row { return row{when: fields(change), err: err} }
	good := func(then func(*events.EventScheduled), change func(*aggregates.EventFields)) row {
		f := scheduled(0)
		then(&f)
		return row{when: fields(change), then: facts{f}}
	}
	none, same := func(*aggregates.EventFields) {}, func(*events.EventScheduled) {}
	one, zero := 1, 0
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)

	run(t, map[string]row{
		"plain": good(same, none),
		"in a zone": good(func(f *events.EventScheduled) { f.Times = events.TimesIn(start, end, berlin) },
			func(f *aggregates.EventFields) { f.TimeZone = "Europe/Berlin" }),
		"one seat":                good(func(f *events.EventScheduled) { f.Capacity = 1 }, func(f *aggregates.EventFields) { f.Capacity = &one }),
		"tags once":               good(func(f *events.EventScheduled) { f.Tags = []string{"b", "a"} }, func(f *aggregates.EventFields) { f.Tags = []string{"b", "a", "b"} }),
		"microseconds":            good(same, func(f *aggregates.EventFields) { f.StartTime = start.Add(999) }),
		"the next microsecond":    good(func(f *events.EventScheduled) { f.Times = events.TimesIn(noon.Add(1000), end, time.UTC) }, func(f *aggregates.EventFields) { f.StartTime = noon.Add(1000) }),
		"a title of 1000":         good(func(f *events.EventScheduled) { f.Title = strings.Repeat("ü", 1000) }, func(f *aggregates.EventFields) { f.Title = strings.Repeat("ü", 1000) }),
		"lines in a text":         good(func(f *events.EventScheduled) { f.Description = "a\n\tb" }, func(f *aggregates.EventFields) { f.Description = "a\n\tb" }),
		"it is there already":     {facts{scheduled(0)}, fields(none), nil, aggregates.ErrEventExists},
		"it was deleted":          {facts{scheduled(0), events.EventDeleted{EventID: "e"}}, fields(none), nil, aggregates.ErrEventNotFound},
		"now is past":             wrong(invalid{"start_time:in_past"}, func(f *aggregates.EventFields) { f.StartTime = noon }),
		"a title of 1001":         wrong(invalid{"title:too_long"}, func(f *aggregates.EventFields) { f.Title = strings.Repeat("ü", 1001) }),
		"lines of a form":         good(func(f *events.EventScheduled) { f.Description = "a\r\nb" }, func(f *aggregates.EventFields) { f.Description = "a\r\nb" }),
		"half a line's end":       wrong(invalid{"description:invalid_characters"}, func(f *aggregates.EventFields) { f.Description = "a\rb" }),
		"a line in a title":       wrong(invalid{"title:invalid_characters"}, func(f *aggregates.EventFields) { f.Title = "a\r\nBcc: x" }),
		"a separator in a place":  wrong(invalid{"location:invalid_characters"}, func(f *aggregates.EventFields) { f.Location = "a\u2028b" }),
		"not UTF-8":               wrong(invalid{"title:invalid_characters"}, func(f *aggregates.EventFields) { f.Title = "\xff" }),
		"a NUL in a text":         wrong(invalid{"description:invalid_characters"}, func(f *aggregates.EventFields) { f.Description = "\x00" }),
		"no seats":                wrong(invalid{"capacity:out_of_range"}, func(f *aggregates.EventFields) { f.Capacity = &zero }),
		"end is start":            wrong(invalid{"end_time:before_start"}, func(f *aggregates.EventFields) { f.EndTime = start }),
		"no such zone":            wrong(invalid{"time_zone:unknown_time_zone"}, func(f *aggregates.EventFields) { f.TimeZone = "Mars/Base" }),
		"an empty zone":           wrong(invalid{"time_zone:unknown_time_zone"}, func(f *aggregates.EventFields) { f.TimeZone = "" }),
		"the machine's zone":      wrong(invalid{"time_zone:unknown_time_zone"}, func(f *aggregates.EventFields) { f.TimeZone = "Local" }),
		"a path is no zone":       wrong(invalid{"time_zone:unknown_time_zone"}, func(f *aggregates.EventFields) { f.TimeZone = "../etc/passwd" }),
		"a blank tag":             wrong(invalid{"tags:required"}, func(f *aggregates.EventFields) { f.Tags = []string{"\u00a0"} }),
		"a tag of 101":            wrong(invalid{"tags:too_long"}, func(f *aggregates.EventFields) { f.Tags = []string{strings.Repeat("a", 101)} }),
		"101 tags":                wrong(invalid{"tags:too_long"}, func(f *aggregates.EventFields) { f.Tags = make([]string, 101) }),
		"the year 9999":           wrong(invalid{"end_time:out_of_range"}, func(f *aggregates.EventFields) { f.EndTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"the year 1969, and past": wrong(invalid{"start_time:out_of_range"}, func(f *aggregates.EventFields) { f.StartTime = time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC) }),
		"all at once": {nil, func(e *aggregates.Event) (facts, error) {
			return e.Schedule("e", aggregates.EventFields{Title: " \u2003", TimeZone: "x", Capacity: &zero}, now)
		}, nil, invalid{"title:required", "description:required", "creator_id:required", "start_time:required", "end_time:required", "time_zone:unknown_time_zone", "capacity:out_of_range"}},
		"past and before": wrong(invalid{"start_time:in_past", "end_time:before_start"}, func(f *aggregates.EventFields) { f.StartTime, f.EndTime = noon, noon }),
	})
}

func TestChange(t *testing.T) {
	type patch = aggregates.EventPatch
	title, place, berlin := "New", "", "Europe/Berlin"
	zone, err := time.LoadLocation(berlin)
	require.NoError(t, err)
	change := func(p patch) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Change(p, "a", nil, now) }
	}
	notify := func(p patch, text string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Change(p, "a", &text, now) }
	}
	full := scheduled(2)
	full.Location, full.Tags = "Hall", []string{"x"}
	given := facts{full, registered("ann", false), registered("bob", false), registered("cy", true), registered("di", true)}
	cancelled := append(facts{}, append(given, events.EventCancelled{EventID: "e"})...)
	moved := func(s, e time.Time, z *time.Location) events.Fact {
		return events.EventRescheduled{EventID: "e", Times: events.TimesIn(s, e, z)}
	}
	capacity := func(n int) events.Fact { return events.EventCapacityChanged{EventID: "e", Capacity: n} }
	told := events.AnnouncementMade{EventID: "e", AnnouncementID: "a", Message: "News", SendAt: noon, Audience: events.Audience{Status: []string{"confirmed"}}}

	run(t, map[string]row{
		"no event":                 {nil, change(patch{}), nil, aggregates.ErrEventNotFound},
		"deleted":                  {facts{full, events.EventDeleted{EventID: "e"}}, change(patch{}), nil, aggregates.ErrEventNotFound},
		"not found before invalid": {nil, change(patch{Title: null[string]()}), nil, aggregates.ErrEventNotFound},
		"nothing":                  {given, change(patch{}), nil, nil},
		"the same":                 {given, change(patch{Title: value("Title"), StartTime: value(start), Capacity: value(2), Tags: value([]string{"x"}), TimeZone: null[string]()}), nil, nil},
		"a title":                  {given, change(patch{Title: value("New")}), facts{events.EventDetailsChanged{EventID: "e", Title: &title}}, nil},
		"cleared":                  {given, change(patch{Location: null[string](), Tags: null[[]string]()}), facts{events.EventDetailsChanged{EventID: "e", Location: &place, Tags: &[]string{}}}, nil},
		"null where required":      {given, change(patch{Title: null[string](), StartTime: null[time.Time](), EndTime: null[time.Time]()}), nil, invalid{"title:required", "start_time:required", "end_time:required"}},
		"a zone":                   {given, change(patch{TimeZone: value(berlin)}), facts{moved(start, end, zone)}, nil},
		"an empty zone":            {given, change(patch{TimeZone: value("")}), nil, invalid{"time_zone:unknown_time_zone"}},
		"a move":                   {given, change(patch{StartTime: value(start.Add(time.Hour))}), facts{moved(start.Add(time.Hour), end, time.UTC)}, nil},
		"a move behind the end":    {given, change(patch{StartTime: value(end)}), nil, invalid{"end_time:before_start"}},
		"an end before the start":  {given, change(patch{EndTime: value(start)}), nil, invalid{"end_time:before_start"}},
		"a move to now":            {given, change(patch{StartTime: value(noon)}), nil, invalid{"start_time:in_past"}},
		"a move to just after now": {given, change(patch{StartTime: value(noon.Add(time.Microsecond))}), facts{moved(noon.Add(time.Microsecond), end, time.UTC)}, nil},
		"a past start stays": {given, func(e *aggregates.Event) (facts, error) {
			return e.Change(patch{StartTime: value(start), EndTime: value(end.Add(1000))}, "", nil, nowAt(end))
		}, facts{moved(start, end.Add(1000), time.UTC)}, nil},
		"a seat more promotes":      {given, change(patch{Capacity: value(3)}), facts{capacity(3), promoted("cy")}, nil},
		"many seats promote all":    {given, change(patch{Capacity: value(9)}), facts{capacity(9), promoted("cy"), promoted("di")}, nil},
		"no limit promotes all":     {given, change(patch{Capacity: null[int]()}), facts{capacity(0), promoted("cy"), promoted("di")}, nil},
		"below those confirmed":     {given, change(patch{Capacity: value(1)}), nil, aggregates.ErrCapacityBelowConfirmed},
		"down to those confirmed":   {facts{scheduled(3), registered("ann", false)}, change(patch{Capacity: value(1)}), facts{capacity(1)}, nil},
		"no seats":                  {given, change(patch{Capacity: value(0)}), nil, invalid{"capacity:out_of_range"}},
		"cancelled":                 {cancelled, change(patch{Title: value("New")}), nil, aggregates.ErrEventCancelled},
		"cancelled, nothing":        {cancelled, change(patch{}), nil, aggregates.ErrEventCancelled},
		"invalid before cancelled":  {cancelled, change(patch{Title: value("")}), nil, invalid{"title:required"}},
		"told of nothing":           {given, notify(patch{Title: value("Title")}, "News"), nil, nil},
		"a wrong template":          {given, notify(patch{Title: value("")}, "{{ x }}"), nil, invalid{"title:required", "notify:invalid_template"}},
		"a blank template":          {given, notify(patch{}, " "), nil, invalid{"notify:required"}},
		"a reminder's word in news": {given, notify(patch{}, "{{ reminder.minutes_before }}"), nil, invalid{"notify:invalid_template"}},
		"all in order": {given, notify(patch{Title: value("New"), StartTime: value(start.Add(1000)), Capacity: value(3)}, "News"),
			facts{events.EventDetailsChanged{EventID: "e", Title: &title}, moved(start.Add(1000), end, time.UTC), capacity(3), promoted("cy"), told}, nil},
	})
}

func TestCancelAndDelete(t *testing.T) {
	gone := facts{scheduled(0), events.EventDeleted{EventID: "e"}}
	off := events.EventCancelled{EventID: "e", Reason: "rain\nagain"}
	told := events.AnnouncementMade{EventID: "e", AnnouncementID: "a", Message: "Off", SendAt: noon, Audience: events.Audience{Status: []string{"confirmed"}}}
	text, wrong := "Off", "{% if %}"
	cancel := func(reason string, notify *string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Cancel(reason, "a", notify, now) }
	}
	run(t, map[string]row{
		"cancel":                {facts{scheduled(0)}, cancel("rain\nagain", nil), facts{off}, nil},
		"cancel and tell":       {facts{scheduled(0)}, cancel("rain\nagain", &text), facts{off, told}, nil},
		"again":                 {facts{scheduled(0), off}, cancel("", &text), nil, nil},
		"again, invalid":        {facts{scheduled(0), off}, cancel("", &wrong), nil, invalid{"notify:invalid_template"}},
		"a reason of 10001":     {facts{scheduled(0)}, cancel(strings.Repeat("x", 10001), nil), nil, invalid{"reason:too_long"}},
		"nothing to cancel":     {nil, cancel("", nil), nil, aggregates.ErrEventNotFound},
		"deleted":               {gone, cancel("", nil), nil, aggregates.ErrEventNotFound},
		"delete":                {facts{scheduled(0)}, (*aggregates.Event).Delete, facts{events.EventDeleted{EventID: "e"}}, nil},
		"delete what is off":    {facts{scheduled(0), off}, (*aggregates.Event).Delete, facts{events.EventDeleted{EventID: "e"}}, nil},
		"delete again":          {gone, (*aggregates.Event).Delete, nil, aggregates.ErrEventNotFound},
		"delete what never was": {nil, (*aggregates.Event).Delete, nil, aggregates.ErrEventNotFound},
	})
}

func TestEventStamps(t *testing.T) {
	moved := events.EventRescheduled{EventID: "e", Times: events.TimesIn(start.Add(time.Hour), end, time.UTC)}
	e := fold(scheduled(1))
	for i, tt := range []struct {
		fact         events.Fact
		changed, own bool
		moves        int
	}{
		{registered("ann", false), true, false, 0},
		{responded("ann", "accepted", false), false, false, 0},
		{events.RequestNoted{}, false, false, 0},
		{events.EventRescheduled{EventID: "e", Times: events.TimesIn(start, end.Add(time.Hour), time.UTC)}, true, true, 0},
		{moved, true, true, 1},
		{moved, true, true, 1},
		{events.EventDetailsChanged{EventID: "e"}, true, true, 1},
		{events.EventCapacityChanged{EventID: "e"}, true, true, 1},
		{events.ReminderAdded{EventID: "e", ReminderID: "r"}, false, false, 1},
		{events.AnnouncementMade{EventID: "e", AnnouncementID: "a"}, false, false, 1},
		{removed("ann"), true, false, 1},
		{removed("ann"), true, false, 1},
		{events.EventCancelled{EventID: "e"}, true, true, 1},
	} {
		at := stamp(i + 1)
		e.Evolve(tt.fact, at)
		require.Equal(t, tt.changed, e.Changed == at, "Changed by %T", tt.fact)
		require.Equal(t, tt.own, e.Own == at, "Own by %T", tt.fact)
		require.Equal(t, tt.moves, e.MoveCount)
	}
	require.Equal(t, stamp(0), e.Created)
	require.Equal(t, stamp(5), e.Moved)
	require.Equal(t, e.Own, e.Cancelled)
}

// No known fact may break a state, whatever came before it.
func TestEvolveNeverPanics(t *testing.T) {
	all := facts{
		responded("x", "accepted", true), promoted("x"), removed("x"), events.ParticipantContactChanged{ParticipantID: "x"},
		events.ReminderRemoved{}, events.AnnouncementMade{}, events.EventDetailsChanged{}, events.EventDeleted{}, registered("x", true),
		events.SendingStarted{}, events.NotificationSent{Attempt: 4}, events.SendingFailed{}, events.NotificationFailed{},
		events.NotificationDelivered{}, events.NotificationCancelled{}, events.NotificationRetried{}, events.ProcessorStopped{}, events.RequestNoted{},
		events.EventRescheduled{}, events.EventCapacityChanged{}, events.EventCancelled{}, events.ReminderAdded{}, events.NotificationsCleared{},
	}
	for _, f := range all {
		for _, g := range all {
			fold(f, g)
			var n aggregates.Notification
			n.Evolve(f, stamp(0))
			n.Evolve(g, stamp(1))
			var p aggregates.Processor
			p.Evolve(f, stamp(0))
			p.Evolve(g, stamp(1))
		}
	}
}
