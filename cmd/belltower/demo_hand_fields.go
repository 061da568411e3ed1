package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// eventFields is the form of an event. Times are read in its time zone.
type eventFields struct {
	title, description, zone, start, end, location, capacity, tags *formField
}

func eventForm(e object) eventFields {
	f := eventFields{
		title:       &formField{name: "title", title: "Title", text: e.text("title")},
		description: &formField{name: "description", title: "Description", text: e.text("description")},
		zone:        &formField{name: "time_zone", title: "Time zone", text: e.text("time_zone")},
		location:    &formField{name: "location", title: "Location", hint: "may be empty", text: e.text("location")},
		capacity:    &formField{name: "capacity", title: "Seats", hint: "empty: no limit", read: whole},
		tags:        &formField{name: "tags", title: "Tags", hint: "separated by commas; may be empty", text: strings.Join(e.texts("tags"), ", "), read: list},
	}
	if seats := e.number("capacity"); seats > 0 {
		f.capacity.text = strconv.Itoa(seats)
	}
	moment := func(text string) (any, error) { return moment(text, f.zone.text, time.Now()) }
	f.start = &formField{name: "start_time", title: "Start", hint: "2031-04-01 18:00 in the time zone, or from now +90m, +2h, +1d", read: moment}
	f.end = &formField{name: "end_time", title: "End", read: moment}
	if start := e.text("start_time"); start != "" {
		f.start.text, f.end.text = civil(start, f.zone.text), civil(e.text("end_time"), f.zone.text)
	}
	return f
}

func (f eventFields) fields() []*formField {
	return []*formField{f.title, f.description, f.zone, f.start, f.end, f.location, f.capacity, f.tags}
}

// filled makes a body of fields; what is empty is left out.
func filled(fields []*formField) (object, error) {
	body := object{}
	for _, f := range fields {
		if strings.TrimSpace(f.text) == "" {
			continue
		}
		value, err := f.value()
		if err != nil {
			return nil, err
		}
		body[f.name] = value
	}
	return body, nil
}

// changes makes a patch of what isn't as it was; what is empty now is null.
func changes(fields []*formField, before []string) (object, error) {
	body := object{}
	for i, f := range fields {
		switch {
		case f.text == before[i]:
		case strings.TrimSpace(f.text) == "":
			body[f.name] = nil
		default:
			value, err := f.value()
			if err != nil {
				return nil, err
			}
			body[f.name] = value
		}
	}
	return body, nil
}

func (f *formField) value() (any, error) {
	if f.read == nil {
		return f.text, nil
	}
	value, err := f.read(f.text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.title, err)
	}
	return value, nil
}

func texts(fields []*formField) []string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.text
	}
	return all
}

func whole(text string) (any, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}

func list(text string) (any, error) {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items, nil
}

const (
	minuteForm = "2006-01-02 15:04"
	secondForm = "2006-01-02 15:04:05"
)

// moment reads a time: civil in a zone, as RFC 3339, or from now. A zone that is
// not known is the service's to refuse.
func moment(text, zone string, now time.Time) (any, error) {
	text = strings.TrimSpace(text)
	if after, ok := strings.CutPrefix(text, "+"); ok {
		if days, ok := strings.CutSuffix(after, "d"); ok {
			if n, err := strconv.ParseUint(days, 10, 16); err == nil {
				return at(now.AddDate(0, 0, int(n))), nil
			}
		}
		if d, err := time.ParseDuration(after); err == nil {
			return at(now.Add(d)), nil
		}
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text, nil
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		location = time.UTC
	}
	for _, form := range []string{minuteForm, secondForm} {
		if t, err := time.ParseInLocation(form, text, location); err == nil {
			return t.Format(time.RFC3339), nil
		}
	}
	return nil, errors.New("that is no time: write 2031-04-01 18:00, or from now +90m, +2h, +1d")
}

// civil shows a time of the service as it is on clocks in a zone.
func civil(rfc3339, zone string) string {
	t, err := time.Parse(time.RFC3339, rfc3339)
	location, zoneErr := time.LoadLocation(zone)
	switch {
	case err != nil || zoneErr != nil || t.Nanosecond() != 0:
		return rfc3339
	case t.Second() != 0:
		return t.In(location).Format(secondForm)
	}
	return t.In(location).Format(minuteForm)
}

// carried shows a line of the console channel.
func carried(line string) string {
	var sent struct{ Channel, To, Message string }
	if err := json.Unmarshal([]byte(line), &sent); err != nil || sent.Channel == "" {
		return line
	}
	return fmt.Sprintf("by %s to %s: %s", sent.Channel, sent.To, oneLine(sent.Message))
}

// held keeps lines until it suits to show them.
type held struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *held) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

// take gives the lines that are whole.
func (h *held) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	whole, rest, ended := cutLast(h.text.String(), "\n")
	if !ended {
		return nil
	}
	h.text.Reset()
	h.text.WriteString(rest)
	return strings.Split(whole, "\n")
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// flush shows them as they are.
func (h *held) flush(to io.Writer) {
	for _, line := range h.take() {
		fmt.Fprintln(to, line)
	}
}
