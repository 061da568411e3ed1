package reminders

import (
	"log/slog"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/belltower/belltower/channels"
)

// lane is a channel with its own bounds, so that a slow or broken one holds up no other.
type lane struct {
	channels.Registration            // of the first carrier
	carriers              []*carrier // in order of preference
	limiter               *rate.Limiter
	spacing               *spacing // nil: recipients are not left alone

	// guarded by sender.mu
	queue   []row
	more    bool            // more was due than could be read ahead
	tokenAt time.Time       // not before, as so many were sent in the last second
	reached time.Time       // when the last one that was started had been due
	startAt time.Time       // when it was started
	hints   map[string]hint // of notifications that were tried, where there is a choice
}

// hint is who carries a notification the next time it is tried. It is forgotten
// with the process: what must hold stands in the log.
type hint struct {
	only string   // the provider that may have its message
	not  []string // those that have just not taken it
}

// carrier is a provider that carries a channel.
type carrier struct {
	channels.Registration
	*gate
	lane      *lane
	account   *account
	free      int              // workers; guarded by sender.mu
	endpoints map[string]*gate // guarded by sender.mu
	logger    *slog.Logger
}

// newLanes makes a lane of all registrations of the same name.
func newLanes(registered []channels.Registration, logger *slog.Logger) (lanes []*lane) {
	accounts := map[string]*account{}
	for _, r := range registered {
		if accounts[r.Provider] == nil {
			accounts[r.Provider] = &account{}
		}
		accounts[r.Provider].limit(r.ProviderPerSecond)
		i := slices.IndexFunc(lanes, func(l *lane) bool { return l.Name == r.Name })
		if i < 0 {
			i, lanes = len(lanes), append(lanes, newLane(r))
		}
		lanes[i].add(r, accounts[r.Provider], logger)
	}
	return lanes
}

func newLane(r channels.Registration) *lane {
	l := &lane{Registration: r, limiter: rate.NewLimiter(rate.Inf, 0), hints: map[string]hint{}}
	if r.PerSecond > 0 {
		l.limiter = rate.NewLimiter(rate.Limit(r.PerSecond), burstOf(r.PerSecond))
	}
	if r.RecipientEvery > 0 {
		l.spacing = newSpacing(r.RecipientEvery)
	}
	return l
}

// burstOf is how many may begin at once.
func burstOf(perSecond float64) int { return max(1, int(perSecond/10)) }

func (l *lane) add(r channels.Registration, a *account, logger *slog.Logger) {
	if r.Timeout == 0 {
		r.Timeout = defaultTimeout
	}
	if r.Workers == 0 {
		r.Workers = defaultWorkers
	}
	l.carriers = append(l.carriers, &carrier{
		Registration: r, gate: newGate(logger, r.Name, ""), lane: l, account: a, free: r.Workers, endpoints: map[string]*gate{}, logger: logger,
	})
}

// newDisused is the lane of channels that are not configured any more: on it
// nothing is sent, and what was claimed is concluded.
func newDisused(logger *slog.Logger) *lane {
	l := newLanes([]channels.Registration{{Name: "disused"}}, logger)[0]
	l.carriers[0].until = time.Unix(1<<40, 0)
	return l
}

// pausedUntil tells when c may be tried again. sender.mu is held.
func (c *carrier) pausedUntil() time.Time { return latest(c.until, c.account.until) }

// openAt tells when the first carrier of l may be tried again. sender.mu is held.
func (l *lane) openAt() (at time.Time) {
	for i, c := range l.carriers {
		if until := c.pausedUntil(); i == 0 || until.Before(at) {
			at = until
		}
	}
	return at
}

// choose gives who is to carry a notification: nobody where all that may are
// paused, until a time. sender.mu is held.
func (l *lane) choose(id string, now time.Time) (c *carrier, until time.Time) {
	h := l.hints[id]
	var refused *carrier // open, and has just not taken it
	for _, c := range l.carriers {
		if h.only != "" && c.Provider != h.only {
			continue
		}
		switch paused := c.pausedUntil(); {
		case paused.After(now):
			until = earliest(until, paused)
		case !slices.Contains(h.not, c.Provider):
			return c, time.Time{}
		case refused == nil:
			refused = c
		}
	}
	if refused != nil {
		return refused, time.Time{}
	}
	if until.IsZero() { // there is no such provider any more
		delete(l.hints, id)
		until = now
	}
	return nil, until
}

