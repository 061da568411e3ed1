package reminders

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
)

// fact happens so many minutes after noon. The event starts two hours after noon.
type fact struct {
	minute int
	events.Fact
}

var (
	kinds  = map[string]aggregates.AddressKind{"email": aggregates.EmailAddress, "sms": aggregates.PhoneNumber, "push": aggregates.PushToken}
	begins = noon.Add(2 * time.Hour)
)

func scheduledAt(start time.Time) events.Fact {
	return events.EventScheduled{EventID: eventID, Title: "T", Times: events.TimesIn(start, start.Add(time.Hour), time.UTC)}
}

func moved(minutes int) events.Fact {
	start := noon.Add(time.Duration(minutes) * time.Minute)
	return events.EventRescheduled{EventID: eventID, Times: events.TimesIn(start, start.Add(time.Hour), time.UTC)}
}

func ann(waitlisted bool, channels ...string) events.Fact {
	return events.ParticipantRegistered{
		EventID: eventID, ParticipantID: "ann", Waitlisted: waitlisted, Channels: channels,
		Personal: events.Personal{Name: "Ann", Email: "ann@x.org", Phone: "+4915112345678"},
	}
}

func contact(p events.Personal, channels ...string) events.Fact {
	return events.ParticipantContactChanged{EventID: eventID, ParticipantID: "ann", Channels: channels, Personal: p}
}

func responds(response string, waitlisted bool) events.Fact {
	return events.ParticipantResponded{EventID: eventID, ParticipantID: "ann", Response: response, Waitlisted: waitlisted}
}

func reminding(minutes int, channels ...string) events.Fact {
	return events.ReminderAdded{EventID: eventID, ReminderID: "r", MinutesBefore: minutes, Channels: channels}
}

func announced(minute int, audience events.Audience, channels ...string) events.Fact {
	return events.AnnouncementMade{EventID: eventID, AnnouncementID: "a", SendAt: noon.Add(time.Duration(minute) * time.Minute), Audience: audience, Channels: channels}
}

var (
	promoted  = events.ParticipantPromoted{EventID: eventID, ParticipantID: "ann"}
	cancelled = events.EventCancelled{EventID: eventID}
)

// due says what is wanted for whom: "email at 60" is minutes after noon.
type due struct {
	channel string
	minute  int
}

