package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
)

// action is something that happens at a time by the service's clock.
type action struct {
	at time.Time
	do func()
}

// at plans an action.
func (s *sim) at(at time.Time, do func()) {
	a := action{at.Add(s.odd()), do}
	i, _ := slices.BinarySearchFunc(s.plan, a, func(b, a action) int {
		if b.at.After(a.at) {
			return 1
		}
		return -1
	})
	s.plan = slices.Insert(s.plan, i, a)
}

// act does what is to be done now; false: nothing.
func (s *sim) act() bool {
	if len(s.plan) == 0 || s.plan[0].at.After(s.now()) {
		return false
	}
	do := s.plan[0].do
	s.plan = s.plan[1:]
	do()
	return true
}

// within draws a time between two.
func (s *sim) within(from, to time.Time) time.Time {
	return from.Add(time.Duration(s.chance.Int64N(int64(to.Sub(from)))))
}

// write draws up everything that is to happen.
func (s *sim) write(events int) {
	end := firstDay.AddDate(0, 0, days)
	for i := range events {
		s.writeEvent(fmt.Sprintf("e%02d", i), end)
	}
	s.at(end, func() {})
	for range 3 * days {
		s.writeFault(s.within(firstDay, end))
	}
}

var template = "{{ event.title }} on {{ event.local_start }}"

// writeEvent draws up the life of an event. Some begin in the nights in which
// the clocks change.
func (s *sim) writeEvent(id string, end time.Time) {
	start := s.within(firstDay.Add(12*time.Hour), end.Add(-6*time.Hour)).Truncate(5 * time.Minute)
	switch s.chance.IntN(6) {
	case 0:
		start = time.Date(2010, 9, 9, 22, 0, 0, 0, cairo).Add(time.Duration(s.chance.IntN(36)) * 5 * time.Minute)
	case 1:
		start = time.Date(2010, 9, 30, 22, 0, 0, 0, cairo).Add(time.Duration(s.chance.IntN(48)) * 5 * time.Minute)
	}
	made := later(s.within(start.AddDate(0, 0, -4), start.Add(-2*time.Hour)), firstDay.Add(time.Minute))
	fields := aggregates.EventFields{
		Title: "Event " + id, Description: "D", CreatorID: "c", StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "Africa/Cairo",
	}
	if s.chance.IntN(3) == 0 {
		capacity := 1 + s.chance.IntN(4)
		fields.Capacity = &capacity
	}
	s.at(made, func() { s.onEvent(commands.ScheduleEvent{EventID: id, Fields: fields}) })
	minutes := []int{}
	for r := range 1 + s.chance.IntN(3) {
		before := []int{0, 1, 10, 60, 24 * 60}[s.chance.IntN(5)]
		minutes = append(minutes, before)
		rule := aggregates.ReminderFields{MinutesBefore: &before, Message: &template, Channels: s.channels()}
		s.at(made.Add(time.Minute), func() {
			s.onEvent(commands.AddReminder{EventID: id, ReminderID: fmt.Sprintf("%s-r%d", id, r), Fields: rule})
		})
	}
	people := 2 + s.chance.IntN(7)
	for p := range people {
		at := made.Add(2*time.Minute + time.Duration(p)*time.Second)
		if s.chance.IntN(4) == 0 {
			at = s.within(made.Add(2*time.Minute), start.Add(-time.Minute))
		}
		contact := s.contact(id, p)
		s.at(at, func() {
			s.onEvent(commands.RegisterParticipant{EventID: id, ParticipantID: fmt.Sprintf("%s-p%d", id, p), Contact: contact})
		})
	}
	for range 4 + s.chance.IntN(8) {
		at := s.within(made.Add(3*time.Minute), start.Add(5*time.Minute))
		if s.chance.IntN(2) == 0 { // just when something becomes due
			due := start.Add(-time.Duration(minutes[s.chance.IntN(len(minutes))]) * time.Minute)
			at = s.within(due.Add(-50*time.Millisecond), due.Add(2500*time.Millisecond))
		}
		s.writeChange(id, at, people, len(minutes))
	}
}

func (s *sim) channels() []string {
	return [][]string{nil, nil, {"email"}, {"sms"}, {"push", "email"}}[s.chance.IntN(5)]
}

