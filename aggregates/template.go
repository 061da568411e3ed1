package aggregates

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// DefaultReminderMessage is what a reminder without a message says.
const DefaultReminderMessage = `Hello {{ participant.name }}, "{{ event.title }}" starts {{ event.starts_in }}`

// TemplateKind is what a template is for, which decides the names it may use.
type TemplateKind int

// The kinds of template.
const (
	ReminderTemplate TemplateKind = iota
	AnnouncementTemplate
)

// names are the variables of each kind.
var names = map[TemplateKind]map[string]bool{
	ReminderTemplate:     variables("reminder.minutes_before"),
	AnnouncementTemplate: variables("announcement.id"),
}

func variables(own string) map[string]bool {
	known := map[string]bool{own: true, "now": true}
	for _, field := range []string{
		"id", "title", "description", "start_time", "end_time", "time_zone", "location", "creator_id", "capacity", "tags",
		"status", "participant_count", "revision", "created_at", "updated_at", "starts_in", "local_start",
	} {
		known["event."+field] = true
	}
	for _, field := range []string{"name", "response", "status"} {
		known["participant."+field] = true
	}
	return known
}

// CheckTemplate says what is wrong with a template, with the code of a fault;
// both are empty when nothing is. What passes here can only fail when it is
// rendered because of what the values then are.
func CheckTemplate(kind TemplateKind, source string) (code, message string) {
	if blank(source) {
		return "required", "must not be blank"
	}
	if err := checkTemplate(kind, source); err != nil {
		return "invalid_template", "is not a valid template: " + err.Error()
	}
	return "", ""
}

func checkTemplate(kind TemplateKind, source string) error {
	t, err := parseTemplate(source)
	if err != nil {
		return err
	}
	if err := t.check(names[kind]); err != nil {
		return err
	}
	for _, b := range samples {
		if _, err := t.render(b); err != nil {
			return err
		}
	}
	return nil
}

// Bindings are the values of a template's variables.
type Bindings struct {
	values map[string]any
	zone   *time.Location // of the date filter
}

// ZoneFor is the time zone that p reads times of e in: their own, else the event's.
func ZoneFor(e *Event, p *Participant) *time.Location {
	zone, ok := loadZone(p.TimeZone)
	if !ok {
		zone, _ = loadZone(e.TimeZone)
	}
	return zone
}

// BindingsFor takes the values from an event and a participant as they are. r is
// nil for an announcement, a for a reminder.
func BindingsFor(e *Event, p *Participant, r *Reminder, a *Announcement, now time.Time) Bindings {
	zone := ZoneFor(e, p)
	var capacity, location any // nil where there is none, so that if and default see it
	if e.Capacity > 0 {
		capacity = e.Capacity
	}
	if e.Location != "" {
		location = e.Location
	}
	tags := make([]any, len(e.Tags))
	for i, tag := range e.Tags {
		tags[i] = tag
	}
	values := map[string]any{
		"event": map[string]any{
			"id": e.ID, "title": e.Title, "description": e.Description,
			"start_time": instant(e.StartTime), "end_time": instant(e.EndTime), "time_zone": e.TimeZone,
			"location": location, "creator_id": e.CreatorID, "capacity": capacity, "tags": tags,
			"status": e.Status, "participant_count": e.ParticipantCount(), "revision": int(e.Changed.Revision),
			"created_at": instant(e.Created.At), "updated_at": instant(e.Changed.At),
			"starts_in": startsIn(e.StartTime.Sub(now)), "local_start": e.StartTime.In(zone).Format("Mon, 2 Jan 2006 15:04 MST"),
		},
		"participant": map[string]any{"name": p.Contact.Name, "response": p.Response, "status": p.Status},
		"now":         instant(now),
	}
	if r != nil {
		values["reminder"] = map[string]any{"minutes_before": r.MinutesBefore}
	}
	if a != nil {
		values["announcement"] = map[string]any{"id": a.ID}
	}
	return Bindings{values: values, zone: zone}
}

// instant is t as the HTTP contract writes it.
func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// startsIn says how far away a start is, for people: rounded to minutes, and in
// two units at most, so that 90 minutes are not "2 hours".
func startsIn(d time.Duration) string {
	ago := d < 0
	minutes := int64(d.Abs().Round(time.Minute) / time.Minute)
	var said string
	switch hours := (minutes + 30) / 60; {
	case minutes == 0:
		return "now"
	case minutes < 60:
		said = counted(minutes, "minute")
	case minutes < 24*60:
		said = counted(minutes/60, "hour") + rest(minutes%60, "minute")
	case hours < 7*24:
		said = counted(hours/24, "day") + rest(hours%24, "hour")
	default:
		said = counted((hours+12)/24, "day")
	}
	if ago {
		return said + " ago"
	}
	return "in " + said
}

func counted(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func rest(n int64, unit string) string {
	if n == 0 {
		return ""
	}
	return " " + counted(n, unit)
}

// RenderTemplate gives the text that source makes of b. Values are put in as
// they are: what looks like a template in a title stays what it is.
func RenderTemplate(source string, b Bindings) (string, error) {
	t, err := compiled.take(source)
	if err != nil {
		return "", err
	}
	text, err := t.render(b)
	switch {
	case err == nil:
		compiled.giveBack(t)
		return text, nil
	case strings.Contains(err.Error(), errTooLong.Error()):
		return "", errTooLong
	case strings.Contains(err.Error(), errTooMuch.Error()):
		return "", errTooMuch
	}
	return "", errUnrenderable
}

// errUnrenderable is all that is said, as the library's errors quote values,
// and a value may be somebody's name.
var errUnrenderable = errors.New("the template can't be rendered with these values")

// samples are what a template is tried on when it is given: with every value, and with as few as may be.
var samples = func() []Bindings {
	start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	full := &Event{
		ID: "3f2b8c1e-0000-4000-8000-000000000000", Title: "title", Description: "description", Location: "location",
		CreatorID: "creator", Capacity: 10, Tags: []string{"one", "two"}, Status: Scheduled,
		Created: Stamp{0, start}, Changed: Stamp{1, start},
	}
	full.StartTime, full.EndTime, full.TimeZone = start, start.Add(time.Hour), "UTC"
	bare := *full
	bare.Location, bare.Capacity, bare.Tags = "", 0, nil
	r, a := &Reminder{MinutesBefore: 60}, &Announcement{ID: full.ID}
	p := &Participant{Response: NeedsAction, Status: Confirmed}
	named := *p
	named.Contact.Name = "name"
	return []Bindings{
		BindingsFor(full, &named, r, a, start.Add(-time.Hour)),
		BindingsFor(&bare, p, r, a, start.Add(time.Hour)),
	}
}()
