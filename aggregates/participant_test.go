package aggregates_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func TestRegister(t *testing.T) {
	register := func(c aggregates.ContactFields, at time.Time) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Register("ann", c, nowAt(at)) }
	}
	with := func(change func(*aggregates.ContactFields)) aggregates.ContactFields {
		c := contact("ann")
		change(&c)
		return c
	}
	ann, waits := registered("ann", false), registered("ann", true)
	ann.Personal.Key, waits.Personal.Key = 0, 0
	bob := registered("bob", false)
	wrong := func(err error, change func(*aggregates.ContactFields)) row {
		return row{facts{scheduled(0)}, register(with(change), noon), nil, err}
	}
	all := ann
	all.Channels, all.TimeZone, all.Locale = []string{"sms", "email"}, "Asia/Tokyo", "pt-BR"
	all.Personal = events.Personal{Name: "ann", Email: "ann@x.org", Phone: "+493012345678", PushToken: "token"}

	run(t, map[string]row{
		"no limit":              {facts{scheduled(0), bob}, register(contact("ann"), noon), facts{ann}, nil},
		"a free seat":           {facts{scheduled(2), bob}, register(contact("ann"), noon), facts{ann}, nil},
		"full":                  {facts{scheduled(1), bob}, register(contact("ann"), noon), facts{waits}, nil},
		"behind the line":       {facts{scheduled(1), registered("bob", true)}, register(contact("ann"), noon), facts{waits}, nil},
		"no limit, but a line":  {facts{scheduled(0), registered("bob", true)}, register(contact("ann"), noon), facts{ann}, nil},
		"a released seat":       {facts{scheduled(1), bob, responded("bob", "declined", false)}, register(contact("ann"), noon), facts{ann}, nil},
		"before the end":        {facts{scheduled(0)}, register(contact("ann"), end.Add(-time.Microsecond)), facts{ann}, nil},
		"the end":               {facts{scheduled(0)}, register(contact("ann"), end), nil, aggregates.ErrEventEnded},
		"no event":              {nil, register(contact("ann"), noon), nil, aggregates.ErrEventNotFound},
		"cancelled":             {facts{scheduled(0), events.EventCancelled{EventID: "e"}}, register(contact("ann"), end), nil, aggregates.ErrEventCancelled},
		"the same user":         {facts{scheduled(0), bob}, register(with(func(c *aggregates.ContactFields) { c.UserID = "u-bob" }), noon), nil, aggregates.ErrDuplicateParticipant},
		"the same e-mail":       {facts{scheduled(0), bob}, register(with(func(c *aggregates.ContactFields) { c.Email = "BOB@X.ORG" }), noon), nil, aggregates.ErrDuplicateParticipant},
		"the same, released":    {facts{scheduled(0), bob, responded("bob", "declined", false)}, register(with(func(c *aggregates.ContactFields) { c.Email = "bob@x.org" }), noon), nil, aggregates.ErrDuplicateParticipant},
		"the same, but removed": {facts{scheduled(0), ann, removed("ann")}, register(contact("ann"), noon), facts{ann}, nil},
		"an ended duplicate":    {facts{scheduled(0), bob}, register(contact("bob"), end), nil, aggregates.ErrEventEnded},
		"everything": {facts{scheduled(0)}, register(aggregates.ContactFields{
			UserID: "u-ann", Name: "ann", Email: " ann@x.org ", Phone: "030 12345678", PushToken: "token",
			Channels: []string{"sms", "email", "sms"}, TimeZone: "Asia/Tokyo", Locale: "pt-BR",
		}, noon), facts{all}, nil},
		"nothing given": {facts{scheduled(0)}, register(aggregates.ContactFields{}, noon), nil, invalid{"user_id:required", "email:required", "name:required"}},
		"all wrong": {facts{scheduled(0)}, register(aggregates.ContactFields{
			UserID: "a\nb", Name: "\t", Email: "Ann <ann@x.org>", Phone: "12", PushToken: strings.Repeat("x", 4097), Channels: []string{"fax"}, TimeZone: "Local", Locale: "no such",
		}, noon), nil, invalid{"user_id:invalid_characters", "email:invalid_email", "name:required", "phone:invalid_phone", "push_token:too_long", "channels:unknown_channel", "time_zone:unknown_time_zone", "locale:invalid_locale"}},
		"a line break in an e-mail": wrong(invalid{"email:invalid_email"}, func(c *aggregates.ContactFields) { c.Email = "ann@x.org\r\n" }),
		"a separator in a name":     wrong(invalid{"name:invalid_characters"}, func(c *aggregates.ContactFields) { c.Name = "a\u2029b" }),
	})
}