func (s *sim) contact(event string, p int) aggregates.ContactFields {
	name := fmt.Sprintf("%s-p%d", event, p)
	c := aggregates.ContactFields{UserID: name, Name: name, Email: name + "@x.org", Channels: s.channels()}
	if c.Channels == nil || s.chance.IntN(2) == 0 || slices.Contains(c.Channels, "sms") {
		c.Phone = "+2010012345" + fmt.Sprintf("%02d", p)
	}
	if s.chance.IntN(2) == 0 || slices.Contains(c.Channels, "push") {
		c.PushToken = "token-" + name
	}
	return c
}

// writeChange draws up one change of an event.
func (s *sim) writeChange(id string, at time.Time, people, rules int) {
	who := fmt.Sprintf("%s-p%d", id, s.chance.IntN(people))
	pick := s.chance.IntN(1000)
	var do func()
	switch what := strings.Fields("decline decline decline accept accept accept remove contact move move move capacity remind unremind announce announce cancel delete hand retry")[s.chance.IntN(19)]; what {
	case "decline":
		do = func() { s.onEvent(commands.Respond{EventID: id, ParticipantID: who, Response: aggregates.Declined}) }
	case "accept":
		do = func() { s.onEvent(commands.Respond{EventID: id, ParticipantID: who, Response: aggregates.Accepted}) }
	case "remove":
		do = func() { s.onEvent(commands.RemoveParticipant{EventID: id, ParticipantID: who}) }
	case "contact":
		own := s.channels()
		do = func() {
			s.onEvent(commands.ChangeContact{EventID: id, ParticipantID: who, Patch: aggregates.ContactPatch{
				Phone:    aggregates.Patch[string]{Given: true, Value: "+201001234567"},
				Channels: aggregates.Patch[[]string]{Given: true, Value: own, Null: own == nil},
			}})
		}
	case "move":
		by := []time.Duration{2 * time.Minute, 11 * time.Minute, time.Hour, 26 * time.Hour}[pick%4]
		do = func() {
			start := s.now().Truncate(time.Minute).Add(by)
			s.onEvent(commands.ChangeEvent{EventID: id, Patch: aggregates.EventPatch{
				StartTime: aggregates.Patch[time.Time]{Given: true, Value: start}, EndTime: aggregates.Patch[time.Time]{Given: true, Value: start.Add(time.Hour)},
			}})
		}
	case "capacity":
		do = func() {
			s.onEvent(commands.ChangeEvent{EventID: id, Patch: aggregates.EventPatch{Capacity: aggregates.Patch[int]{Given: true, Value: pick % 5, Null: pick%5 == 0}}})
		}
	case "remind":
		minutes := []int{0, 3, 30}[pick%3]
		do = func() {
			s.onEvent(commands.AddReminder{EventID: id, ReminderID: fmt.Sprintf("%s-x%d", id, pick), Fields: aggregates.ReminderFields{MinutesBefore: &minutes, Message: &template}})
		}
	case "unremind":
		do = func() {
			s.onEvent(commands.RemoveReminder{EventID: id, ReminderID: fmt.Sprintf("%s-r%d", id, pick%rules)})
		}
	case "announce":
		fields := aggregates.AnnouncementFields{Message: template, Channels: s.channels()}
		if pick%3 == 0 {
			fields.Audience.Response = []string{"declined", "accepted"}
		}
		wait := time.Duration(pick%10) * time.Minute
		do = func() {
			if wait > 0 {
				at := s.now().Add(wait)
				fields.SendAt = &at
			}
			s.onEvent(commands.Announce{EventID: id, AnnouncementID: fmt.Sprintf("%s-a%d", id, pick), Fields: fields})
		}
	case "cancel":
		if pick%3 > 0 { // not too often, as little happens afterwards
			return
		}
		bye := "Sorry: " + template
		do = func() {
			s.onEvent(commands.CancelEvent{EventID: id, Notify: &bye, AnnouncementID: fmt.Sprintf("%s-bye%d", id, pick)})
		}
	case "delete":
		if pick%3 > 0 {
			return
		}
		do = func() { s.onEvent(commands.DeleteEvent{EventID: id}) }
	case "hand":
		do = func() {
			if ids := s.oracle.with(aggregates.NotificationPending); len(ids) > 0 {
				s.onNotification(commands.CancelNotificationByHand{NotificationID: ids[pick%len(ids)]})
			}
		}
	case "retry":
		do = func() {
			if ids := s.oracle.with(aggregates.NotificationFailed); len(ids) > 0 {
				s.onNotification(commands.RetryNotification{NotificationID: ids[pick%len(ids)]})
			}
		}
	}
	s.at(at, do)
}