func TestWanted(t *testing.T) {
	everybody := events.Audience{}
	both := events.Personal{Name: "Ann", Email: "ann@x.org", Phone: "+4915112345678"}
	mail, phone := events.Personal{Name: "Ann", Email: "ann@x.org"}, events.Personal{Name: "Ann", Phone: "+4915112345678"}
	for name, c := range map[string]struct {
		facts []fact
		want  []due
	}{
		"nobody":                              {[]fact{{0, reminding(60)}}, nil},
		"confirmed":                           {[]fact{{0, reminding(60)}, {1, ann(false)}}, []due{{"email", 60}}},
		"registered before the reminder":      {[]fact{{0, ann(false)}, {1, reminding(60)}}, []due{{"email", 60}}},
		"at the start":                        {[]fact{{0, reminding(0)}, {1, ann(false)}}, []due{{"email", 120}}},
		"a year before, at once":              {[]fact{{0, reminding(525600)}, {1, ann(false)}}, []due{{"email", 1}}},
		"waitlisted":                          {[]fact{{0, reminding(60)}, {1, ann(true)}}, nil},
		"promoted":                            {[]fact{{0, reminding(60)}, {1, ann(true)}, {30, promoted}}, []due{{"email", 60}}},
		"promoted after the due time":         {[]fact{{0, reminding(60)}, {1, ann(true)}, {90, promoted}}, []due{{"email", 90}}},
		"promoted after the start":            {[]fact{{0, reminding(60)}, {1, ann(true)}, {121, promoted}}, nil},
		"declined":                            {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, responds("declined", false)}}, nil},
		"accepted":                            {[]fact{{0, reminding(60)}, {1, ann(false)}, {90, responds("accepted", false)}}, []due{{"email", 60}}},
		"tentative":                           {[]fact{{0, reminding(60)}, {1, ann(false)}, {90, responds("tentative", false)}}, []due{{"email", 60}}},
		"accepted again":                      {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, responds("declined", false)}, {3, responds("accepted", false)}}, []due{{"email", 60}}},
		"accepted again after the due time":   {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, responds("declined", false)}, {70, responds("accepted", false)}}, []due{{"email", 70}}},
		"accepted again, at the start":        {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, responds("declined", false)}, {120, responds("accepted", false)}}, nil},
		"accepted again, and waiting":         {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, responds("declined", false)}, {3, responds("accepted", true)}}, nil},
		"registered after the due time":       {[]fact{{0, reminding(60)}, {61, ann(false)}}, []due{{"email", 61}}},
		"registered at the due time":          {[]fact{{0, reminding(60)}, {60, ann(false)}}, []due{{"email", 60}}},
		"registered after the start":          {[]fact{{0, reminding(60)}, {130, ann(false)}}, nil},
		"moved later":                         {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, moved(240)}}, []due{{"email", 180}}},
		"moved so that it is past":            {[]fact{{0, reminding(60)}, {1, ann(false)}, {50, moved(100)}}, []due{{"email", 50}}},
		"moved after it was sent":             {[]fact{{0, reminding(60)}, {1, ann(false)}, {70, moved(140)}}, []due{{"email", 80}}},
		"moved after the start":               {[]fact{{0, reminding(60)}, {1, ann(false)}, {200, moved(210)}}, []due{{"email", 200}}},
		"only the end or the zone changed":    {[]fact{{0, reminding(60)}, {1, ann(false)}, {70, moved(120)}}, []due{{"email", 60}}},
		"reminder removed":                    {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, events.ReminderRemoved{EventID: eventID, ReminderID: "r"}}}, nil},
		"reminder added late":                 {[]fact{{0, ann(false)}, {60, reminding(60)}}, []due{{"email", 60}}},
		"removed":                             {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, events.ParticipantRemoved{EventID: eventID, ParticipantID: "ann"}}}, nil},
		"event cancelled":                     {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, cancelled}}, nil},
		"event deleted":                       {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, events.EventDeleted{EventID: eventID}}}, nil},
		"their channels":                      {[]fact{{0, reminding(60)}, {1, ann(false, "sms", "email")}}, []due{{"sms", 60}, {"email", 60}}},
		"the reminder's channels":             {[]fact{{0, reminding(60, "sms")}, {1, ann(false, "email")}}, []due{{"sms", 60}}},
		"no address":                          {[]fact{{0, reminding(60, "push", "sms")}, {1, ann(false)}}, []due{{"sms", 60}}},
		"a channel that is gone":              {[]fact{{0, reminding(60, "fax", "sms")}, {1, ann(false)}}, []due{{"sms", 60}}},
		"channel changed before":              {[]fact{{0, reminding(60)}, {1, ann(false)}, {59, contact(both, "sms")}}, []due{{"sms", 60}}},
		"channel added at the due time":       {[]fact{{0, reminding(60)}, {1, ann(false)}, {60, contact(both, "email", "sms")}}, []due{{"email", 60}, {"sms", 60}}},
		"channel added after the due time":    {[]fact{{0, reminding(60)}, {1, ann(false)}, {61, contact(both, "email", "sms")}}, []due{{"email", 60}}},
		"address added after the due time":    {[]fact{{0, reminding(60, "email", "sms")}, {1, ann(false)}, {2, contact(mail)}, {61, contact(both)}}, []due{{"email", 60}}},
		"address changed after the due time":  {[]fact{{0, reminding(60)}, {1, ann(false)}, {61, contact(events.Personal{Email: "b@x.org"})}}, []due{{"email", 60}}},
		"address removed":                     {[]fact{{0, reminding(60)}, {1, ann(false)}, {2, contact(phone)}}, nil},
		"channel added late, then moved":      {[]fact{{0, reminding(60)}, {1, ann(false)}, {61, contact(both, "sms")}, {62, moved(240)}}, []due{{"sms", 180}}},
		"announced, at once":                  {[]fact{{1, ann(false)}, {2, announced(2, everybody)}}, []due{{"email", 2}}},
		"announced, later":                    {[]fact{{1, ann(false)}, {2, announced(500, everybody)}}, []due{{"email", 500}}},
		"announced to the waiting":            {[]fact{{1, ann(true)}, {2, announced(2, everybody)}}, []due{{"email", 2}}},
		"announced, on its channels":          {[]fact{{1, ann(false)}, {2, announced(2, everybody, "sms", "push")}}, []due{{"sms", 2}}},
		"announced, registered afterwards":    {[]fact{{1, announced(50, everybody)}, {2, ann(false)}}, nil},
		"announced, declined before":          {[]fact{{1, ann(false)}, {2, responds("declined", false)}, {3, announced(50, everybody)}}, nil},
		"announced to those who declined":     {[]fact{{1, ann(false)}, {2, responds("declined", false)}, {3, announced(50, events.Audience{Response: []string{"declined"}})}}, []due{{"email", 50}}},
		"announced to others by status":       {[]fact{{1, ann(false)}, {3, announced(50, events.Audience{Status: []string{"waitlisted"}})}}, nil},
		"announced to others by response":     {[]fact{{1, ann(false)}, {3, announced(50, events.Audience{Response: []string{"accepted"}})}}, nil},
		"announced, changed out of audience":  {[]fact{{1, ann(true)}, {3, announced(50, events.Audience{Status: []string{"waitlisted"}})}, {4, promoted}}, []due{{"email", 50}}},
		"announced, changed into audience":    {[]fact{{1, ann(true)}, {3, announced(50, events.Audience{Status: []string{"confirmed"}})}, {4, promoted}}, nil},
		"announced, declined since":           {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}}, nil},
		"announced, declined and accepted":    {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}, {4, responds("accepted", false)}}, []due{{"email", 50}}},
		"announced, accepted again, waiting":  {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}, {4, responds("accepted", true)}}, []due{{"email", 50}}},
		"announced, accepted again when due":  {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}, {50, responds("accepted", false)}}, []due{{"email", 50}}},
		"announced, accepted again too late":  {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}, {51, responds("accepted", false)}}, nil},
		"announced, declined once more":       {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, responds("declined", false)}, {4, responds("accepted", false)}, {5, responds("declined", false)}}, nil},
		"announced, removed since":            {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, events.ParticipantRemoved{EventID: eventID, ParticipantID: "ann"}}}, nil},
		"announced, moved since":              {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, moved(900)}}, []due{{"email", 50}}},
		"announced, cancelled since":          {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, cancelled}}, nil},
		"announced with the cancelling":       {[]fact{{1, ann(false)}, {2, cancelled}, {2, announced(2, events.Audience{Status: []string{"confirmed"}})}}, []due{{"email", 2}}},
		"announced, deleted since":            {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, events.EventDeleted{EventID: eventID}}}, nil},
		"announced, channel changed since":    {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {3, contact(both, "sms")}}, []due{{"sms", 50}}},
		"announced, channel changed too late": {[]fact{{1, ann(false)}, {2, announced(50, everybody)}, {51, contact(both, "email", "sms")}}, []due{{"email", 50}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := new(aggregates.Event)
			for i, f := range append([]fact{{0, scheduledAt(begins)}}, c.facts...) {
				e.Evolve(f.Fact, aggregates.Stamp{Revision: int64(i), At: noon.Add(time.Duration(f.minute) * time.Minute)})
			}
			who, _ := e.Participant("ann")
			var got []due
			ids := map[string]bool{}
			for _, w := range Wanted(e, who, kinds) {
				got = append(got, due{w.Channel, int(w.ScheduledTime.Sub(noon).Minutes())})
				ids[w.NotificationID] = true
				if w.ReminderID != "" {
					require.Equal(t, e.StartTime.Add(time.Minute), w.Expires)
				} else {
					a, _ := e.Announcement(w.AnnouncementID)
					require.Equal(t, a.SendAt.Add(24*time.Hour), w.Expires)
				}
			}
			require.ElementsMatch(t, c.want, got)
			require.Len(t, ids, len(got), "an id for each")
			again := Wanted(e, who, kinds)
			require.Len(t, again, len(got))
			for _, w := range again {
				require.True(t, ids[w.NotificationID], "asking twice asks for the same")
			}
		})
	}
}