func TestChangeContact(t *testing.T) {
	type patch = aggregates.ContactPatch
	change := func(p patch) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.ChangeContact("ann", p, now) }
	}
	ann := registered("ann", false)
	ann.Personal.Phone, ann.Channels = "+4930123456", []string{"email", "sms"}
	given := facts{scheduled(0), ann, registered("bob", false)}
	then := func(edit func(*events.ParticipantContactChanged)) facts {
		f := events.ParticipantContactChanged{EventID: "e", ParticipantID: "ann", UserID: "u-ann", Channels: ann.Channels, EmailDigest: ann.EmailDigest, Personal: ann.Personal}
		edit(&f)
		return facts{f}
	}
	run(t, map[string]row{
		"no event":       {nil, change(patch{}), nil, aggregates.ErrEventNotFound},
		"nobody":         {facts{scheduled(0)}, change(patch{Name: value("")}), nil, aggregates.ErrParticipantNotFound},
		"nothing":        {given, change(patch{}), nil, nil},
		"the same":       {given, change(patch{Name: value("ann"), Email: value("ann@x.org"), Phone: value("+49 30 123456")}), nil, nil},
		"the same, big":  {given, change(patch{Email: value("ANN@x.org")}), then(func(f *events.ParticipantContactChanged) { f.Personal.Email = "ANN@x.org" }), nil},
		"another e-mail": {given, change(patch{Email: value("new@x.org")}), then(func(f *events.ParticipantContactChanged) { f.Personal.Email, f.EmailDigest = "new@x.org", "#new@x.org" }), nil},
		"somebody's":     {given, change(patch{Email: value("Bob@x.org")}), nil, aggregates.ErrDuplicateParticipant},
		"cleared":        {given, change(patch{Phone: null[string](), Channels: null[[]string]()}), then(func(f *events.ParticipantContactChanged) { f.Personal.Phone, f.Channels = "", nil }), nil},
		"required":       {given, change(patch{Name: null[string](), Email: null[string]()}), nil, invalid{"name:required", "email:required"}},
		"all wrong":      {given, change(patch{Name: value("\x00"), Email: value("x"), Phone: value("x"), PushToken: value("\n"), Channels: value([]string{"x"}), TimeZone: value("x"), Locale: value("x y")}), nil, invalid{"name:invalid_characters", "email:invalid_email", "phone:invalid_phone", "push_token:invalid_characters", "channels:unknown_channel", "time_zone:unknown_time_zone", "locale:invalid_locale"}},
		"when cancelled": {append(slices.Clone(given), events.EventCancelled{EventID: "e"}), change(patch{Locale: value("de")}), then(func(f *events.ParticipantContactChanged) { f.Locale = "de" }), nil},
		"of a deleted":   {append(slices.Clone(given), events.EventDeleted{EventID: "e"}), change(patch{}), nil, aggregates.ErrEventNotFound},
	})
}

