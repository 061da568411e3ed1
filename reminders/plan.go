package reminders

import (
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// Open is a notification that is scheduled and not concluded, as the planner's table has it.
type Open struct {
	NotificationID string
	ParticipantID  string
}

// Plan gives the commands that lead from what is scheduled for a participant to
// what is wanted. reason says why what is scheduled and not wanted is cancelled.
// Planning twice leads to the same: the second time changes nothing.
func Plan(wanted []events.NotificationScheduled, scheduled []Open, reason string) (schedule []commands.ScheduleNotification, cancel []commands.CancelNotification) {
	isOpen := make(map[string]bool, len(scheduled))
	for _, o := range scheduled {
		isOpen[o.NotificationID] = true
	}
	isWanted := make(map[string]bool, len(wanted))
	for _, w := range wanted {
		isWanted[w.NotificationID] = true
		if !isOpen[w.NotificationID] {
			schedule = append(schedule, commands.ScheduleNotification{Fact: w})
		}
	}
	for _, o := range scheduled {
		if !isWanted[o.NotificationID] {
			cancel = append(cancel, commands.CancelNotification{NotificationID: o.NotificationID, Reason: reason})
		}
	}
	return schedule, cancel
}
