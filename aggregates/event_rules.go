package aggregates

import (
	"slices"
	"time"

	"github.com/belltower/belltower/events"
)

// Schedule opens the event.
func (e *Event) Schedule(id string, f EventFields, now Now) ([]events.Fact, error) {
	if e.Deleted {
		return nil, ErrEventNotFound
	}
	var wrong faults
	wrong.requiredLine("title", f.Title)
	_ = wrong.required("description", f.Description) && wrong.lines("description", f.Description, maxDescription)
	wrong.requiredLine("creator_id", f.CreatorID)
	wrong.line("location", f.Location, maxLine)
	start, end := micros(f.StartTime), micros(f.EndTime)
	startGood, endGood := wrong.requiredTime("start_time", f.StartTime), wrong.requiredTime("end_time", f.EndTime)
	if startGood {
		wrong.future(start, now)
	}
	if startGood && endGood {
		wrong.span(start, end)
	}
	zone := wrong.zone(f.TimeZone)
	capacity := 0
	if f.Capacity != nil {
		capacity = *f.Capacity
		wrong.capacity(capacity)
	}
	tags := wrong.tags(f.Tags)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if e.ID != "" {
		return nil, ErrEventExists
	}
	return []events.Fact{events.EventScheduled{
		EventID: id, Title: f.Title, Description: f.Description, Times: events.TimesIn(start, end, zone),
		Location: f.Location, CreatorID: f.CreatorID, Capacity: capacity, Tags: tags,
	}}, nil
}

func (f *faults) future(start time.Time, now Now) {
	if !start.After(now.Time) {
		f.add("start_time", "in_past", "must be in the future")
	}
}

func (f *faults) span(start, end time.Time) {
	if !start.Before(end) {
		f.add("end_time", "before_start", "must be after start_time")
	}
}

// Change applies p, of which only what differs makes facts. A larger capacity
// promotes. With notify, a template, whatever changed is announced to those
// who are confirmed then.
func (e *Event) Change(p EventPatch, announcementID string, notify *string, now Now) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	var wrong faults
	details, detailed := e.details(p, &wrong)
	times := e.times(p, now, &wrong)
	capacity := e.Capacity
	if p.Capacity.Null {
		capacity = 0
	} else if p.Capacity.Given {
		capacity = p.Capacity.Value
		wrong.capacity(capacity)
	}
	if notify != nil {
		wrong.template("notify", AnnouncementTemplate, *notify)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if e.Status == Cancelled {
		return nil, ErrEventCancelled
	}
	if capacity != e.Capacity && capacity > 0 && capacity < e.confirmed {
		return nil, ErrCapacityBelowConfirmed
	}

	var facts []events.Fact
	if detailed {
		facts = append(facts, details)
	}
	if !times.StartTime.Equal(e.StartTime) || !times.EndTime.Equal(e.EndTime) || times.TimeZone != e.TimeZone {
		facts = append(facts, events.EventRescheduled{EventID: e.ID, Times: times})
	}
	if capacity != e.Capacity {
		facts = append(facts, events.EventCapacityChanged{EventID: e.ID, Capacity: capacity})
		facts = append(facts, e.promotions(capacity, e.confirmed)...)
	}
	return e.announced(facts, announcementID, notify, now), nil
}

// announced adds the announcement of facts, if there are any, to those confirmed.
func (e *Event) announced(facts []events.Fact, id string, notify *string, now Now) []events.Fact {
	if notify == nil || len(facts) == 0 {
		return facts
	}
	return append(facts, events.AnnouncementMade{
		EventID: e.ID, AnnouncementID: id, Message: *notify, SendAt: micros(now.Time),
		Audience: events.Audience{Status: []string{Confirmed}},
	})
}

// details is what p changes of the fields that are only shown.
func (e *Event) details(p EventPatch, wrong *faults) (f events.EventDetailsChanged, changed bool) {
	f.EventID = e.ID
	differs := func(to **string, from string, p Patch[string], good bool) {
		if p.Given && good && p.Value != from {
			*to, changed = &p.Value, true
		}
	}
	// A null value is the zero one, which is blank: refused where it is required, else a cleared field.
	if p.Title.Given {
		differs(&f.Title, e.Title, p.Title, wrong.requiredLine("title", p.Title.Value))
	}
	if p.Description.Given {
		good := wrong.required("description", p.Description.Value) && wrong.lines("description", p.Description.Value, maxDescription)
		differs(&f.Description, e.Description, p.Description, good)
	}
	if p.CreatorID.Given {
		differs(&f.CreatorID, e.CreatorID, p.CreatorID, wrong.requiredLine("creator_id", p.CreatorID.Value))
	}
	differs(&f.Location, e.Location, p.Location, wrong.line("location", p.Location.Value, maxLine))
	if p.Tags.Given {
		if tags := wrong.tags(p.Tags.Value); !slices.Equal(tags, e.Tags) {
			if tags == nil {
				tags = []string{}
			}
			f.Tags, changed = &tags, true
		}
	}
	return f, changed
}

// times is when the event takes place once p is applied.
func (e *Event) times(p EventPatch, now Now, wrong *faults) events.Times {
	start, end, zone, good := e.StartTime, e.EndTime, e.TimeZone, true
	if p.StartTime.Given {
		start = micros(p.StartTime.Value)
		if good = wrong.requiredTime("start_time", p.StartTime.Value); good && !start.Equal(e.StartTime) {
			wrong.future(start, now)
		}
	}
	if p.EndTime.Given {
		end = micros(p.EndTime.Value)
		good = wrong.requiredTime("end_time", p.EndTime.Value) && good
	}
	if good && (p.StartTime.Given || p.EndTime.Given) {
		wrong.span(start, end)
	}
	if p.TimeZone.Null {
		zone = "UTC"
	} else if p.TimeZone.Given {
		zone = wrong.zone(p.TimeZone.Value).String()
	}
	loaded, _ := loadZone(zone)
	times := events.TimesIn(start, end, loaded)
	times.TimeZone = zone
	return times
}

// Cancel says that the event won't take place. Seats and the line stay as they are.
func (e *Event) Cancel(reason, announcementID string, notify *string, now Now) ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	var wrong faults
	wrong.lines("reason", reason, maxReason)
	if notify != nil {
		wrong.template("notify", AnnouncementTemplate, *notify)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if e.Status == Cancelled {
		return nil, nil
	}
	facts := []events.Fact{events.EventCancelled{EventID: e.ID, Reason: reason}}
	return e.announced(facts, announcementID, notify, now), nil
}

// Delete removes the event for good.
func (e *Event) Delete() ([]events.Fact, error) {
	if !e.Exists() {
		return nil, ErrEventNotFound
	}
	return []events.Fact{events.EventDeleted{EventID: e.ID}}, nil
}
