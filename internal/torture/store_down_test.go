//go:build unix

package torture

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStoreDown kills the store of two instances under load, and starts it again
// after a minute. Meanwhile writes are refused for now, reads go on, and what
// becomes due is sent once the store is back.
func TestStoreDown(t *testing.T) {
	beside(t)
	budget(t, 3*time.Minute)
	seed := seeded(t)
	people := sized(t, 50, 500, 500)
	down := time.Duration(sized(t, 10, 60, 300)) * time.Second
	s := newSharing(t, seed, 2, 4, "")
	v := s.leader().service
	s.prepare(v)
	s.patient(true)
	s.gather(1, people)
	crowd := s.next(s.crowds[0].c)
	c := s.clients[0]
	require.NoError(t, c.do(t.Context(), c.move(crowd, time.Now().Add(time.Hour+down/2+5*time.Second).UTC().Truncate(time.Microsecond))))
	pending := func() int {
		return v.does(t, 200, "GET", "/v1/stats", nil).inner("notifications").inner("by_status").number("PENDING")
	}
	until(t, v, "the crowd's reminders are planned", func() bool { return pending() >= people })
	s.patient(false)
	end := s.begin()
	s.pass(time.Second)

	before := s.ledger.counts().unavailable
	address := strings.TrimSuffix(strings.TrimPrefix(s.at, "esdb://"), "?tls=false")
	// What was due as the store went is a minute late when it is back: that is an alarm.
	s.foreseen = append(s.foreseen, "notifications are overdue and neither final nor in flight")
	s.endStore()
	gone := time.Now()
	for _, i := range s.instances {
		until(t, i.service, "it says so", func() bool {
			got, err := i.service.api.ask(t.Context(), request{method: "GET", path: "/readyz"})
			return err == nil && got.status == 503 && strings.Contains(got.body.text("detail"), "event store")
		})
	}
	refused := func() int { return s.ledger.counts().unavailable - before }
	until(t, v, "writes are refused for now", func() bool { return refused() >= len(s.clients) })
	for reads := 0; time.Since(gone) < down || reads == 0; reads++ {
		for _, i := range s.instances {
			i.service.does(t, 200, "GET", crowd.path(""), nil)
			i.service.does(t, 200, "GET", crowd.path("/participants"), nil)
		}
		time.Sleep(100 * time.Millisecond)
	}
	delivered := func() (n int) {
		for _, i := range s.instances {
			n += i.service.out.count()
		}
		return n
	}
	sent := delivered()
	s.serveStore(address)
	back := time.Now()
	for _, i := range s.instances {
		i.service.ready(t)
	}
	until(t, v, "what was due is sent", func() bool { return delivered() >= sent+people })
	t.Logf("the store was down for %s, and %d writes were refused meanwhile; the %d reminders of that time were sent within %s after it was back",
		back.Sub(gone).Round(time.Second), refused(), people, time.Since(back).Round(100*time.Millisecond))
	end()
	s.conclude("after the store was down")
	s.ledger.tell(t, 1, "time without a store")
}
