package torture

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// doing is how a simulated provider treats one call.
type doing string

const (
	fair        doing = "fair"
	slow        doing = "slow"            // takes it, and its answer takes its time
	late        doing = "late"            // takes it at once, and says so when many a process has been killed meanwhile
	busy        doing = "429"             // wants no more for a second; not taken
	erring      doing = "5xx"             // not taken
	erringLate  doing = "5xx, taken"      // taken all the same
	unavailable doing = "503"             // not taken
	cut         doing = "reset"           // after the request; not taken
	cutLate     doing = "reset, taken"    // taken all the same
	cutAnswer   doing = "answer cut"      // taken; the answer ends in its headers
	refused     doing = "refused"         // this one never
	stopped     doing = "stop"            // its recipient has said so
	nobody      doing = "nobody"          // at that address
	unlisted    doing = "list fails"      // it isn't told what was taken
	unlistedCut doing = "list reset"      // nor this time
	forged      doing = "wrong signature" // or credentials; never part of a script
)

// takes tells whether the provider has the message afterwards.
func (d doing) takes() bool {
	switch d {
	case fair, slow, late, erringLate, cutLate, cutAnswer:
		return true
	}
	return false
}

// says tells whether it answers that it has it.
func (d doing) says() bool { return d == fair || d == slow || d == late }

// final tells whether it answers that it never will.
func (d doing) final() bool { return d == refused || d == stopped || d == nobody }

// providerScript says what becomes of each call. It is drawn from the seed, the recipient
// and how many calls there were for that one before, so that the order in which a run
// happens to make its calls changes nothing.
type providerScript struct {
	seed uint64
	// again is at how many calls for a recipient something may go wrong; the others
	// are fair.
	again int
	// untaken lets texts be lost whose provider has to be asked for two minutes, until
	// it is settled that they were.
	untaken bool
	late    time.Duration
}

func (s providerScript) chance(of string, call int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s %d", s.seed, of, call)
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

// does says what becomes of the nth call, from 1, by which a channel has a message to somebody.
func (s providerScript) does(channel, to string, n int) (what doing, after time.Duration) {
	to = strings.ToLower(to)
	whose, rng := s.chance(channel+" "+to, 0).IntN(100), s.chance(channel+" "+to, n)
	after = time.Duration(2+rng.IntN(40)) * time.Millisecond
	switch {
	case channel != "webhook" && whose < 2:
		return refused, after
	case channel == "sms" && whose < 4:
		return stopped, after
	case channel == "sms" && whose < 5:
		return nobody, after
	case n > s.again, channel == "webhook" && n > 1: // which is tried again after minutes, and hours
		return fair, after
	}
	switch draw := rng.IntN(1000); {
	case draw < 40:
		return slow, time.Duration(300+rng.IntN(1200)) * time.Millisecond
	case draw < 55:
		return late, s.late
	case draw < 59:
		return busy, after
	case draw < 74:
		return erringLate, after
	case draw < 104:
		return cutLate, after
	case draw < 114:
		return cutAnswer, after
	case channel == "sms" && !s.untaken:
		return fair, after
	case draw < 129:
		return erring, after
	case draw < 144:
		return unavailable, after
	case draw < 159:
		return cut, after
	}
	return fair, after
}

// lists says what becomes of the nth question for what was sent to somebody.
func (s providerScript) lists(to string, n int) doing {
	if n > 1 {
		return fair
	}
	switch s.chance("list "+to, n).IntN(20) {
	case 0:
		return unlisted
	case 1:
		return unlistedCut
	}
	return fair
}