func TestSubscribePush(t *testing.T) {
	subscribe := func(name, token string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.SubscribePush(name, token, now) }
	}
	unsubscribe := func(name string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.UnsubscribePush(name, now) }
	}
	then := func(token string, channels ...string) events.ParticipantContactChanged {
		ann := registered("ann", false)
		ann.Personal.PushToken = token
		return events.ParticipantContactChanged{EventID: "e", ParticipantID: "ann", UserID: "u-ann", EmailDigest: ann.EmailDigest, Channels: channels, Personal: ann.Personal}
	}
	given := facts{scheduled(0), registered("ann", false)}
	after := func(more ...events.Fact) facts { return append(slices.Clone(given), more...) }
	run(t, map[string]row{
		"beside e-mail":      {given, subscribe("ann", "here"), facts{then("here", "email", "push")}, nil},
		"beside others":      {after(then("", "sms")), subscribe("ann", "here"), facts{then("here", "sms", "push")}, nil},
		"the same again":     {after(then("here", "email", "push")), subscribe("ann", "here"), nil, nil},
		"another browser":    {after(then("here", "email", "push")), subscribe("ann", "there"), facts{then("there", "email", "push")}, nil},
		"when cancelled":     {after(events.EventCancelled{EventID: "e"}), subscribe("ann", "here"), facts{then("here", "email", "push")}, nil},
		"too long":           {given, subscribe("ann", strings.Repeat("x", 4097)), nil, invalid{"push_token:too_long"}},
		"of nobody":          {given, subscribe("x", "here"), nil, aggregates.ErrParticipantNotFound},
		"no more":            {after(then("here", "email", "push")), unsubscribe("ann"), facts{then("", "email")}, nil},
		"no more, and alone": {after(then("here", "push")), unsubscribe("ann"), facts{then("")}, nil},
		"no more, again":     {given, unsubscribe("ann"), nil, nil},
		"no more of nobody":  {given, unsubscribe("x"), nil, aggregates.ErrParticipantNotFound},
	})
}

func TestRespondAndRemove(t *testing.T) {
	respond := func(name, response string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Respond(name, response, nowAt(end)) }
	}
	remove := func(name string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.Remove(name) }
	}
	ann, bob, cy := registered("ann", false), registered("bob", true), registered("cy", true)
	given := facts{scheduled(1), ann, bob, cy}
	after := func(more ...events.Fact) facts { return append(slices.Clone(given), more...) }
	off := events.EventCancelled{EventID: "e"}
	run(t, map[string]row{
		"no event":              {nil, respond("ann", "x"), nil, aggregates.ErrEventNotFound},
		"nobody":                {given, respond("x", ""), nil, aggregates.ErrParticipantNotFound},
		"no answer":             {given, respond("ann", ""), nil, invalid{"response:required"}},
		"not an answer":         {given, respond("ann", "needs_action"), nil, invalid{"response:invalid_response"}},
		"yes":                   {given, respond("ann", "accepted"), facts{responded("ann", "accepted", false)}, nil},
		"yes again":             {after(responded("ann", "accepted", false)), respond("ann", "accepted"), nil, nil},
		"yes in the line":       {given, respond("bob", "accepted"), facts{responded("bob", "accepted", false)}, nil},
		"no promotes":           {given, respond("ann", "declined"), facts{responded("ann", "declined", false), promoted("bob")}, nil},
		"no in the line":        {given, respond("bob", "declined"), facts{responded("bob", "declined", false)}, nil},
		"back into the line":    {after(responded("ann", "declined", false), promoted("bob")), respond("ann", "tentative"), facts{responded("ann", "tentative", true)}, nil},
		"back to a seat":        {facts{scheduled(1), ann, responded("ann", "declined", false)}, respond("ann", "accepted"), facts{responded("ann", "accepted", false)}, nil},
		"still no":              {facts{scheduled(1), ann, responded("ann", "declined", false)}, respond("ann", "declined"), nil, nil},
		"no, when cancelled":    {after(off), respond("ann", "declined"), facts{responded("ann", "declined", false), promoted("bob")}, nil},
		"remove promotes":       {given, remove("ann"), facts{removed("ann"), promoted("bob")}, nil},
		"remove in the line":    {given, remove("bob"), facts{removed("bob")}, nil},
		"remove when cancelled": {after(off), remove("cy"), facts{removed("cy")}, nil},
		"remove nobody":         {given, remove("x"), nil, aggregates.ErrParticipantNotFound},
		"remove again":          {after(removed("cy")), remove("cy"), nil, aggregates.ErrParticipantNotFound},
		"remove of no event":    {nil, remove("ann"), nil, aggregates.ErrEventNotFound},
	})
}