// other tells whether a notification that c has not taken may be carried by
// another now, and keeps in mind that c is not to be tried first. sender.mu is held.
func (l *lane) other(id string, c *carrier, tried []string, now time.Time) bool {
	tried = append(slices.Clone(tried), c.Provider)
	for _, another := range l.carriers {
		if !slices.Contains(tried, another.Provider) && !another.pausedUntil().After(now) && !another.shut(now) {
			l.hints[id] = hint{not: tried}
			return true
		}
	}
	return false
}

// named gives the carrier of that name; where none is given, as in old facts, the
// first, and nil where it carries nothing any more.
func (l *lane) named(provider string) *carrier {
	for _, c := range l.carriers {
		if provider == "" || c.Provider == provider {
			return c
		}
	}
	return nil
}

// admits takes the tokens of one message on l by c, where there are all of them.
// sender.mu is held.
func (l *lane) admits(c *carrier, now time.Time) bool {
	token := l.limiter.ReserveN(now, 1)
	wait := token.DelayFrom(now)
	if wait == 0 {
		wait = c.account.take(c, now)
	}
	if wait > 0 {
		token.CancelAt(now)
		l.tokenAt = now.Add(wait)
	}
	return wait == 0
}

// gateOf gives the gate that messages to an endpoint go through; c's own where
// there is none. sender.mu is held.
func (c *carrier) gateOf(endpoint string) *gate {
	if endpoint == "" {
		return c.gate
	}
	if c.endpoints[endpoint] == nil {
		if len(c.endpoints) >= maxEndpoints {
			for name, g := range c.endpoints { // one that works has nothing to remember
				if g.since.IsZero() {
					delete(c.endpoints, name)
				}
			}
		}
		c.endpoints[endpoint] = newGate(c.logger, c.Name, endpoint)
	}
	return c.endpoints[endpoint]
}

// maxEndpoints is how many endpoints of a carrier are kept in mind before those
// that work are forgotten.
const maxEndpoints = 1024

// endpoint names the server that an address is at, for who has such.
func (c *carrier) endpoint(to string) string {
	if e, ok := c.Channel.(channels.Endpointed); ok {
		return e.Endpoint(to)
	}
	return ""
}

// looksFirst tells whether the recipient's address has to be known before a
// message of c is claimed.
func (c *carrier) looksFirst() bool {
	_, endpointed := c.Channel.(channels.Endpointed)
	return endpointed || c.lane.spacing != nil
}

// finder gives who can be asked what c's provider took; nil where nobody can.
func (c *carrier) finder() channels.Finder {
	f, _ := c.Channel.(channels.Finder)
	return f
}

// settles tells whether the log has to be looked at before a message of l is
// claimed, as somebody can be asked, or only one of several may have it.
func (l *lane) settles() bool {
	return len(l.carriers) > 1 || slices.ContainsFunc(l.carriers, func(c *carrier) bool { return c.finder() != nil })
}

// account is what all that one provider carries has in common. It is guarded by sender.mu.
type account struct {
	pause
	limiter *rate.Limiter // nil: no bound
	waiting []*carrier    // for a token, in turn, so that a long queue doesn't keep others from it
}

func (a *account) limit(perSecond float64) {
	if perSecond > 0 && (a.limiter == nil || rate.Limit(perSecond) < a.limiter.Limit()) {
		a.limiter = rate.NewLimiter(rate.Limit(perSecond), burstOf(perSecond))
	}
}

// take takes a token for c, or tells how long to wait for one.
func (a *account) take(c *carrier, now time.Time) (wait time.Duration) {
	if a.limiter == nil {
		return 0
	}
	a.waiting = slices.DeleteFunc(a.waiting, func(w *carrier) bool {
		return w != c && (len(w.lane.queue) == 0 || w.free == 0 || w.pausedUntil().After(now))
	})
	place := slices.Index(a.waiting, c)
	if place < 0 {
		place, a.waiting = len(a.waiting), append(a.waiting, c)
	}
	token := a.limiter.ReserveN(now, 1)
	if wait = token.DelayFrom(now); wait == 0 && place == 0 {
		a.waiting = a.waiting[1:]
		return 0
	}
	token.CancelAt(now)
	each := float64(time.Second) / float64(a.limiter.Limit())
	return max(wait+time.Duration(math.Ceil(float64(place)*each)), time.Millisecond)
}
