package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/internal/terminal"
)

// show goes through the service step by step. The first answer that is not the
// expected one ends it with an error.
type show struct {
	ctx    context.Context
	client demoClient
	out    *terminal.Lines
	began  time.Time

	after   string // Consistency-Token of the last write
	step    int
	meeting object
	ann     object
	bob     object
}

func (s *show) run() error {
	for _, part := range []struct {
		title string
		do    func() error
	}{
		{"An event is scheduled", s.schedule},
		{"Every rule refuses once", s.refusals},
		{"Participants register; the third finds no seat and waits", s.participants},
		{"A request that comes twice is done once", s.repeat},
		{"An announcement goes out at once", s.announce},
		{"A reminder, 15 minutes before: the processor sends it by the clock", s.remind},
		{"The event moves, and its reminders move with it", s.move},
		{"Someone declines: no reminder, and the next in line has the seat", s.decline},
		{"Stopped, the processor sends nothing; by hand it goes", s.stopAndSend},
		{"Cancelling cancels what is pending, and tells who was coming", s.cancel},
		{"Statistics", s.statistics},
		{"Cleaning up", s.clean},
	} {
		s.step++
		s.out.Say("\n%d. %s\n", s.step, part.title)
		if err := part.do(); err != nil {
			return fmt.Errorf("step %d of the demo (%s): %w", s.step, strings.ToLower(part.title), err)
		}
	}
	return nil
}

// do makes a request and expects a status.
func (s *show) do(status int, method, path string, body any) (object, error) {
	got, err := s.ask(s.client, status, method, path, body)
	return got.body, err
}

// ask does so as another client.
func (s *show) ask(client demoClient, status int, method, path string, body any) (reply, error) {
	got, err := client.ask(s.ctx, method, path, s.after, body)
	if err != nil {
		return reply{}, err
	}
	if got.status != status {
		return reply{}, fmt.Errorf("%s %s answered %d, not %d: %v", method, path, got.status, status, got.body)
	}
	if token := got.token(); token != "" {
		s.after = token
	}
	return got, nil
}

// refused makes a request that a rule forbids, and shows what it says.
func (s *show) refused(status int, code, what, method, path string, body any) error {
	return s.refusedTo(s.client, status, code, what, method, path, body)
}

func (s *show) refusedTo(client demoClient, status int, code, what, method, path string, body any) error {
	got, err := s.ask(client, status, method, path, body)
	if err != nil {
		return err
	}
	faults, _ := got.body["errors"].([]any)
	codes := []string{got.body.text("code")}
	for _, f := range faults {
		if f, ok := f.(map[string]any); ok {
			codes = append(codes, object(f).text("code"))
		}
	}
	if !slices.Contains(codes, code) {
		return fmt.Errorf("%s: refused with %v, not with %s", what, codes, code)
	}
	s.out.Say("   refused (%d %s): %s\n", status, code, what)
	return nil
}

// until looks at path until enough is true of the answer.
func (s *show) until(what, path string, enough func(object) bool) (object, error) {
	deadline := time.After(2 * time.Minute)
	for {
		got, err := s.do(200, "GET", path, nil)
		if err != nil || enough(got) {
			return got, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			return nil, fmt.Errorf("waited in vain until %s", what)
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
	}
}

// all tells whether there are n items, all of that status.
func all(status string, n int) func(object) bool {
	return func(list object) bool {
		items := list.items()
		for _, item := range items {
			if item.text("status") != status {
				return false
			}
		}
		return len(items) == n
	}
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// when shows a time of the service as people where the course is write it.
func when(rfc3339 string) string { return whenIn(rfc3339, demoZone) }

func whenIn(rfc3339, zone string) string {
	t, err := time.Parse(time.RFC3339, rfc3339)
	location, zoneErr := time.LoadLocation(zone)
	if err != nil || zoneErr != nil {
		return rfc3339
	}
	return t.In(location).Format("Mon 2 Jan 15:04:05")
}

// counts shows numbers of o in the order of the fields.
func counts(o object, fields ...string) string {
	shown := make([]string, len(fields))
	for i, field := range fields {
		shown[i] = fmt.Sprintf("%s %d", strings.ReplaceAll(field, "_", " "), o.number(field))
	}
	return strings.Join(shown, ", ")
}