func TestOptOutAndIn(t *testing.T) {
	out := func(name string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.OptOut(name) }
	}
	in := func(name string) func(*aggregates.Event) (facts, error) {
		return func(e *aggregates.Event) (facts, error) { return e.OptIn(name) }
	}
	left := events.ParticipantOptedOut{EventID: "e", ParticipantID: "ann"}
	back := events.ParticipantOptedIn{EventID: "e", ParticipantID: "ann"}
	given := facts{scheduled(1), registered("ann", false), registered("bob", true)}
	after := func(more ...events.Fact) facts { return append(slices.Clone(given), more...) }
	run(t, map[string]row{
		"out keeps the seat":     {given, out("ann"), facts{left}, nil},
		"out again":              {after(left), out("ann"), nil, nil},
		"out when cancelled":     {after(events.EventCancelled{EventID: "e"}), out("ann"), facts{left}, nil},
		"out when declined":      {after(responded("ann", "declined", false)), out("ann"), facts{left}, nil},
		"out of no event":        {nil, out("ann"), nil, aggregates.ErrEventNotFound},
		"out of nobody":          {given, out("x"), nil, aggregates.ErrParticipantNotFound},
		"in again":               {after(left), in("ann"), facts{back}, nil},
		"in without being out":   {given, in("ann"), nil, nil},
		"in twice":               {after(left, back), in("ann"), nil, nil},
		"in of nobody":           {given, in("x"), nil, aggregates.ErrParticipantNotFound},
		"out keeps the response": {after(left), func(e *aggregates.Event) (facts, error) { return e.Respond("ann", "accepted", now) }, facts{responded("ann", "accepted", false)}, nil},
	})
	e := fold(after(left)...)
	ann, _ := e.Participant("ann")
	require.Equal(t, aggregates.Confirmed, ann.Status)
	require.True(t, ann.OptedOut)
	require.Equal(t, int64(3), ann.Own.Revision)
}

func TestPromoteWaiting(t *testing.T) {
	given := append(facts{scheduled(1), registered("ann", false)}, many(201, func(i int) events.Fact { return registered(number(i), true) })...)
	e := fold(given...)
	more, err := e.PromoteWaiting()
	require.NoError(t, err)
	require.Empty(t, more)

	changed, err := e.Change(aggregates.EventPatch{Capacity: null[int]()}, "", nil, now)
	require.NoError(t, err)
	require.Len(t, changed, 1+aggregates.MaxPromotions)
	at := len(given)
	for _, f := range changed {
		e.Evolve(f, stamp(at))
		at++
	}
	require.Equal(t, 1, e.WaitingCount())
	more, err = e.PromoteWaiting()
	require.NoError(t, err)
	require.Equal(t, facts{promoted(number(200))}, more)

	for _, e := range []*aggregates.Event{fold(), fold(scheduled(1), registered("ann", true), events.EventDeleted{})} {
		more, err = e.PromoteWaiting()
		require.NoError(t, err)
		require.Empty(t, more)
	}
}

func TestParticipantStamps(t *testing.T) {
	e := fold(scheduled(1), registered("ann", false), registered("bob", true), registered("cy", true), registered("di", true)) // 0 to 4
	get := func(id string) *aggregates.Participant {
		p, ok := e.Participant(id)
		require.True(t, ok)
		return p
	}
	require.Equal(t, stamp(1), get("ann").Entitled)
	require.Zero(t, get("bob").Entitled)
	require.Equal(t, []int{0, 1, 2, 3}, []int{e.Place(get("ann")), e.Place(get("bob")), e.Place(get("cy")), e.Place(get("di"))})

	e.Evolve(removed("cy"), stamp(5)) // from the middle
	require.Equal(t, stamp(2), get("bob").Changed)
	require.Equal(t, stamp(5), get("di").Changed)
	require.Equal(t, stamp(4), get("di").Own)

	e.Evolve(responded("ann", "declined", false), stamp(6))
	require.Equal(t, aggregates.Released, get("ann").Status)
	require.Zero(t, get("ann").Entitled)
	require.Equal(t, stamp(6), get("ann").LastDeclined)
	require.Equal(t, stamp(5), get("di").Changed)

	before := get("di")
	e.Evolve(promoted("bob"), stamp(7)) // from the front
	require.Equal(t, stamp(7), get("bob").Entitled)
	require.Equal(t, stamp(7), get("di").Changed)
	require.Equal(t, stamp(5), before.Changed, "what was read stays as it was")
	require.Equal(t, 1, e.Place(get("di")))
	require.Equal(t, 1, e.Place(before))
	for p := range e.Participants() {
		require.Equal(t, get(p.ID), p)
	}

	e.Evolve(responded("ann", "accepted", true), stamp(8))
	require.Equal(t, 2, e.Place(get("ann")))
	require.Equal(t, stamp(7), get("di").Changed)
	require.Equal(t, stamp(8), get("ann").Changed)
	require.Equal(t, stamp(8), get("ann").Returned)
	require.Equal(t, stamp(6), get("ann").LastDeclined)
}

