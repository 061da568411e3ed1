package commands

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
)

func ifMatch(revisions ...int64) Caller {
	return Caller{Actor: "alice", IfMatch: &Match{Revisions: revisions}}
}

func TestIfMatch(t *testing.T) {
	decline := func(id string) Respond {
		return Respond{EventID: "e", ParticipantID: id, Response: aggregates.Declined}
	}
	any := Caller{Actor: "alice", IfMatch: &Match{Any: true}}
	for name, c := range map[string]struct {
		cmd  onEvent
		by   Caller
		want error
	}{
		"own revision":                {retitle("A"), ifMatch(2), nil},
		"a registration since":        {retitle("A"), ifMatch(3), nil},
		"changed since":               {retitle("A"), ifMatch(1), aggregates.ErrPrecondition},
		"never was":                   {retitle("A"), ifMatch(99), aggregates.ErrPrecondition},
		"one of several":              {retitle("A"), ifMatch(1, 2), nil},
		"any":                         {retitle("A"), any, nil},
		"none":                        {retitle("A"), ifMatch(), aggregates.ErrPrecondition},
		"nothing to change, outdated": {retitle("Second"), ifMatch(1), aggregates.ErrPrecondition},
		"participant":                 {decline("a"), ifMatch(1), nil},
		"participant, event changed":  {decline("a"), ifMatch(2), nil},
		"participant, before it was":  {decline("b"), ifMatch(2), aggregates.ErrPrecondition},
		"participant, there is none":  {decline("c"), ifMatch(2), aggregates.ErrParticipantNotFound},
		"contact":                     {ChangeContact{EventID: "e", ParticipantID: "b"}, ifMatch(3), nil},
		"removal":                     {RemoveParticipant{EventID: "e", ParticipantID: "b"}, ifMatch(1), aggregates.ErrPrecondition},
		"reminder":                    {RemoveReminder{EventID: "e", ReminderID: "r"}, ifMatch(4), nil},
		"reminder, before it was":     {RemoveReminder{EventID: "e", ReminderID: "r"}, ifMatch(3), aggregates.ErrPrecondition},
		"cancelling":                  {CancelEvent{EventID: "e"}, ifMatch(1), aggregates.ErrPrecondition},
		"deleting":                    {DeleteEvent{EventID: "e"}, ifMatch(1), aggregates.ErrPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(ScheduleEvent{EventID: "e", Fields: fields(0)}) // 0
			w.must(register("a"))                                  // 1
			w.must(retitle("Second"))                              // 2
			w.must(register("b"))                                  // 3
			w.must(AddReminder{EventID: "e", ReminderID: "r"})     // 4
			_, err := ask(w.Handler, c.cmd, c.by)
			require.ErrorIs(t, err, c.want)
		})
	}
}