// writeFault draws up something that goes wrong around a time, mostly a little
// before something is due, as it is then that it matters.
func (s *sim) writeFault(at time.Time) {
	near := func(do func()) {
		var when func()
		tries := 0
		when = func() {
			due := s.oracle.next()
			if tries++; tries < 20 && !due.IsZero() && due.After(s.now().Add(time.Second)) {
				// The time of what is due next, give or take.
				s.at(s.within(due.Add(-500*time.Millisecond), due.Add(1500*time.Millisecond)), when)
				tries = 20
				return
			}
			do()
		}
		s.at(at, when)
	}
	pick := s.chance.IntN(1000)
	switch strings.Fields("kill kill kill kill restart restart lose weather weather weather weather weather weather weather weather weather weather slow failing failing stop sendnow forward forward back back")[s.chance.IntN(26)] {
	case "kill":
		near(func() {
			if p := s.process; p != nil && p.graceful {
				s.fall(s.pause())
			}
			s.killAt = 1 + pick%9
		})
	case "restart":
		near(func() { s.fall(s.pause()) })
	case "lose":
		s.at(at, func() {
			if p := s.process; p != nil && !p.graceful {
				s.fall(0)
				s.loseTable()
			}
		})
	case "weather":
		channel := []string{"email", "sms", "push"}[pick%3]
		weather := weathers[pick%len(weathers)]
		near(func() {
			s.weather[channel] = weather
			s.say("%s: %s", channel, weather)
			s.at(s.now().Add(time.Duration(1+pick%4)*time.Hour), func() { s.weather[channel] = "fair" })
		})
	case "slow":
		s.at(at, func() { s.slow = true; s.note("a slow disk") })
		s.at(at.Add(time.Hour), func() { s.slow = false })
	case "failing":
		near(func() {
			s.failing = 100
			s.at(s.now().Add(20*time.Minute), func() { s.failing = 0 })
		})
	case "stop":
		s.at(at, func() {
			s.note("sending stopped")
			s.asked("stop", func(ctx context.Context, p *process) error {
				_, err := p.r.Stop(ctx, commands.Caller{Actor: "admin"})
				return err
			})
		})
		s.at(at.Add(time.Duration(1+pick%200)*time.Minute), s.goOn)
	case "sendnow":
		near(func() {
			s.note("send-due")
			s.asked("send-due", func(ctx context.Context, p *process) error {
				_, err := p.r.SendDue(ctx)
				return err
			})
		})
	case "forward": // past what is due
		s.at(at, func() {
			if due := s.oracle.next(); due.After(s.now()) {
				s.jump(due.Sub(s.now()) + time.Duration(pick)*time.Second)
			}
		})
	case "back":
		near(func() { s.jump(-time.Duration(pick) * time.Second) })
	}
}

// goOn lets sending run again, as often as it takes.
func (s *sim) goOn() {
	s.at(s.now().Add(time.Minute), func() {
		if s.oracle.stopped() {
			s.goOn()
		}
	})
	s.asked("start", func(ctx context.Context, p *process) error {
		_, err := p.r.Start(ctx, commands.Caller{Actor: "admin"}, nil)
		return err
	})
}

func (s *sim) jump(by time.Duration) {
	s.offset.Add(int64(by))
	s.say("the clock jumps by %s", by)
	if s.note("the clock jumped ahead"); by < 0 {
		s.note("the clock was set back")
	}
}

// asked has a client ask the present process for something, where there is one.
func (s *sim) asked(what string, ask func(ctx context.Context, p *process) error) {
	p := s.process
	if p == nil || p.stopping {
		s.say("%s: nobody is there", what)
		return
	}
	s.say("%s", what)
	s.clients.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = ask(ctx, p)
	})
}

func (s *sim) onEvent(c commands.Command[*aggregates.Event]) {
	s.asked(fmt.Sprintf("%T on %s", c, c.Stream()), func(ctx context.Context, p *process) error {
		answer, err := commands.Do(ctx, p.handler, c, commands.Caller{Actor: "client"}, nothing[*aggregates.Event])
		if err == nil {
			s.oracle.answered(strings.TrimPrefix(c.Stream(), "event-"), answer.Revision)
		}
		return err
	})
}

func (s *sim) onNotification(c commands.Command[*aggregates.Notification]) {
	s.asked(fmt.Sprintf("%T on %s", c, c.Stream()), func(ctx context.Context, p *process) error {
		_, err := commands.Do(ctx, p.handler, c, commands.Caller{Actor: "client"}, nothing[*aggregates.Notification])
		return err
	})
}

func nothing[S any](S, time.Time) struct{} { return struct{}{} }