func TestReachable(t *testing.T) {
	p := func(given ...events.Fact) *aggregates.Participant {
		p, _ := fold(append(facts{scheduled(0), registered("ann", false)}, given...)...).Participant("ann")
		return p
	}
	contact := func(phone string, channels ...string) events.Fact {
		return events.ParticipantContactChanged{ParticipantID: "ann", Channels: channels, Personal: events.Personal{Email: "b@x.org", Phone: phone}}
	}
	since := func(p *aggregates.Participant, kind aggregates.AddressKind) any {
		if at, ok := p.ReachableSince(kind); ok {
			return at
		}
		return nil
	}
	require.Equal(t, stamp(1).At, since(p(), aggregates.EmailAddress))
	require.Nil(t, since(p(), aggregates.PhoneNumber))
	require.Nil(t, since(p(), aggregates.PushToken))
	require.Nil(t, since(p(), "pigeon"))
	require.Equal(t, stamp(1).At, since(p(contact("")), aggregates.EmailAddress), "another address is no new one")
	require.Equal(t, stamp(2).At, since(p(contact("+1"), contact("+2")), aggregates.PhoneNumber))
	require.Equal(t, stamp(4).At, since(p(contact("+1"), contact(""), contact("+1")), aggregates.PhoneNumber))
	require.Nil(t, since(p(contact("+1"), contact("")), aggregates.PhoneNumber))

	require.Equal(t, stamp(1).At, p().ChosenSince("email"))
	require.Zero(t, p().ChosenSince("sms"))
	require.Equal(t, stamp(1).At, p(contact("", "sms", "email")).ChosenSince("email"))
	require.Equal(t, stamp(2).At, p(contact("", "sms", "email"), contact("", "push", "sms")).ChosenSince("sms"))
	require.Equal(t, stamp(3).At, p(contact("", "sms"), contact("")).ChosenSince("email"))
	require.Zero(t, p(contact("", "sms")).ChosenSince("email"))
}

// A hundred thousand participants, registered, promoted and removed, are a matter of a moment.
func TestManyParticipants(t *testing.T) {
	const n = 100_000
	began := time.Now()
	e := fold(scheduled(1), registered("ann", false))
	at := 2
	evolve := func(fs facts, err error) {
		require.NoError(t, err)
		for _, f := range fs {
			e.Evolve(f, stamp(at))
			at++
		}
	}
	for i := range n {
		evolve(facts{registered(number(i), true)}, nil)
	}
	evolve(e.Change(aggregates.EventPatch{Capacity: null[int]()}, "", nil, now))
	for e.WaitingCount() > 0 {
		evolve(e.PromoteWaiting())
	}
	for i := range n / 2 {
		evolve(e.Remove(number(2 * i)))
	}
	evolve(facts{events.AnnouncementMade{AnnouncementID: "a"}}, nil)
	require.Equal(t, n/2+1, e.ParticipantCount())
	require.Equal(t, n/2+1, e.ConfirmedCount())
	require.Equal(t, n/2+1, e.Announcements[0].Size)
	last := -1
	for p := range e.Participants() {
		require.Greater(t, p.Ordinal, last)
		last = p.Ordinal
	}
	require.Less(t, time.Since(began), 2*time.Minute)
}
