package simulation

import (
	"strings"
	"time"

	"github.com/belltower/belltower/channels"
)

// weathers are how a provider does, as often as they stand here.
var weathers = strings.Fields("fair fair fair fair slow late hangs busy told refuses cut broken panics mixed mixed mixed")

// odd keeps the driver's instants apart from those of the service's timers,
// which stand at whole microseconds, and from one another.
func (s *sim) odd() time.Duration { return time.Duration(1 + s.chance.IntN(998)) }

// rule decides when and how a turn goes on.
func (s *sim) rule(t *turn) {
	t.at = time.Now()
	switch {
	case t.call != nil:
		s.answer(t)
	case strings.HasPrefix(t.key, "append"):
		s.ruleAppend(t)
	}
}

// ruleAppend decides what the disk does.
func (s *sim) ruleAppend(t *turn) {
	if s.slow {
		t.at = t.at.Add(time.Duration(s.chance.IntN(300))*time.Millisecond + s.odd())
	}
	if s.killAt > 0 && t.process == s.process && !t.process.graceful {
		if s.killAt--; s.killAt == 0 {
			t.ruled.fate = []fate{dead, diesAfter}[s.chance.IntN(2)]
			return
		}
	}
	if s.chance.IntN(1000) < s.failing {
		t.ruled.fate = []fate{refused, lostAfter, lost}[s.chance.IntN(3)]
		s.note("an append failed")
	}
}

// answer rules what a provider says, and when.
func (s *sim) answer(t *turn) {
	c, m := t.call, t.call.message
	weather := s.weather[c.channel]
	if weather == "mixed" {
		weather = weathers[s.chance.IntN(len(weathers))]
	}
	taken, after := false, time.Duration(s.chance.IntN(200))*time.Millisecond
	said := func(o channels.Outcome) channels.Result {
		return channels.Result{Outcome: o, Code: weather, Detail: weather}
	}
	t.ruled.answer = channels.Result{Outcome: channels.Accepted, Ref: m.ID[:8]}
	switch weather {
	case "slow":
		taken, after = true, time.Duration(500+s.chance.IntN(1300))*time.Millisecond
	case "late": // it accepts, when nobody waits any more
		taken, after = true, time.Duration(4+s.chance.IntN(100))*time.Second
	case "hangs":
		taken, after = true, time.Duration(4+s.chance.IntN(100))*time.Second
		t.ruled.answer = said(channels.Unknown)
	case "busy":
		t.ruled.answer = said(channels.Later)
	case "told":
		t.ruled.answer = said(channels.Later)
		t.ruled.answer.NotBefore = s.now().Add(time.Duration(1+s.chance.IntN(90)) * time.Second)
	case "refuses":
		t.ruled.answer = said([]channels.Outcome{channels.Rejected, channels.Gone, channels.OptedOut}[s.chance.IntN(3)])
	case "cut":
		taken, t.ruled.answer = true, said(channels.Unknown)
	case "broken":
		t.ruled.answer = said(channels.Broken)
	case "panics":
		taken, t.ruled.panics = true, true
	default:
		taken = true
	}
	t.at = t.at.Add(after + s.odd())
	if taken {
		s.oracle.took(m.ID)
	}
	if weather != "" && weather != "fair" && weather != "slow" {
		s.note("a provider " + weather)
		s.trouble[c.channel] = time.Now().Add(min(after, 3*time.Second))
	}
}
