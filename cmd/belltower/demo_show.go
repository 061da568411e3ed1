package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// show goes through the service step by step. The first answer that is not the
// expected one ends it with an error.
type show struct {
	ctx    context.Context
	client demoClient
	out    *lines
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
		s.out.say("\n%d. %s\n", s.step, part.title)
		if err := part.do(); err != nil {
			return fmt.Errorf("step %d of the demo (%s): %w", s.step, strings.ToLower(part.title), err)
		}
	}
	return nil
}

// do makes a request and expects a status.
func (s *show) do(status int, method, path string, body any) (object, error) {
	got, err := s.client.ask(s.ctx, method, path, s.after, body)
	if err != nil {
		return nil, err
	}
	if got.status != status {
		return nil, fmt.Errorf("%s %s answered %d, not %d: %v", method, path, got.status, status, got.body)
	}
	if got.token != "" {
		s.after = got.token
	}
	return got.body, nil
}

// refused makes a request that a rule forbids, and shows what it says.
func (s *show) refused(status int, code, what, method, path string, body any) error {
	got, err := s.do(status, method, path, body)
	if err != nil {
		return err
	}
	faults, _ := got["errors"].([]any)
	codes := []string{got.text("code")}
	for _, f := range faults {
		if f, ok := f.(map[string]any); ok {
			codes = append(codes, object(f).text("code"))
		}
	}
	if !slices.Contains(codes, code) {
		return fmt.Errorf("%s: refused with %v, not with %s", what, codes, code)
	}
	s.out.say("   refused (%d %s): %s\n", status, code, what)
	return nil
}

// until looks at path until enough is true of the answer.
func (s *show) until(what, path string, enough func(object) bool) (object, error) {
	deadline := time.After(20 * time.Second)
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
