package email

import (
	"strings"
	"unicode"

	ics "github.com/arran4/golang-ical"

	"github.com/belltower/belltower/channels"
)

// calendar gives the event as an iCalendar object (RFC 5545), published and not
// as an invitation: answers would reach nobody. Its times are in UTC, which every
// calendar shows in its reader's zone.
func calendar(e channels.Event) string {
	c := ics.NewCalendarFor("belltower")
	c.SetMethod(ics.MethodPublish)
	event := c.AddEvent(e.UID)
	event.SetDtStampTime(e.Changed)
	event.SetLastModifiedAt(e.Changed)
	event.SetSequence(int(e.Sequence))
	event.SetStartAt(e.Start)
	event.SetEndAt(e.End)
	event.SetSummary(calendarText(e.Title))
	if text := calendarText(e.Description); text != "" {
		event.SetDescription(text)
	}
	if text := calendarText(e.Location); text != "" {
		event.SetLocation(text)
	}
	event.SetStatus(ics.ObjectStatusConfirmed)
	if e.Cancelled {
		event.SetStatus(ics.ObjectStatusCancelled)
	}
	return c.Serialize(ics.WithNewLineWindows)
}

// calendarText leaves of text what may stand in a TEXT value (RFC 5545, section
// 3.3.11): line breaks and tabs, but no other control characters.
func calendarText(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text)
}
