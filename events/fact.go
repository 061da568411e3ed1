// Package events declares what Belltower remembers. Stored data outlives code:
// a fact or a field may be added here, never renamed or given a new meaning.
package events

import "time"

// Fact is a domain event. "Event" is left to what people put in calendars.
// Facts are values: whoever holds one must not change what it points to.
type Fact interface {
	// Name is stored, so it is spelt out and never derived from a Go type.
	Name() string
}

// Times is when an event takes place: as instants in UTC, and as its
// organiser says it, in the civil time of an IANA time zone.
type Times struct {
	StartTime  time.Time `json:"start_time"`
	EndTime    time.Time `json:"end_time"`
	TimeZone   string    `json:"time_zone"`
	LocalStart string    `json:"local_start"` // LocalLayout
	LocalEnd   string    `json:"local_end"`
}

// LocalLayout is the form of a civil time, without a zone.
const LocalLayout = "2006-01-02T15:04:05.999999"

// TimesIn gives start and end as instants in UTC and as civil times in zone.
func TimesIn(start, end time.Time, zone *time.Location) Times {
	return Times{
		StartTime: start.UTC(), EndTime: end.UTC(), TimeZone: zone.String(),
		LocalStart: start.In(zone).Format(LocalLayout), LocalEnd: end.In(zone).Format(LocalLayout),
	}
}

// RequestNoted remembers a request with an idempotency key that changed nothing else.
type RequestNoted struct{}

func (RequestNoted) Name() string { return "RequestNoted" }
