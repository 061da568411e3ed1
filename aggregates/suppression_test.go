package aggregates_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/events"
)

func suppressed(reason, receipt string, told time.Time) events.AddressSuppressed {
	return events.AddressSuppressed{SuppressionID: "s", Kind: "phone", To: "+15*****09", Reason: reason, Provider: "twilio", Receipt: receipt, Told: told}
}

func released(reason, receipt string, told time.Time) events.AddressReleased {
	return events.AddressReleased{SuppressionID: "s", Kind: "phone", Reason: reason, Provider: "twilio", Receipt: receipt, Told: told}
}

func foldSuppression(given ...events.Fact) *aggregates.Suppression {
	s := new(aggregates.Suppression)
	for i, f := range given {
		s.Evolve(f, stamp(i))
	}
	return s
}

func TestSuppressions(t *testing.T) {
	never := time.Time{}
	for name, c := range map[string]struct {
		given facts
		when  events.Fact
		then  bool
	}{
		"first":                          {nil, suppressed("stop", "1", never), true},
		"told again":                     {facts{suppressed("stop", "1", never)}, suppressed("stop", "1", never), false},
		"asked again":                    {facts{suppressed("stop", "1", never)}, suppressed("stop", "2", never), false},
		"for another reason":             {facts{suppressed("gone", "1", never)}, suppressed("stop", "2", never), true},
		"by hand stays so":               {facts{suppressed("by_hand", "", never)}, suppressed("stop", "2", never), false},
		"released":                       {facts{suppressed("stop", "1", never)}, released("asked", "2", never), true},
		"told again after its release":   {facts{suppressed("stop", "1", never), released("asked", "2", never)}, suppressed("stop", "1", never), false},
		"once more after its release":    {facts{suppressed("stop", "1", never), released("asked", "2", never)}, suppressed("stop", "3", never), true},
		"release told again":             {facts{suppressed("stop", "1", never), released("asked", "2", never), suppressed("stop", "3", never)}, released("asked", "2", never), false},
		"release of what is not":         {nil, released("asked", "2", never), false},
		"release by hand of what is not": {nil, released("by_hand", "", never), false},
		"release by hand":                {facts{suppressed("complaint", "1", noon)}, released("by_hand", "", never), true},
		"owner and what was done by hand": {
			facts{suppressed("by_hand", "", never)}, released("asked", "2", never), false},
		"by hand of what was done by hand": {facts{suppressed("by_hand", "", never)}, released("by_hand", "", never), true},
		"older than its release":           {facts{suppressed("stop", "1", noon), released("asked", "2", noon.Add(time.Minute))}, suppressed("stop", "3", noon.Add(time.Second)), false},
		"release that is older":            {facts{suppressed("stop", "1", noon)}, released("asked", "2", noon.Add(-time.Second)), false},
		"release that came first":          {nil, released("asked", "2", noon), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := foldSuppression(c.given...)
			var got facts
			var err error
			switch f := c.when.(type) {
			case events.AddressSuppressed:
				got, err = s.Suppress(f)
			case events.AddressReleased:
				got, err = s.Release(f)
			}
			require.NoError(t, err)
			want := facts(nil)
			if c.then {
				want = facts{c.when}
			}
			require.Equal(t, want, got)
			require.Equal(t, foldSuppression(c.given...), s, "deciding changed the state")
		})
	}
	s := foldSuppression(suppressed("gone", "1", noon), suppressed("stop", "2", noon), events.RequestNoted{})
	require.Equal(t, []any{true, "stop", stamp(0), stamp(1), "+15*****09"}, []any{s.Active, s.Reason, s.Since, s.Changed, s.To})
	s = foldSuppression(suppressed("gone", "1", noon), released("by_hand", "", time.Time{}))
	require.Equal(t, []any{false, ""}, []any{s.Active, s.Reason})
}

// News that says when it happened leads to the same in any order, and however often it is told.
func TestSuppressionsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var news facts
		for i := range rapid.IntRange(1, 6).Draw(t, "news") {
			at := noon.Add(time.Duration(i) * time.Minute)
			if rapid.Bool().Draw(t, "stop") {
				news = append(news, suppressed("stop", fmt.Sprint(i), at))
			} else {
				news = append(news, released("asked", fmt.Sprint(i), at))
			}
		}
		final := func(order facts) bool {
			var all facts
			for _, f := range order {
				s, got := foldSuppression(all...), facts(nil)
				switch f := f.(type) {
				case events.AddressSuppressed:
					got, _ = s.Suppress(f)
				case events.AddressReleased:
					got, _ = s.Release(f)
				}
				all = append(all, got...)
			}
			return foldSuppression(all...).Active
		}
		again := append(append(facts{}, news...), rapid.SliceOfN(rapid.SampledFrom(news), 0, 4).Draw(t, "repeated")...)
		_, last := news[len(news)-1].(events.AddressSuppressed)
		require.Equal(t, last, final(rapid.Permutation(again).Draw(t, "order")))
	})
}