// A move makes new ids, even back to where it was; nothing else does.
func TestIdsFollowTheSchedule(t *testing.T) {
	e := new(aggregates.Event)
	revision := int64(-1)
	happens := func(f events.Fact) string {
		revision++
		e.Evolve(f, aggregates.Stamp{Revision: revision, At: noon.Add(time.Duration(revision) * time.Second)})
		who, ok := e.Participant("ann")
		if !ok {
			return ""
		}
		for _, w := range Wanted(e, who, kinds) {
			return w.NotificationID
		}
		return ""
	}
	happens(scheduledAt(begins))
	happens(reminding(60))
	first := happens(ann(false))
	require.NotEmpty(t, first)
	require.Empty(t, happens(responds("declined", false)))
	require.Equal(t, first, happens(responds("accepted", false)))
	require.Equal(t, first, happens(moved(120)), "the end alone")
	second := happens(moved(180))
	third := happens(moved(120))
	require.NotContains(t, []string{first, second, ""}, third)
	require.NotEqual(t, first, second)
}

func TestPlan(t *testing.T) {
	wants := func(ids ...string) (all []events.NotificationScheduled) {
		for _, id := range ids {
			all = append(all, events.NotificationScheduled{NotificationID: id})
		}
		return all
	}
	open := func(ids ...string) (all []Open) {
		for _, id := range ids {
			all = append(all, Open{NotificationID: id})
		}
		return all
	}
	for name, c := range map[string]struct {
		wanted            []string
		scheduled         []string
		schedule, cancels []string
	}{
		"nothing":         {},
		"all new":         {wanted: []string{"a", "b"}, schedule: []string{"a", "b"}},
		"nothing to do":   {wanted: []string{"a", "b"}, scheduled: []string{"b", "a"}},
		"none wanted":     {scheduled: []string{"a", "b"}, cancels: []string{"a", "b"}},
		"some of each":    {wanted: []string{"a", "c"}, scheduled: []string{"a", "b"}, schedule: []string{"c"}, cancels: []string{"b"}},
		"all of the rest": {wanted: []string{"c"}, scheduled: []string{"a"}, schedule: []string{"c"}, cancels: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			schedule, cancel := Plan(wants(c.wanted...), open(c.scheduled...), events.CancelledDeclined)
			var scheduled, cancels []string
			for _, s := range schedule {
				scheduled = append(scheduled, s.Fact.NotificationID)
			}
			for _, x := range cancel {
				require.Equal(t, commands.CancelNotification{NotificationID: x.NotificationID, Reason: events.CancelledDeclined}, x)
				cancels = append(cancels, x.NotificationID)
			}
			require.Equal(t, c.schedule, scheduled)
			require.Equal(t, c.cancels, cancels)

			// Once done, there is nothing left to do.
			now := slices.DeleteFunc(append(slices.Clone(c.scheduled), scheduled...), func(id string) bool { return slices.Contains(cancels, id) })
			schedule, cancel = Plan(wants(c.wanted...), open(now...), events.CancelledDeclined)
			require.Empty(t, schedule)
			require.Empty(t, cancel)
		})
	}
}

func TestWhyNot(t *testing.T) {
	e := &aggregates.Event{ID: eventID, Status: aggregates.Scheduled}
	who := &aggregates.Participant{}
	require.Equal(t, events.CancelledSuperseded, whyNot(e, who))
	require.Equal(t, events.CancelledRemoved, whyNot(e, nil))
	require.Equal(t, events.CancelledDeclined, whyNot(e, &aggregates.Participant{Response: aggregates.Declined}))
	require.Equal(t, events.CancelledEventCancelled, whyNot(&aggregates.Event{ID: eventID, Status: aggregates.Cancelled}, who))
	require.Equal(t, events.CancelledEventDeleted, whyNot(&aggregates.Event{ID: eventID, Deleted: true}, nil))
}
